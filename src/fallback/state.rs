use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    chain::Entry,
    chain::Exhausted,
    chain::FallbackChain,
    no_healthy_provider::{Attempt, NoHealthyProvider, ServedBy},
    providers::Providers,
    rule::Advance,
    wait::{Admission, first_to_admit},
};
use crate::{
    cache::Provider,
    layer::reentrancy::FailingOpen,
    outcome::{Kind, Reason},
    telemetry::{self, AttemptSpan},
    util::{errors::BoxError, time::after},
};

/// Progress of one request through the chain.
pub(super) struct FallbackState<S, Req, R, Res> {
    chain: FallbackChain<S, Req, R>,
    /// `None` once moved into an entry's call, after which no other entry can need it.
    request: Option<Req>,
    deadline: Option<Instant>,
    /// Index of the next entry to consider.
    next: usize,
    attempts_left: usize,
    /// End of the wait for [`Exhausted::Wait`]; set when it starts.
    wait_deadline: Option<Instant>,
    /// Entries that refused and have not been retried; set once all entries have been considered.
    to_retry: Option<vec::IntoIter<usize>>,
    current: Option<CurrentAttempt>,
    past: Vec<PastAttempt>,
    /// Number of past attempts already counted in the fallback metrics.
    counted: usize,
    last_error: Option<BoxError>,
    last_answer: Option<RejectedResponse<Res>>,
    /// At least one provider was called.
    was_called: bool,
}

/// A response that the rule rejected, kept in case no provider gives a better one.
struct RejectedResponse<Res> {
    entry: usize,
    /// Index of its attempt in `past`.
    attempt: usize,
    response: Res,
}

pin_project! {
    #[project = StageProj]
    pub(super) enum Stage<S, F> {
        Choosing,
        Readying { service: S },
        Calling { #[pin] future: F },
        Waiting { admission: Admission },
        Completed,
    }
}

struct CurrentAttempt {
    entry: usize,
    started: Instant,
    /// The entry is called even if its breaker refuses.
    is_overriding: bool,
    span: AttemptSpan,
}

const IN_PROGRESS: &str = "an attempt is in progress";

/// An entry that did not serve. Converted into an [`Attempt`] only when the caller will see it.
struct PastAttempt {
    entry: usize,
    reason: Reason,
    elapsed: Duration,
    is_refusal: bool,
}

impl<S, Req, R, Res> FallbackState<S, Req, R, Res> {
    pub(super) fn new(
        chain: FallbackChain<S, Req, R>,
        request: Req,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            request: Some(request),
            deadline,
            next: 0,
            attempts_left: chain.max_attempts,
            wait_deadline: None,
            to_retry: None,
            current: None,
            past: Vec::new(),
            counted: 0,
            last_error: None,
            last_answer: None,
            was_called: false,
            chain,
        }
    }
}

