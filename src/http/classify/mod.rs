mod response;
mod table;

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, StatusCode};

use self::table::{ByHead, Columns, Hint, Verdict};
pub(super) use self::{response::has_no_content, table::reason};
use super::{
    judge::{JudgeBody, Judges, StreamVerdict},
    sse::SseEvent,
    status_codes::statuses,
};
use crate::{outcome::Outcome, util::settings::positive};

/// Classifies responses by their status, and successful ones also by their body. Default classifier
/// of [`HealthLayer::http`](crate::HealthLayer::http).
///
/// For each status, the table gives the outcome for the provider's health, and whether a
/// [`FallbackChain`](crate::FallbackChain) tries the next provider.
///
/// | status | health | chain goes on | because |
/// |---|---|---|---|
/// | no response: an error | failure; neutral for [neutral kinds](crate::error::Kind::is_neutral) | yes | the provider did not answer |
/// | 1xx, 2xx, 3xx | success, at the end of the body | no | [RFC 9110 §15.2] to §15.4 |
/// | 429 | throttled | yes | the client sent too many requests: [RFC 6585 §4] |
/// | 408 | failure | yes | the server timed out, and the client may repeat the request: [RFC 9110 §15.5.9] |
/// | 403 with a [retry time](super::retry_after()) | throttled | yes | some APIs report a rate limit as 403, such as [GitHub]'s |
/// | 401, 402, other 403 | answered | no | the key may belong to one caller; see [`credentials_as_failures`](Self::credentials_as_failures) |
/// | other 4xx | answered | no | the request is at fault: [RFC 9110 §15.5] |
/// | 501, 505 to 508, 510 | answered | no | the server cannot handle this particular request: [RFC 9110 §15.6.2] and §15.6.6, [RFC 2295 §8.1], [RFC 4918 §11.5], [RFC 5842 §7.2], [RFC 2774 §7] |
/// | other 5xx | failure | yes | the server is at fault: [RFC 9110 §15.6]; 511 comes from a gateway: [RFC 6585 §6] |
/// | 600 to 999 | failure | yes | clients treat an invalid status as 5xx: [RFC 9110 §15] |
///
/// [*Answered*](Outcome::Answered) means that the provider is up and the status concerns only the request.
///
/// The other 5xx include non-standard statuses for an overloaded or unreachable origin: 520 to 526 and 530
/// (Cloudflare), 529 (Anthropic), 598 and 599. Clients treat an unknown 5xx as a 500 (RFC 9110 §15).
///
/// If only the body shows why a call failed, add a [`ReadErrorsLayer`](super::ReadErrorsLayer) inside the
/// `HealthLayer`. Its verdict takes precedence over the table.
///
/// A success is recorded at the end of the body. A body that ends with an error, or is shorter than announced, is a failure;
/// see [`HealthBody`]. [`judge_sse`](Self::judge_sse) and [`judge_body`](Self::judge_body) inspect the contents of a
/// body. All other outcomes are recorded when the headers arrive.
///
/// [`retry_after`] reads the retry time of a response; to read provider-specific headers too, set a
/// [`retry_hint`](Self::retry_hint). A throttle keeps the breaker open for the retry time. If a failure opens
/// the breaker, the open window lasts at least for the retry time.
///
/// [`ErrorsAsFailures`](crate::ErrorsAsFailures) classifies errors: an error is neutral if its
/// [kind](crate::error::Kind) is [neutral](crate::error::Kind::is_neutral), and otherwise a failure. The kind becomes the
/// reason's [label](crate::Reason::label), which metrics show instead of the error's text.
///
/// Each status can be overridden; the last setting for a status wins.
///
/// ```
/// use std::time::Duration;
/// use tower_health::http::{StatusClassifier, StreamVerdict};
///
/// let defaults = StatusClassifier::new();
///
/// let customized = StatusClassifier::new()
///     // All callers share one key: a refused key fails every call.
///     .credentials_as_failures()
///     // This provider sends 503 for rate limits.
///     .throttled_on([503])
///     // Its 500s are caused by malformed requests.
///     .neutral_on([500])
///     // The next provider may have a model that this one lacks.
///     .advance_on([404])
///     // Its streams send something every few seconds.
///     .idle_timeout(Duration::from_secs(30))
///     // A stream without its last event is incomplete, even if HTTP ends it cleanly.
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
#[cfg_attr(feature = "serde", doc = include_str!("../../serde/classifier.md"))]
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct StatusClassifier {
    /// Shared, and `None` by default: a classifier is cloned for each call.
    changed: Option<Arc<Columns>>,
    idle_timeout: Option<Duration>,
}

impl StatusClassifier {
    /// Creates a classifier with the table above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the breaker at once on refused credentials: 401, 402 and 403 become [fatal](Self::fatal_on). A 403 with a
    /// retry time remains a throttle. Default: they are [answered](Outcome::Answered).
    ///
    /// Use this when all calls share a key that the application owns. When callers bring their own keys, one bad key
    /// would open the breaker for all of them.
    pub fn credentials_as_failures(self) -> Self {
        self.fatal_on([401, 402]).set_health(
            "StatusClassifier::credentials_as_failures",
            [403],
            Verdict::Revoked,
        )
    }

