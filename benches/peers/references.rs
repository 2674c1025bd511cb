//! Ways in which a call can find its breaker when it ends: the alternatives to leaking hot slots.
//!
//! Each service reads one word at the start of a call and one at its end, the least that a breaker does. They differ only
//! in how the word is kept alive meanwhile.

use std::{
    array,
    cell::Cell,
    convert::Infallible,
    hint,
    ops::Deref,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tower::Service;

/// A word on a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
pub(crate) struct Word(AtomicU64);

impl Word {
    fn read(&self) {
        hint::black_box(self.0.load(Ordering::Acquire));
    }
}

/// The reference that a service holds.
pub(crate) trait Reference: Clone {
    /// The reference that a call holds.
    type Held: Deref<Target = Word> + Unpin;

    fn hold(&self) -> Self::Held;
}

/// A reference to a word that is never freed.
#[derive(Clone, Copy)]
pub(crate) struct Leaked(&'static Word);

impl Leaked {
    pub(crate) fn new() -> Self {
        Self(Box::leak(Box::default()))
    }
}

impl Reference for Leaked {
    type Held = &'static Word;

    fn hold(&self) -> &'static Word {
        self.0
    }
}

/// A single reference count for all services and calls.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Word>);

impl Reference for Shared {
    type Held = Arc<Word>;

    fn hold(&self) -> Arc<Word> {
        Arc::clone(&self.0)
    }
}

/// A separate reference count, around the one that keeps the word alive.
#[derive(Clone, Default)]
pub(crate) struct Counted(Arc<Line>);

#[repr(align(64))]
#[derive(Default)]
struct Line(Arc<Word>);

impl Counted {
    fn another(&self) -> Self {
        Self(Arc::new(Line(Arc::clone(&self.0.0))))
    }
}

impl Deref for Counted {
    type Target = Word;

    fn deref(&self) -> &Word {
        &self.0.0
    }
}

/// A count for each clone of the service.
#[derive(Default)]
pub(crate) struct PerClone(Counted);

impl Clone for PerClone {
    fn clone(&self) -> Self {
        Self(self.0.another())
    }
}

impl Reference for PerClone {
    type Held = Counted;

    fn hold(&self) -> Counted {
        self.0.clone()
    }
}

const STRIPES: usize = 8;

/// Several reference counts; each thread uses one of them.
#[derive(Clone)]
pub(crate) struct Striped(Arc<[Counted; STRIPES]>);

impl Striped {
    pub(crate) fn new() -> Self {
        let first = Counted::default();
        Self(Arc::new(array::from_fn(|_| first.another())))
    }
}

impl Reference for Striped {
    type Held = Counted;

    fn hold(&self) -> Counted {
        self.0[stripe()].clone()
    }
}

/// Returns this thread's stripe.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    STRIPE.with(|stripe| {
        stripe.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            stripe.set(Some(next));
            next
        })
    })
}

#[derive(Clone)]
pub(crate) struct Reads<R>(pub(crate) R);

pub(crate) struct Reading<H>(H);

impl<R: Reference> Service<()> for Reads<R> {
    type Response = ();
    type Error = Infallible;
    type Future = Reading<R::Held>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let held = self.0.hold();
        held.read();
        Reading(held)
    }
}

impl<H: Deref<Target = Word> + Unpin> Future for Reading<H> {
    type Output = Result<(), Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.read();
        Poll::Ready(Ok(()))
    }
}