impl<S, Req, R> FallbackState<S, Req, R, S::Response>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    R: Advance<S::Response>,
{
    pub(super) fn poll(
        &mut self,
        mut stage: Pin<&mut Stage<S, S::Future>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, BoxError>> {
        loop {
            let result = match stage.as_mut().project() {
                StageProj::Choosing => {
                    let Some(next) = self.choose() else {
                        return Poll::Ready(self.finish());
                    };
                    stage.set(next);
                    continue;
                }
                StageProj::Waiting { admission } => {
                    let admitted = ready!(admission.as_mut().poll(cx));
                    let Some(next) = admitted.and_then(|entry| self.begin(entry)) else {
                        return Poll::Ready(self.finish());
                    };
                    stage.set(next);
                    continue;
                }
                StageProj::Readying { service } => {
                    let span = self.current().span.clone();
                    let _entered = span.enter();
                    let overriding = self.failing_open();
                    match ready!(service.poll_ready(cx)) {
                        Ok(()) => {
                            let request = self.request();
                            if request.is_err() {
                                self.log_end(None);
                            }
                            let future = service.call(request?);
                            drop(overriding);
                            stage.set(Stage::Calling { future });
                            continue;
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                StageProj::Calling { future } => {
                    let _entered = self.current().span.enter();
                    let _overriding = self.failing_open();
                    ready!(future.poll(cx)).map_err(Into::into)
                }
                StageProj::Completed => panic!("`FallbackFuture` polled after completion"),
            };
            if let Some(result) = self.judge(result) {
                return Poll::Ready(result);
            }
            stage.set(Stage::Choosing);
        }
    }

    /// Chooses the next stage; `None` if the chain is exhausted or its deadline has passed.
    fn choose(&mut self) -> Option<Stage<S, S::Future>> {
        if self.attempts_left == 0 || self.is_past_deadline() {
            return None;
        }
        if let Some(entry) = self.next_admitting() {
            return self.begin(entry);
        }
        // The last entry took the request and then refused.
        self.request.as_ref()?;
        match self.chain.exhausted {
            Exhausted::Fail => None,
            Exhausted::Wait(max) => self.wait(max),
            Exhausted::LastResort => self.last_resort(),
            Exhausted::FailOpen => self.fail_open(),
        }
    }

    /// Finds the next entry to call, and records those it skips.
    fn next_admitting(&mut self) -> Option<usize> {
        while let Some(entry) = self.chain.entries.get(self.next) {
            let index = self.next;
            self.next += 1;
            // If the request was moved, no later entry accepts it.
            let is_eligible = self.request.as_ref().is_some_and(|it| entry.accepts(it));
            if is_eligible && entry.providers.are_admitting() {
                return Some(index);
            }
            self.record(if is_eligible {
                PastAttempt::refused(index)
            } else {
                PastAttempt::not_eligible(index)
            });
        }
        None
    }

    fn wait(&mut self, max: Duration) -> Option<Stage<S, S::Future>> {
        self.attempts_left = 1;
        let is_retry = self.wait_deadline.is_some();
        let deadline = *self
            .wait_deadline
            .get_or_insert_with(|| after(Instant::now(), max));
        let refused: Vec<_> = self
            .refused()
            .map(|entry| (entry, self.providers(entry).clone()))
            .collect();
        if refused.is_empty() {
            return None;
        }
        let admission = first_to_admit(refused, deadline, is_retry);
        Some(Stage::Waiting { admission })
    }

    /// Retries the first entry that grants a trial. If another caller takes that trial first, the next entry is tried.
    fn last_resort(&mut self) -> Option<Stage<S, S::Future>> {
        self.attempts_left = 1;
        let mut refused = self.take_to_retry();
        let granted = refused.find(|&entry| self.providers(entry).grant_trial());
        self.to_retry = Some(refused);
        self.begin(granted?)
    }

    /// Retries the entries that refused, in order, while all of them refuse because of failures only.
    fn fail_open(&mut self) -> Option<Stage<S, S::Future>> {
        let may_fail_open = |entry| self.providers(entry).may_fail_open();
        if !self.refused().all(may_fail_open) {
            return self.last_resort();
        }
        let mut refused = self.take_to_retry();
        let next = refused.next();
        self.to_retry = Some(refused);
        let stage = self.begin(next?);
        if let Some(current) = &mut self.current {
            current.is_overriding = true;
        }
        stage
    }

    fn take_to_retry(&mut self) -> vec::IntoIter<usize> {
        let rest = self.to_retry.take();
        rest.unwrap_or_else(|| self.refused().collect::<Vec<_>>().into_iter())
    }

    /// Starts an attempt; `None` if the deadline has passed.
    #[inline]
    fn begin(&mut self, entry: usize) -> Option<Stage<S, S::Future>> {
        let started = Instant::now();
        if self.deadline.is_some_and(|deadline| started >= deadline) {
            return None;
        }
        let span = AttemptSpan::start(self.provider(entry).shared_id(), || {
            let calls = self.past.iter();
            calls.filter(|it| Attempt::is_of_call(&it.reason)).count()
        });
        self.current = Some(CurrentAttempt {
            entry,
            started,
            is_overriding: false,
            span,
        });
        if self.counted < self.past.len() {
            self.count_fallbacks(entry);
        }
        let service = self.chain.entries[entry].service.clone();
        Some(Stage::Readying { service })
    }

    fn current(&self) -> &CurrentAttempt {
        self.current.as_ref().expect(IN_PROGRESS)
    }

    /// Tells the entry's layers, while the guard lives, that the chain overrides the breaker.
    fn failing_open(&self) -> Option<FailingOpen> {
        let current = self.current.as_ref().filter(|it| it.is_overriding)?;
        Some(self.providers(current.entry).fail_open())
    }

    /// Returns the request for the current entry: a clone if another entry may need it.
    fn request(&mut self) -> Result<Req, BoxError> {
        const KEPT: &str = "request is kept while an entry may need it";
        if self.may_need_request_again() {
            (self.chain.clone_request)(self.request.as_ref().expect(KEPT))
        } else {
            Ok(self.request.take().expect(KEPT))
        }
    }

    fn may_need_request_again(&self) -> bool {
        let later = &self.chain.entries[self.next..];
        let is_accepted_later = |request: &Req| later.iter().any(|entry| entry.accepts(request));
        self.request.as_ref().is_some_and(is_accepted_later)
            || match self.chain.exhausted {
                Exhausted::Fail => false,
                Exhausted::Wait(_) => self.attempts_left > 0,
                Exhausted::LastResort | Exhausted::FailOpen => match &self.to_retry {
                    Some(refused) => refused.len() > 0,
                    None => self.refused().next().is_some(),
                },
            }
    }

    /// Returns the result if it is for the caller; `None` to go on.
    fn judge(
        &mut self,
        result: Result<S::Response, BoxError>,
    ) -> Option<Result<S::Response, BoxError>> {
        let CurrentAttempt {
            entry,
            started,
            span,
            ..
        } = self.current.take().expect(IN_PROGRESS);
        if self.chain.entries[entry].has_refused(&result) {
            let attempt = PastAttempt::refused(entry);
            span.failed(&attempt.reason);
            if self.refused().all(|known| known != entry) {
                self.record(attempt);
            }
            return None;
        }
        let Some(reason) = self.chain.rule.advance(result.as_ref()) else {
            if let (Err(error), true) = (&result, span.is_recorded()) {
                span.failed(&Reason::error(&**error));
            }
            self.log_end(Some(entry));
            return Some(result.map(|response| self.serve(entry, response)));
        };
        self.attempts_left = self.attempts_left.saturating_sub(1);
        span.failed(&reason);
        self.was_called |= was_called(&result);
        let attempt = self.past.len();
        self.record(PastAttempt::called(entry, reason, started));
        match result {
            Ok(response) if self.chain.last_answer => {
                self.last_answer = Some(RejectedResponse {
                    entry,
                    attempt,
                    response,
                });
            }
            Ok(_) => {}
            Err(error) => self.last_error = Some(error),
        }
        None
    }

    fn serve(&mut self, entry: usize, mut response: S::Response) -> S::Response {
        self.chain.rule.served(&mut response, || ServedBy {
            provider: Arc::clone(self.chain.entries[entry].providers.own().shared_id()),
            attempts: attempts(&self.chain.entries, mem::take(&mut self.past)),
        });
        response
    }

    /// Ends the chain because its deadline has passed.
    pub(super) fn exceed_deadline(&mut self) -> Result<S::Response, BoxError> {
        if let Some(CurrentAttempt {
            entry,
            started,
            span,
            ..
        }) = self.current.take()
        {
            let reason = "deadline exceeded".into();
            span.failed(&reason);
            self.was_called = true;
            self.record(PastAttempt::called(entry, reason, started));
        }
        self.finish()
    }

    /// Returns the kept response, or the error of an exhausted chain.
    fn finish(&mut self) -> Result<S::Response, BoxError> {
        telemetry::exhausted();
        self.log_end(None);
        let Some(answer) = self.last_answer.take() else {
            let error = self.exhausted();
            return Err(self.chain.rule.exhausted(error));
        };
        self.past.remove(answer.attempt);
        Ok(self.serve(answer.entry, answer.response))
    }
}

impl<S, Req, R, Res> FallbackState<S, Req, R, Res> {
    fn is_past_deadline(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn exhausted(&mut self) -> BoxError {
        let waits = self.refused().map(|entry| self.providers(entry).retry_in());
        let retry_in = waits.min();
        NoHealthyProvider {
            attempts: attempts(&self.chain.entries, mem::take(&mut self.past)),
            retry_in,
            last_error: self.last_error.take(),
            was_called: self.was_called,
        }
        .into()
    }

    /// Records an entry that did not serve.
    #[cold]
    fn record(&mut self, past: PastAttempt) {
        telemetry::attempted(
            self.provider(past.entry).shared_id(),
            &past.reason,
            past.elapsed,
        );
        self.past.push(past);
    }

    /// Logs the end of the request, which `entry` served.
    #[inline]
    fn log_end(&self, entry: Option<usize>) {
        let attempts = self.past.iter().map(|past| (past.entry, &past.reason));
        self.chain.log.ended(entry, attempts);
    }

    /// Counts a fallback to entry `to` from each entry that did not serve since the previous attempt.
    #[cold]
    fn count_fallbacks(&mut self, to: usize) {
        let others = |past: &&PastAttempt| past.entry != to;
        for past in self.past[self.counted..].iter().filter(others) {
            let (from, to) = (self.provider(past.entry), self.provider(to));
            self.chain.entries[past.entry].fallbacks.count(
                from.shared_id(),
                to.shared_id(),
                &past.reason,
            );
        }
        self.counted = self.past.len();
    }

    /// Returns the entries whose breakers refused, in order.
    fn refused(&self) -> impl Iterator<Item = usize> {
        let refusals = self.past.iter().filter(|past| past.is_refusal);
        refusals.map(|past| past.entry)
    }

    fn providers(&self, entry: usize) -> &Providers {
        &self.chain.entries[entry].providers
    }

    fn provider(&self, entry: usize) -> &Provider {
        self.providers(entry).own()
    }
}

impl PastAttempt {
    fn not_eligible(entry: usize) -> Self {
        Self {
            entry,
            reason: Attempt::NOT_ELIGIBLE.into(),
            elapsed: Duration::ZERO,
            is_refusal: false,
        }
    }

    fn refused(entry: usize) -> Self {
        Self {
            entry,
            reason: Attempt::REFUSED.into(),
            elapsed: Duration::ZERO,
            is_refusal: true,
        }
    }

    fn called(entry: usize, reason: Reason, started: Instant) -> Self {
        Self {
            entry,
            reason,
            elapsed: started.elapsed(),
            is_refusal: false,
        }
    }
}

/// Returns whether the provider was called, unless the result is an error that shows that it was not, or that proves
/// nothing about it.
fn was_called<Res>(result: &Result<Res, BoxError>) -> bool {
    let kind = result.as_ref().err().and_then(|error| Kind::of(&**error));
    kind.is_none_or(|kind| kind == Kind::Released || !kind.is_neutral())
}

fn attempts<S, Req>(entries: &[Entry<S, Req>], past: Vec<PastAttempt>) -> Vec<Attempt> {
    let attempt = |past: PastAttempt| {
        let providers = &entries[past.entry].providers;
        Attempt::new(providers, past.reason, past.elapsed)
    };
    past.into_iter().map(attempt).collect()
}
