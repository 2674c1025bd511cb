//! The table of statuses: their outcomes, and whether a chain goes on.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use ::http::{Extensions, HeaderMap, Response, StatusCode};

use super::StatusClassifier;
use crate::{
    http::{judge::Judges, read_errors::ErrorVerdict, retry_hint::retry_after::retry_after},
    outcome::{Outcome, Reason},
};

/// Everything that differs from the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) health: BTreeMap<StatusCode, Verdict>,
    pub(super) advance: BTreeMap<StatusCode, bool>,
    pub(super) by_head: Option<ByHead>,
    /// The judges of bodies, in order of precedence.
    pub(super) judges: Vec<Judges>,
    pub(super) hints: Vec<Hint>,
}

/// A closure that takes precedence over the table.
#[derive(Clone)]
pub(super) struct ByHead(pub(super) Arc<Judgement>);

pub(super) type Judgement = dyn Fn(StatusCode, &HeaderMap) -> Option<Outcome> + Send + Sync;

/// A closure that reads a retry time, in addition to [`retry_after`].
#[derive(Clone)]
pub(super) struct Hint(pub(super) Arc<Reading>);

pub(super) type Reading = dyn Fn(&HeaderMap) -> Option<Duration> + Send + Sync;

/// The effect of a status on health: an [`Outcome`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Answered,
    Neutral,
    Throttled,
    Failure,
    Fatal,
    /// Throttled if the response has a retry time, otherwise answered.
    Forbidden,
    /// Throttled if the response has a retry time, otherwise fatal.
    Revoked,
}

impl StatusClassifier {
    /// Returns the outcome of a response with this status and these headers. For clients whose responses are not
    /// [`http::Response`](::http::Response)s.
    #[must_use]
    pub fn outcome(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.outcome_with_wait(status, headers, || self.retry_time(headers))
    }

    /// Returns whether a chain goes on to the next provider after such a response.
    #[must_use]
    pub fn advances(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.advances_with_wait(status, headers, || self.retry_time(headers))
    }

    /// Like [`outcome`](Self::outcome), but the verdict of a `ReadErrorsLayer` takes precedence.
    pub(super) fn outcome_of<B>(&self, response: &Response<B>) -> Outcome {
        let (status, headers) = (response.status(), response.headers());
        let Some(by_body) = ErrorVerdict::of(status, response.extensions()) else {
            return self.outcome(status, headers);
        };
        let wait = by_body.retry_after.max(self.retry_time(headers));
        let outcome = by_body.outcome.clone();
        outcome
            .unwrap_or_else(|| self.outcome_with_wait(status, headers, || wait))
            .waiting_for(wait)
    }

    /// Like [`advances`](Self::advances), but the verdict of a `ReadErrorsLayer` takes precedence.
    fn advances_of(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> bool {
        let Some(by_body) = ErrorVerdict::of(status, extensions) else {
            return self.advances(status, headers);
        };
        let by_outcome = by_body.outcome.as_ref().map(Outcome::speaks_against);
        let wait = || by_body.retry_after.max(self.retry_time(headers));
        by_body
            .advance
            .or(by_outcome)
            .unwrap_or_else(|| self.advances_with_wait(status, headers, wait))
    }

    /// Returns the reason to go on after such a response; `None` to return it.
    pub(in crate::http) fn reason_to_advance(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<Reason> {
        let advances = self.advances_of(status, headers, extensions);
        advances.then(|| reason(status))
    }

    /// `wait` returns the retry time.
    fn outcome_with_wait(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        wait: impl Fn() -> Option<Duration>,
    ) -> Outcome {
        self.by_head(status, headers)
            .unwrap_or_else(|| self.by_table(status, wait))
    }

    /// `wait` returns the retry time.
    fn advances_with_wait(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        wait: impl Fn() -> Option<Duration>,
    ) -> bool {
        if let Some(outcome) = self.by_head(status, headers) {
            return outcome.speaks_against();
        }
        self.changed
            .as_ref()
            .and_then(|columns| columns.advance.get(&status).copied())
            .unwrap_or_else(|| self.by_table(status, wait).speaks_against())
    }

    /// `wait` returns the retry time.
    fn by_table(&self, status: StatusCode, wait: impl Fn() -> Option<Duration>) -> Outcome {
        match self.verdict(status) {
            Verdict::Success => Outcome::Success,
            Verdict::Answered => Outcome::Answered,
            Verdict::Neutral => Outcome::Neutral,
            Verdict::Throttled => Outcome::throttled(wait(), reason(status)),
            Verdict::Failure => Outcome::Failure {
                reason: reason(status),
                retry_after: wait(),
            },
            Verdict::Fatal => Outcome::fatal(reason(status)),
            verdict @ (Verdict::Forbidden | Verdict::Revoked) => match wait() {
                Some(wait) => Outcome::throttled(Some(wait), reason(status)),
                None if verdict == Verdict::Revoked => Outcome::fatal(reason(status)),
                None => Outcome::Answered,
            },
        }
    }

    /// The longest retry time in these headers.
    fn retry_time(&self, headers: &HeaderMap) -> Option<Duration> {
        let columns = self.changed.iter();
        columns
            .flat_map(|columns| &columns.hints)
            .filter_map(|Hint(closure)| closure(headers))
            .filter(|wait| !wait.is_zero())
            .chain(retry_after(headers))
            .max()
    }

    fn by_head(&self, status: StatusCode, headers: &HeaderMap) -> Option<Outcome> {
        let ByHead(closure) = self.changed.as_ref()?.by_head.as_ref()?;
        closure(status, headers)
    }

    fn verdict(&self, status: StatusCode) -> Verdict {
        self.changed
            .as_ref()
            .and_then(|columns| columns.health.get(&status).copied())
            .unwrap_or_else(|| Verdict::of(status))
    }
}

impl Verdict {
    /// The default of the table.
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..400 => Self::Success,
            429 => Self::Throttled,
            403 => Self::Forbidden,
            408 => Self::Failure,
            400..500 | 501 | 505..=508 | 510 => Self::Answered,
            500.. => Self::Failure,
        }
    }
}

/// The status as a label: `503`.
pub(in crate::http) fn reason(status: StatusCode) -> Reason {
    Reason::labelled(status.as_str(), "")
}

impl fmt::Debug for ByHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByHead").finish_non_exhaustive()
    }
}

impl fmt::Debug for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hint").finish_non_exhaustive()
    }
}
