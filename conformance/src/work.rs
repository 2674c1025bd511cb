//! The simulated work of a provider, which waits until the test chooses the answer.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    thread,
};

use tokio::sync::oneshot;

use crate::clock::MOMENT;

pub(crate) type Answer = Result<(), Problem>;

#[derive(Clone, Debug)]
pub(crate) enum Problem {
    /// The provider failed.
    Down(String),
    /// The provider failed. The classification of the failure takes until the test ends it.
    SlowToJudge(Arc<Judging>),
    /// The provider answered that the request is at fault, as with a 400 or a 404.
    BadRequest,
    /// The provider reported that it did not process the request, as with a graceful GOAWAY.
    Unprocessed,
    /// Inner breakers refused the call.
    Refused,
}

impl Problem {
    /// Returns whether it counts as a failure.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Down(_) => true,
            Self::SlowToJudge(judging) => {
                judging.wait();
                true
            }
            Self::BadRequest | Self::Unprocessed | Self::Refused => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(text) => f.write_str(text),
            Self::SlowToJudge(_) => f.write_str("down"),
            Self::BadRequest => f.write_str("bad request"),
            Self::Unprocessed => f.write_str("not processed"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

impl Error for Problem {}

/// The classification of a failure, which blocks its thread until the test ends it.
#[derive(Debug, Default)]
pub(crate) struct Judging {
    has_begun: AtomicBool,
    may_end: AtomicBool,
}

impl Judging {
    fn wait(&self) {
        self.has_begun.store(true, Relaxed);
        while !self.may_end.load(Relaxed) {
            thread::sleep(MOMENT);
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Relaxed)
    }

    pub(crate) fn end(&self) {
        self.may_end.store(true, Relaxed);
    }
}

/// The work of a call, which a breaker runs or refuses.
pub(crate) struct Work {
    reached: Arc<AtomicBool>,
    answer: oneshot::Receiver<Answer>,
}

/// The provider's end of a call.
pub(crate) struct Backend {
    reached: Arc<AtomicBool>,
    answer: oneshot::Sender<Answer>,
}

pub(crate) fn work() -> (Work, Backend) {
    let reached = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = oneshot::channel();
    let work = Work {
        reached: Arc::clone(&reached),
        answer: receiver,
    };
    let backend = Backend {
        reached,
        answer: sender,
    };
    (work, backend)
}

impl Backend {
    /// Returns whether the call has reached the provider.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached.load(Relaxed)
    }

    /// Answers the call. The returned flag shows whether the call has reached the provider, now or later.
    pub(crate) fn answer(self, answer: Answer) -> Arc<AtomicBool> {
        // Fails if the call was dropped, which does not matter.
        let _ = self.answer.send(answer);
        self.reached
    }
}

impl Future for Work {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        self.reached.store(true, Relaxed);
        match ready!(Pin::new(&mut self.answer).poll(context)) {
            Ok(answer) => Poll::Ready(answer),
            Err(_) => unreachable!("a call is dropped before its backend is"),
        }
    }
}
