mod response;
mod table;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, StatusCode};

pub(super) use self::table::reason;
use self::table::{ByHead, Columns, Hint, Verdict};
use super::{
    judge::{JudgeBody, Judges, StreamVerdict},
    sse::SseEvent,
    status_codes::statuses,
};
use crate::{outcome::Outcome, util::settings::positive};

/// Judges responses by their status, and those that it speaks well of by their body too. The default
/// of [`HealthLayer::http`](crate::HealthLayer::http).
///
/// Two questions are asked of a status: whether it speaks against the provider's health, and whether
/// a [`FallbackChain`](crate::FallbackChain) should go on to the next provider.
///
/// | status | health | chain goes on | because |
/// |---|---|---|---|
/// | none: an error | failure, unless its kind is [neutral](crate::error::Kind::is_neutral) | yes | nothing was answered |
/// | 1xx, 2xx, 3xx | success, at the end of the body | no | [RFC 9110 §15.2] to §15.4 |
/// | 429 | throttled | yes | the provider wants a pause: [RFC 6585 §4] |
/// | 408 | failure | yes | the server gave up waiting, and the request may be repeated: [RFC 9110 §15.5.9] |
/// | 403 that [names a time](super::retry_after()) | throttled | yes | [GitHub], among others, refuses so what is too much |
/// | 401, 402, other 403 | answered | no | the key may be one caller's own; see [`credentials_as_failures`](Self::credentials_as_failures) |
/// | other 4xx | answered | no | the request is at fault: [RFC 9110 §15.5] |
/// | 501, 505 to 508, 510 | answered | no | it is this request that is not supported, or too much: [RFC 9110 §15.6.2] and §15.6.6, [RFC 2295 §8.1], [RFC 4918 §11.5], [RFC 5842 §7.2], [RFC 2774 §7] |
/// | other 5xx | failure | yes | the server is at fault: [RFC 9110 §15.6]; 511 is the answer of a gateway on the way: [RFC 6585 §6] |
/// | 600 to 999 | failure | yes | none of HTTP's, to be treated as a 5xx: [RFC 9110 §15] |
///
/// Among the other 5xx are those of no standard that gateways and providers use for an origin that is
/// overloaded or out of reach: 520 to 526 and 530 (Cloudflare), 529 (Anthropic), 598 and 599. RFC 9110
/// §15 has a client treat every one that it does not know as a 500.
///
/// Where only the body of an error says what went wrong, a [`ReadErrorsLayer`](super::ReadErrorsLayer) below reads it, and
/// what it finds is asked before the table.
///
/// A success is one when the body has come to its end, and not before; a body that breaks, or is shorter than announced, is
/// a failure. [`HealthBody`] tells what becomes of it. [`judge_sse`](Self::judge_sse) and [`judge_body`](Self::judge_body)
/// look into the body for what the status could not know yet. All other verdicts are given at the headers.
///
/// The time that a response names is heeded with a throttle, and with a failure, which then opens the breaker for at least
/// so long if it opens it. It is what [`retry_after`] reads, and what [`retry_hint`](Self::retry_hint) adds for a provider.
///
/// Errors are judged as by [`ErrorsAsFailures`](crate::ErrorsAsFailures): the reason is labelled with the
/// error's [kind](crate::error::Kind), and errors of a [neutral](crate::error::Kind::is_neutral) kind are neutral.
///
/// Each row can be changed, status by status; of two settings of one status the later holds.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::{StatusClassifier, StreamVerdict};
///
/// let defaults = StatusClassifier::new();
///
/// let customized = StatusClassifier::new()
///     // One key for all callers, and no reason to try it twice.
///     .credentials_as_failures()
///     // It says 503 where others say 429.
///     .throttled_on([503])
///     // Its 500s come of odd requests.
///     .neutral_on([500])
///     // A model that is not known here may be known to the next provider.
///     .advance_on([404])
///     // Its streams send something every few seconds.
///     .idle_timeout(Duration::from_secs(30))
///     // A stream that breaks off before its last event has failed, though it ends well by HTTP.
///     .judge_sse(|event| match event.data {
///         "[DONE]" => StreamVerdict::Done,
///         _ => StreamVerdict::Continue,
///     });
/// # let _ = (defaults, customized);
/// ```
///
/// [GitHub]: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
/// [`HealthBody`]: super::HealthBody
/// [`retry_after`]: super::retry_after()
/// [RFC 2295 §8.1]: https://www.rfc-editor.org/rfc/rfc2295#section-8.1
/// [RFC 2774 §7]: https://www.rfc-editor.org/rfc/rfc2774#section-7
/// [RFC 4918 §11.5]: https://www.rfc-editor.org/rfc/rfc4918#section-11.5
/// [RFC 5842 §7.2]: https://www.rfc-editor.org/rfc/rfc5842#section-7.2
/// [RFC 6585 §4]: https://www.rfc-editor.org/rfc/rfc6585#section-4
/// [RFC 6585 §6]: https://www.rfc-editor.org/rfc/rfc6585#section-6
/// [RFC 9110 §15]: https://www.rfc-editor.org/rfc/rfc9110#section-15
/// [RFC 9110 §15.2]: https://www.rfc-editor.org/rfc/rfc9110#section-15.2
/// [RFC 9110 §15.5]: https://www.rfc-editor.org/rfc/rfc9110#section-15.5
/// [RFC 9110 §15.5.9]: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9
/// [RFC 9110 §15.6]: https://www.rfc-editor.org/rfc/rfc9110#section-15.6
/// [RFC 9110 §15.6.2]: https://www.rfc-editor.org/rfc/rfc9110#section-15.6.2
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct StatusClassifier {
    /// Behind a count, and absent by default: a classifier is cloned into each call.
    changed: Option<Arc<Columns>>,
    idle_timeout: Option<Duration>,
}