    /// Treats these statuses as [answered](Outcome::Answered): the provider is up, and the status concerns only the
    /// request. Default: most 4xx, 501, 505 to 508, 510.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn answered_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health("StatusClassifier::answered_on", statuses, Verdict::Answered)
    }

    /// Treats these statuses as neutral: they do not affect the provider's health. Default: none.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn neutral_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health("StatusClassifier::neutral_on", statuses, Verdict::Neutral)
    }

    /// Treats these statuses as successes, recorded at the end of the body. Default: all below 400.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn success_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health("StatusClassifier::success_on", statuses, Verdict::Success)
    }

    /// Treats these statuses as failures. Default: 408, most 5xx, 600 to 999.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn failure_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health("StatusClassifier::failure_on", statuses, Verdict::Failure)
    }

    /// Treats these statuses as throttles: the breaker opens for the retry time, or for
    /// [`Throttle::default_wait`](crate::Throttle::default_wait) if there is none. They do not count as failures. Default:
    /// 429.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn throttled_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health(
            "StatusClassifier::throttled_on",
            statuses,
            Verdict::Throttled,
        )
    }

    /// Treats these statuses as fatal: one of them opens the breaker at once, whatever the trip rule.
    /// Default: none.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn fatal_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_health("StatusClassifier::fatal_on", statuses, Verdict::Fatal)
    }

    /// Lets a chain try the next provider on these statuses, whatever their effect on health. Default: the statuses
    /// that are failures, fatal or throttled.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn advance_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_advance("StatusClassifier::advance_on", statuses, true)
    }

    /// Lets a chain return these statuses to the caller, whatever their effect on health. Default: the statuses that
    /// are successes, answered or neutral.
    ///
    /// # Panics
    ///
    /// If a status is not between 100 and 999.
    #[track_caller]
    pub fn return_on(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.set_advance("StatusClassifier::return_on", statuses, false)
    }

    /// Sets the maximum time that the reader of a successful response waits for the next frame. After that the call is a
    /// failure, and the reader gets an [`IdleBody`](super::IdleBody) error. Default: no limit.
    ///
    /// The time counts only while the reader waits for a frame, so a slow reader causes no failure. The body must be
    /// polled within a tokio runtime with its timer enabled. The first wait of each body allocates a timer.
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

    /// Classifies responses with a closure, which takes precedence over the table. If it returns `None`, the table
    /// decides. A chain goes on when the closure returns a failure, fatal or throttled outcome. Default: no closure.
    ///
    /// ```
    /// use tower_health::{Outcome, http::StatusClassifier};
    ///
    /// // This gateway answers 200 when a model is unavailable.
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

    /// Adds a closure that reads a provider-specific retry time from the headers. If several closures, or a closure and
    /// [`retry_after`](super::retry_after()), return a time, the longest applies. Default: `retry_after` alone.
    ///
    /// The closures are called for a 429, a 403 and failures, but not for successes. The module
    /// [`retry_hint`](super::retry_hint) has ready-made functions for several APIs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_health::http::{StatusClassifier, retry_hint};
    ///
    /// let groq = StatusClassifier::new().retry_hint(retry_hint::openai);
    ///
    /// // A custom header, in minutes.
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

    /// Judges streams of server-sent events, event by event. Default: every stream that reaches its end is a success.
    ///
    /// For each response with `Content-Type: text/event-stream`, the closure is called with each event until it returns
    /// a verdict other than [`Continue`](StreamVerdict::Continue). That verdict is recorded at once, whether or not the
    /// reader goes on. A stream that ends before a verdict is a failure with reason `incomplete`. A last event without
    /// a blank line after it is judged at the end of the stream. A response to `HEAD` is a success. Compressed streams
    /// are not inspected: they are a success at their end.
    ///
    /// The reader gets every byte unchanged and without delay.
    ///
    /// ```
    /// use tower_health::{Reason, http::{StatusClassifier, StreamVerdict}};
    ///
    /// // OpenAI and many others end a stream with `[DONE]`, Anthropic with `message_stop`. Some report an error
    /// // as an event of its own, others in the data of an ordinary event.
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
    /// An event of more than 1 MiB is [truncated](SseEvent::is_truncated), and judged by its beginning. If there are
    /// several judges, including those of [`judge_body`](Self::judge_body), the first one that applies to a response is
    /// used.
    pub fn judge_sse<F>(mut self, judge: F) -> Self
    where
        F: Fn(&SseEvent<'_>) -> StreamVerdict + Send + Sync + 'static,
    {
        self.columns().judges.push(Judges::of_events(judge));
        self
    }

    /// Judges bodies by their data and trailers. Default: a body is a success at its end.
    ///
    /// The closure is called for each successful response that may have content. It returns a [judge](JudgeBody) for
    /// the body, or `None` if it does not apply to this response. The judge gets the data as it arrives, without
    /// decompression. The reader gets every frame unchanged and without delay.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use tower_health::{Outcome, http::{JudgeBody, StatusClassifier, StreamVerdict}};
    ///
    /// /// Judges lines of JSON, the last of which contains `"done":true`.
    /// #[derive(Default)]
    /// struct Lines {
    ///     line: Vec<u8>,
    /// }
    ///
    /// impl JudgeBody for Lines {
    ///     fn frame(&mut self, data: &[u8]) -> StreamVerdict {
    ///         for piece in data.split_inclusive(|byte| *byte == b'\n') {
    ///             // The last line and errors are short: of other lines, keep only the beginning.
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
    fn set_health(
        mut self,
        setting: &str,
        codes: impl IntoIterator<Item = u16>,
        verdict: Verdict,
    ) -> Self {
        for status in statuses(setting, codes) {
            self.columns().health.insert(status, verdict);
        }
        self
    }

    #[track_caller]
    fn set_advance(
        mut self,
        setting: &str,
        codes: impl IntoIterator<Item = u16>,
        advances: bool,
    ) -> Self {
        for status in statuses(setting, codes) {
            self.columns().advance.insert(status, advances);
        }
        self
    }

    fn columns(&mut self) -> &mut Columns {
        Arc::make_mut(self.changed.get_or_insert_default())
    }
}
