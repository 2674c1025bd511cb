//! Runs foreign code that may panic: listeners, wakers, and the drop of panic payloads.

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

/// Runs code and stops its panic, which the panic hook has reported.
pub(crate) fn catch(code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        drop_quietly(payload);
    }
}

/// Drops a value whose `Drop` may panic.
pub(crate) fn drop_quietly<T>(value: T) {
    // The payload's `Drop` may panic too, so it is leaked.
    mem::forget(catch_unwind(AssertUnwindSafe(|| drop(value))));
}

/// Returns whether the current runtime has timers. A runtime without them panics at the first one.
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

/// Polls `future` with a waker that does not panic. If one of many wakers panics, tokio drops the rest without waking them.
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