impl StatusClassifier {
    /// The table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// A refused key opens the breaker at once, for a bad key stays bad: 401, 402 and 403 are
    /// [fatal](Self::fatal_on), but for a 403 that names a time, which stays a throttle. Default: they are answered.
    ///
    /// Right where all calls use one key, which the application owns. Where callers bring their own,
    /// one of them could open the breaker for all.
    pub fn credentials_as_failures(self) -> Self {
        self.fatal_on([401, 402])
            .set_health([403], Verdict::Revoked)
    }

    /// These are [answers about the request](Outcome::Answered): the provider is up. Default: most of 4xx, 501, 505 to 508, 510.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn answered_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(statuses, Verdict::Answered)
    }

    /// These change nothing in the provider's health. Default: none.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn neutral_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(statuses, Verdict::Neutral)
    }

    /// With these the provider has served the call. Default: all below 400.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn success_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(statuses, Verdict::Success)
    }

    /// These are failures. Default: 408, most of 5xx, all above.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn failure_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(statuses, Verdict::Failure)
    }

    /// With these the provider asks for a pause: the breaker opens until it ends, without a strike.
    /// Default: 429.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn throttled_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(statuses, Verdict::Throttled)
    }

    /// These are failures of which one is enough: the breaker opens at once, whatever the trip rule.
    /// Default: none.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn fatal_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(statuses, Verdict::Fatal)
    }

    /// With these a chain goes on to the next provider, whatever they say of this one's health.
    /// Default: with all that speak against it.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn advance_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_advance(statuses, true)
    }

    /// These a chain returns to the caller, whatever they say of the provider's health. Default: all
    /// that do not speak against it.
    ///
    /// # Panics
    ///
    /// If one is not from 100 to 999.
    #[track_caller]
    pub fn return_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_advance(statuses, false)
    }

    /// How long the body of a success may stay silent while its reader waits for it; then it is a
    /// failure, and the reader gets an [`IdleBody`](super::IdleBody). Default: for ever.
    ///
    /// It runs from when the reader finds nothing to when a frame comes, so that a reader who takes
    /// long between two frames is not the provider's fault. The body must then be polled in a tokio
    /// runtime with its timer enabled; the timer is a body's one allocation, made at its first wait.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn idle_timeout(self, limit: Duration) -> Self {
        Self {
            idle_timeout: Some(positive("StatusClassifier::idle_timeout", limit)),
            ..self
        }
    }

    /// Asks a closure before the table: what it says of a response's health holds, and a chain goes
    /// on where that is not in the provider's favour; where it says nothing, the table does. Default:
    /// none is asked.
    ///
    /// ```
    /// use tower_health::{Outcome, http::StatusClassifier};
    ///
    /// // A gateway that answers 200 for a model which is away.
    /// let classifier = StatusClassifier::new().outcome_with(|_, headers| {
    ///     let is_away = headers.get("x-model-status")? == "unavailable";
    ///     is_away.then(|| Outcome::failure("model unavailable"))
    /// });
    /// # let _ = classifier;
    /// ```
    pub fn outcome_with<F>(mut self, by_head: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> Option<Outcome> + Send + Sync + 'static,
    {
        self.columns().by_head = Some(ByHead(Arc::new(by_head)));
        self
    }

    /// Adds a closure that reads the wait which a provider asks for. The longest of its answer and of what [`retry_after`](super::retry_after())
    /// reads counts; called again, this adds another closure. Default: `retry_after` alone.
    ///
    /// The module [`retry_hint`](super::retry_hint) has such functions for APIs whose headers have another unit elsewhere.
    /// They are asked about a 429, a 403 and failures, not about successes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::http::{StatusClassifier, retry_hint};
    ///
    /// let groq = StatusClassifier::new().retry_hint(retry_hint::openai);
    ///
    /// // A header of its own, in minutes.
    /// let archive = StatusClassifier::new().retry_hint(|headers| {
    ///     let minutes = headers.get("x-back-in-minutes")?.to_str().ok()?.parse::<u32>().ok()?;
    ///     Some(60 * Duration::from_secs(minutes.into()))
    /// });
    /// # let _ = (groq, archive);
    /// ```
    pub fn retry_hint<F>(mut self, hint: F) -> Self
    where
        F: Fn(&HeaderMap) -> Option<Duration> + Send + Sync + 'static,
    {
        self.columns().hints.push(Hint(Arc::new(hint)));
        self
    }

    /// Judges streams of server-sent events by what they say, from event to event. Default: a stream is
    /// a success at its end, whatever it said.
    ///
    /// The closure is asked about each event of a response whose `Content-Type` is `text/event-stream`,
    /// until it gives a verdict other than [`Continue`](StreamVerdict::Continue). That verdict is recorded
    /// at once, whether or not the reader goes on. A stream that ends before is a failure, `incomplete`;
    /// an event that no blank line follows is judged at the end. An answer to `HEAD` is a success. The reader gets every byte untouched,
    /// as soon as it comes. Compressed streams are not looked into: they are a success at their end.
    ///
    /// ```
    /// use tower_health::{Reason, http::{StatusClassifier, StreamVerdict}};
    ///
    /// // OpenAI and many others end a stream with `[DONE]`, Anthropic ends it with `message_stop`. Some
    /// // report an error as an event of its own, others in the data of an ordinary one.
    /// let classifier = StatusClassifier::new().judge_sse(|event| match (event.event, event.data) {
    ///     ("message_stop", _) | (_, "[DONE]") => StreamVerdict::Done,
    ///     (_, data) if data.contains(r#""error":{"#) => {
    ///         if data.contains("rate_limit_error") {
    ///             StreamVerdict::throttled(None, "rate limit")
    ///         } else {
    ///             StreamVerdict::broken(Reason::labelled("error event", data))
    ///         }
    ///     }
    ///     _ => StreamVerdict::Continue,
    /// });
    /// # let _ = classifier;
    /// ```
    ///
    /// An event of more than 1 MiB is judged by its beginning, as
    /// [`SseEvent::is_truncated`] tells. Of several judges, also those of
    /// [`judge_body`](Self::judge_body), the first that concerns a response is the one.
    pub fn judge_sse<F>(mut self, judge: F) -> Self
    where
        F: Fn(&SseEvent<'_>) -> StreamVerdict + Send + Sync + 'static,
    {
        self.columns().judges.push(Judges::of_events(judge));
        self
    }

    /// Judges bodies by their data and their trailers. Default: a body is a success at its end.
    ///
    /// The closure is asked about each response whose status is a success and that may have content. It
    /// gives a [judge](JudgeBody) for those that it concerns. The reader gets every frame untouched, as
    /// soon as it comes. Data is given as it comes, compressed where the response is.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use tower_health::{Outcome, http::{JudgeBody, StatusClassifier, StreamVerdict}};
    ///
    /// /// Lines of JSON, of which the last says `"done":true`.
    /// #[derive(Default)]
    /// struct Lines {
    ///     line: Vec<u8>,
    /// }
    ///
    /// impl JudgeBody for Lines {
    ///     fn frame(&mut self, data: &[u8]) -> StreamVerdict {
    ///         for piece in data.split_inclusive(|byte| *byte == b'\n') {
    ///             // What is longer than that is content.
    ///             let room = 4096_usize.saturating_sub(self.line.len());
    ///             self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    ///             if piece.ends_with(b"\n") {
    ///                 let line = String::from_utf8_lossy(&self.line);
    ///                 if line.starts_with(r#"{"error""#) {
    ///                     return StreamVerdict::broken("error in the stream");
    ///                 } else if line.contains(r#""done":true"#) {
    ///                     return StreamVerdict::Done;
    ///                 }
    ///                 self.line.clear();
    ///             }
    ///         }
    ///         StreamVerdict::Continue
    ///     }
    ///
    ///     fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
    ///         match trailers.and_then(|trailers| trailers.get("x-error")) {
    ///             Some(_) => Outcome::failure("error in the trailers"),
    ///             None => Outcome::failure("incomplete"),
    ///         }
    ///     }
    /// }
    ///
    /// let classifier = StatusClassifier::new().judge_body(|_, headers| {
    ///     let is_lines = headers.get("content-type")? == "application/x-ndjson";
    ///     is_lines.then(Lines::default)
    /// });
    /// # let _ = classifier;
    /// ```
    pub fn judge_body<F, J>(mut self, judge: F) -> Self
    where
        F: Fn(StatusCode, &HeaderMap) -> Option<J> + Send + Sync + 'static,
        J: JudgeBody,
    {
        self.columns().judges.push(Judges::new(judge));
        self
    }

    #[track_caller]
    fn set_health(mut self, codes: impl IntoIterator<Item = u16>, verdict: Verdict) -> Self {
        for status in statuses(codes) {
            self.columns().health.insert(status, verdict);
        }
        self
    }

    #[track_caller]
    fn set_advance(mut self, codes: impl IntoIterator<Item = u16>, advances: bool) -> Self {
        for status in statuses(codes) {
            self.columns().advance.insert(status, advances);
        }
        self
    }

    fn columns(&mut self) -> &mut Columns {
        Arc::make_mut(self.changed.get_or_insert_default())
    }
}
