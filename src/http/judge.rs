use std::{fmt, io::IoSlice, sync::Arc, time::Duration};

use ::http::{HeaderMap, StatusCode};
use bytes::Buf;

use super::{
    grpc::Table,
    sse::{self, Parser, SseEvent},
};
use crate::{
    breaker::Permit,
    outcome::{Kind, Outcome, Reason},
};

/// A verdict on a part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamVerdict {
    /// Undecided: the next part is judged too.
    Continue,
    /// The response is complete: records a success now. The rest of the body is not judged.
    Done,
    /// The provider reports an error: records a failure now, with this reason.
    Broken(Reason),
    /// The provider asks for a pause: records a [throttle](Outcome::Throttled) now.
    Throttled {
        /// The length of the pause, if the provider gives one.
        retry_after: Option<Duration>,
        /// The provider's message.
        reason: Reason,
    },
}

impl StreamVerdict {
    /// Returns [`Broken`](Self::Broken) with this reason.
    pub fn broken(reason: impl Into<Reason>) -> Self {
        Self::Broken(reason.into())
    }

    /// Returns [`Throttled`](Self::Throttled) with this pause and reason.
    pub fn throttled(retry_after: Option<Duration>, reason: impl Into<Reason>) -> Self {
        Self::Throttled {
            retry_after,
            reason: reason.into(),
        }
    }

    /// `None` to continue.
    fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Continue => None,
            Self::Done => Some(Outcome::Success),
            Self::Broken(reason) => Some(Outcome::failure(reason)),
            Self::Throttled {
                retry_after,
                reason,
            } => Some(Outcome::throttled(retry_after, reason)),
        }
    }
}

/// Judges one body while its reader reads it, by the data of its frames and by its end.
///
/// Created for each body by the closure of
/// [`StatusClassifier::judge_body`](super::StatusClassifier::judge_body).
pub trait JudgeBody: Send + Sync + 'static {
    /// Judges the data of the next frame. Non-contiguous data is judged piece by piece.
    ///
    /// The first verdict other than [`Continue`](StreamVerdict::Continue) is recorded; the judge is not called again.
    fn frame(&mut self, data: &[u8]) -> StreamVerdict;

    /// Judges the end of a body, with its trailers if it has any. Not called for a body that broke or was shorter
    /// than announced.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome;
}

/// The judge of a body. Without one, only the end counts, which needs no allocation.
#[derive(Default)]
pub(super) enum Judge {
    /// The end is a success.
    #[default]
    AtEnd,
    /// The `grpc-status` in the trailers decides.
    Grpc(Table),
    Frames(Box<dyn JudgeBody>),
}

impl Judge {
    /// Records the outcome of a call whose body has ended.
    #[inline]
    pub(super) fn conclude(&mut self, permit: Permit, trailers: Option<&HeaderMap>) {
        match self {
            Self::AtEnd => permit.success(),
            _ => permit.record(self.end(trailers)),
        }
    }

    #[inline]
    pub(super) fn frame(&mut self, data: &impl Buf) -> Option<Outcome> {
        match self {
            Self::AtEnd | Self::Grpc(_) => None,
            Self::Frames(judge) => find_in_pieces(data, |piece| judge.frame(piece).outcome()),
        }
    }

    pub(super) fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
        match self {
            Self::AtEnd => Outcome::Success,
            Self::Grpc(table) => table.at_end(trailers),
            Self::Frames(judge) => judge.end(trailers),
        }
    }
}

/// Searches the contiguous pieces of data, without joining them.
pub(super) fn find_in_pieces<T>(
    data: &impl Buf,
    mut find: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    let first = data.chunk();
    if first.len() == data.remaining() {
        return find(first);
    }
    let mut pieces = vec![IoSlice::new(&[]); 16];
    // When all slices are filled, there may be more pieces.
    while data.chunks_vectored(&mut pieces) == pieces.len() {
        pieces.resize(2 * pieces.len(), IoSlice::new(&[]));
    }
    let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
    pieces.find_map(|piece| find(piece))
}

type MakeJudge = dyn Fn(StatusCode, &HeaderMap) -> Option<Box<dyn JudgeBody>> + Send + Sync;

/// Creates judges for the bodies it applies to.
#[derive(Clone)]
pub(super) struct Judges(Arc<MakeJudge>);

impl Judges {
    pub(super) fn new<F, J>(make: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> Option<J> + Send + Sync + 'static,
        J: JudgeBody,
    {
        Self(Arc::new(move |status, headers| {
            let judge = make(status, headers)?;
            Some(Box::new(judge))
        }))
    }

    /// Creates judges of server-sent events, for responses that are event streams.
    pub(super) fn of_events<F>(judge: F) -> Self
    where
        F: Fn(&SseEvent<'_>) -> StreamVerdict + Send + Sync + 'static,
    {
        let judge = Arc::new(judge);
        Self::new(move |_, headers| {
            sse::is_readable(headers).then(|| Events {
                parser: Parser::new(),
                judge: Arc::clone(&judge),
            })
        })
    }

    pub(super) fn judge(&self, status: StatusCode, headers: &HeaderMap) -> Option<Judge> {
        (self.0)(status, headers).map(Judge::Frames)
    }
}

impl fmt::Debug for Judges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Judges").finish_non_exhaustive()
    }
}

/// Calls a closure with each event.
struct Events<F> {
    parser: Parser,
    judge: Arc<F>,
}

impl<F> JudgeBody for Events<F>
where
    F: Fn(&SseEvent<'_>) -> StreamVerdict + Send + Sync + 'static,
{
    fn frame(&mut self, mut data: &[u8]) -> StreamVerdict {
        while let Some(event) = self.parser.read(&mut data) {
            match (self.judge)(&event) {
                StreamVerdict::Continue => {}
                verdict => return verdict,
            }
        }
        StreamVerdict::Continue
    }

    /// Some providers omit the blank line after their last event.
    fn end(&mut self, _trailers: Option<&HeaderMap>) -> Outcome {
        let last = self.parser.finish();
        last.and_then(|event| (self.judge)(&event).outcome())
            .unwrap_or_else(incomplete)
    }
}

/// The outcome of a body that ended too early.
pub(super) fn incomplete() -> Outcome {
    Outcome::failure(Kind::Incomplete.as_str())
}
