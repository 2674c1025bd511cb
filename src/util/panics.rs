//! Code of others that runs in the midst of ours: listeners, wakers, the drop of what they panicked with.

use std::{
    future::poll_fn,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};

/// Runs it; should it panic, then the panic hook has reported it, and that is the end of it.
pub(crate) fn catch(code: impl FnOnce()) {
    if let Err(said) = catch_unwind(AssertUnwindSafe(code)) {
        drop_quietly(said);
    }
}

/// Drops what may panic when it is dropped.
pub(crate) fn drop_quietly<T>(remains: T) {
    // What that panics with may panic in its turn, and so on: there it is left.
    mem::forget(catch_unwind(AssertUnwindSafe(|| drop(remains))));
}

/// Whether timers can be made here. A runtime may have none, and tells only by a panic.
pub(crate) fn has_timers() -> bool {
    let mut has_timers = false;
    if Handle::try_current().is_ok() {
        catch(|| {
            drop(sleep(Duration::ZERO));
            has_timers = true;
        });
    }
    has_timers
}

/// Polls `future` with a waker that does not panic, so that whoever wakes many wakes them all: tokio
/// forgets those whose turn has not come.
pub(crate) async fn with_safe_waker<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let waker = Arc::new(SafeWaker(cx.waker().clone())).into();
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

struct SafeWaker(Waker);

impl Wake for SafeWaker {
    fn wake(self: Arc<Self>) {
        catch(|| {
            self.0.wake_by_ref();
            drop(self);
        });
    }
}
