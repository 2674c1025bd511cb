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
    rule::Advance,
    wait::{Admission, first_to_admit},
};
use crate::{
    cache::Provider,
    layer::reentrancy::{self, Overriding},
    outcome::{Kind, Reason},
    telemetry,
    util::{errors::BoxError, time::after},
};

/// The way of one request along the chain.
pub(super) struct FallbackState<S, Req, R, Res> {
    chain: FallbackChain<S, Req, R>,
    /// Gone once it is given to an entry behind which no other takes it.
    request: Option<Req>,
    ends: Option<Instant>,
    /// The entry that is next in the pass.
    next: usize,
    tries_left: usize,
    /// Set once the chain waits: how long at most.
    wait_ends: Option<Instant>,
    /// Set after the pass: those that refused in it and are still to be asked again.
    second_round: Option<vec::IntoIter<usize>>,
    current: Option<CurrentAttempt>,
    past: Vec<PastAttempt>,
    /// How many of the past were told as left to another entry.
    passed_on: usize,
    last_error: Option<BoxError>,
    last_answer: Option<Answer<Res>>,
    /// A provider was called, and the result was not an error of a neutral kind.
    was_called: bool,
}

/// A response that the rule goes on from, kept in case nobody gives a better one.
struct Answer<Res> {
    entry: usize,
    /// Its attempt among the past.
    attempt: usize,
    response: Res,
}

pin_project! {
    /// Where on its way the request is.
    #[project = StageProj]
    pub(super) enum Stage<S, F> {
        Choosing,
        Readying { service: S },
        Calling { #[pin] future: F },
        Waiting { admission: Admission },
        Done,
    }
}

struct CurrentAttempt {
    entry: usize,
    started: Instant,
    /// It is called whatever its breaker says.
    is_overriding: bool,
}

/// An entry that did not serve. Made into an [`Attempt`] only where somebody wants to see it.
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
        ends: Option<Instant>,
    ) -> Self {
        Self {
            request: Some(request),
            ends,
            next: 0,
            tries_left: chain.max_attempts,
            wait_ends: None,
            second_round: None,
            current: None,
            past: Vec::new(),
            passed_on: 0,
            last_error: None,
            last_answer: None,
            was_called: false,
            chain,
        }
    }
}

/// The way.
impl<S, Req, R> FallbackState<S, Req, R, S::Response>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    Req: Clone,
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
                    let overriding = self.overriding();
                    match ready!(service.poll_ready(cx)) {
                        Ok(()) => {
                            let future = service.call(self.request());
                            drop(overriding);
                            stage.set(Stage::Calling { future });
                            continue;
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                StageProj::Calling { future } => {
                    let _overriding = self.overriding();
                    ready!(future.poll(cx)).map_err(Into::into)
                }
                StageProj::Done => panic!("polled after it was done"),
            };
            if let Some(result) = self.judge(result) {
                return Poll::Ready(result);
            }
            stage.set(Stage::Choosing);
        }
    }

    /// What comes next; `None`: nobody is left, or no time.
    fn choose(&mut self) -> Option<Stage<S, S::Future>> {
        if self.tries_left == 0 || self.is_over() {
            return None;
        }
        if let Some(entry) = self.next_in_pass() {
            return self.begin(entry);
        }
        // Given to an entry that has refused it, where no other was left to need it.
        self.request.as_ref()?;
        match self.chain.exhausted {
            Exhausted::Fail => None,
            Exhausted::Wait(max) => self.wait(max),
            Exhausted::LastResort => self.last_resort(),
            Exhausted::FailOpen => self.fail_open(),
        }
    }

    fn next_in_pass(&mut self) -> Option<usize> {
        while let Some(entry) = self.chain.entries.get(self.next) {
            let index = self.next;
            self.next += 1;
            // A request that is gone is one that no entry behind takes.
            let is_eligible = self.request.as_ref().is_some_and(|it| entry.takes(it));
            if is_eligible && reentrancy::is_admitting(&entry.provider) {
                return Some(index);
            }
            self.pass(if is_eligible {
                PastAttempt::refused(index)
            } else {
                PastAttempt::not_eligible(index)
            });
        }
        None
    }

    fn wait(&mut self, max: Duration) -> Option<Stage<S, S::Future>> {
        self.tries_left = 1;
        let is_overtaken = self.wait_ends.is_some();
        let ends = *self
            .wait_ends
            .get_or_insert_with(|| after(Instant::now(), max));
        let refused: Vec<_> = self
            .refused()
            .map(|entry| (entry, self.provider(entry).clone()))
            .collect();
        if refused.is_empty() {
            return None;
        }
        let admission = first_to_admit(refused, ends, is_overtaken);
        Some(Stage::Waiting { admission })
    }

    /// One of those that refused, tried once; where another caller is faster, the next.
    fn last_resort(&mut self) -> Option<Stage<S, S::Future>> {
        self.tries_left = 1;
        let mut refused = self.second_round();
        let granted = refused.find(|&entry| {
            let provider = self.provider(entry);
            provider.is_healthy() || provider.grant_trial()
        });
        self.second_round = Some(refused);
        self.begin(granted?)
    }

    /// Those that refused, one after the other, for as long as nothing but failures speaks against any of them.
    fn fail_open(&mut self) -> Option<Stage<S, S::Future>> {
        let may_fail_open = |entry| self.provider(entry).may_fail_open();
        if !self.refused().all(may_fail_open) {
            return self.last_resort();
        }
        let mut refused = self.second_round();
        let next = refused.next();
        self.second_round = Some(refused);
        let stage = self.begin(next?);
        if let Some(current) = &mut self.current {
            current.is_overriding = true;
        }
        stage
    }

    fn second_round(&mut self) -> vec::IntoIter<usize> {
        let begun = self.second_round.take();
        begun.unwrap_or_else(|| self.refused().collect::<Vec<_>>().into_iter())
    }

    /// `None`: the time is up, and the entry is not tried.
    #[inline]
    fn begin(&mut self, entry: usize) -> Option<Stage<S, S::Future>> {
        let started = Instant::now();
        if self.ends.is_some_and(|ends| started >= ends) {
            return None;
        }
        self.current = Some(CurrentAttempt {
            entry,
            started,
            is_overriding: false,
        });
        if self.passed_on < self.past.len() {
            self.pass_on(entry);
        }
        let service = self.chain.entries[entry].service.clone();
        Some(Stage::Readying { service })
    }

    /// Lets the layers beneath know, while the entry runs, that the chain overrides its breaker.
    fn overriding(&self) -> Option<Overriding> {
        let current = self.current.as_ref().filter(|it| it.is_overriding)?;
        Some(Overriding::enter(self.provider(current.entry)))
    }

    /// The request for the entry that is being tried.
    fn request(&mut self) -> Req {
        const KEPT: &str = "kept for as long as an entry may take it";
        if self.may_need_request_again() {
            self.request.as_ref().expect(KEPT).clone()
        } else {
            self.request.take().expect(KEPT)
        }
    }

    fn may_need_request_again(&self) -> bool {
        let behind = &self.chain.entries[self.next..];
        let is_taken_behind = |request: &Req| behind.iter().any(|entry| entry.takes(request));
        self.request.as_ref().is_some_and(is_taken_behind)
            || match self.chain.exhausted {
                Exhausted::Fail => false,
                Exhausted::Wait(_) => self.tries_left > 0,
                Exhausted::LastResort | Exhausted::FailOpen => match &self.second_round {
                    Some(refused) => refused.len() > 0,
                    None => self.refused().next().is_some(),
                },
            }
    }

    /// The result, if it is for the caller; `None` sends the request on.
    fn judge(
        &mut self,
        result: Result<S::Response, BoxError>,
    ) -> Option<Result<S::Response, BoxError>> {
        let CurrentAttempt { entry, started, .. } =
            self.current.take().expect("an entry is being tried");
        if self.chain.entries[entry].has_refused(&result) {
            if self.refused().all(|known| known != entry) {
                self.pass(PastAttempt::refused(entry));
            }
            return None;
        }
        let Some(reason) = self.chain.rule.advance(result.as_ref()) else {
            return Some(result.map(|response| self.serve(entry, response)));
        };
        self.tries_left = self.tries_left.saturating_sub(1);
        self.was_called |= !is_neutral(&result);
        let attempt = self.past.len();
        self.pass(PastAttempt::tried(entry, reason, started));
        match result {
            Ok(response) if self.chain.last_answer => {
                self.last_answer = Some(Answer {
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
            provider: Arc::clone(self.chain.entries[entry].provider.shared_id()),
            attempts: attempts(&self.chain.entries, mem::take(&mut self.past)),
        });
        response
    }

    /// The deadline has run out.
    pub(super) fn cut_off(&mut self) -> Result<S::Response, BoxError> {
        if let Some(CurrentAttempt { entry, started, .. }) = self.current.take() {
            let reason = "deadline exceeded".into();
            self.was_called = true;
            self.pass(PastAttempt::tried(entry, reason, started));
        }
        self.finish()
    }

    /// No entry is left.
    fn finish(&mut self) -> Result<S::Response, BoxError> {
        telemetry::exhausted();
        let Some(answer) = self.last_answer.take() else {
            let error = self.exhausted();
            return Err(self.chain.rule.exhausted(error));
        };
        self.past.remove(answer.attempt);
        Ok(self.serve(answer.entry, answer.response))
    }
}

/// Parts.
impl<S, Req, R, Res> FallbackState<S, Req, R, Res> {
    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    fn exhausted(&mut self) -> BoxError {
        let waits = self.refused().map(|entry| {
            let breaker = self.provider(entry).breaker();
            breaker.look(|breaker, now| breaker.retry_in(now).unwrap_or_default())
        });
        let retry_in = waits.min();
        NoHealthyProvider {
            attempts: attempts(&self.chain.entries, mem::take(&mut self.past)),
            retry_in,
            last_error: self.last_error.take(),
            was_called: self.was_called,
        }
        .into()
    }

    /// An entry did not serve.
    #[cold]
    fn pass(&mut self, past: PastAttempt) {
        telemetry::attempted(
            self.provider(past.entry).shared_id(),
            &past.reason,
            past.elapsed,
        );
        self.past.push(past);
    }

    /// Those that did not serve since the last try have left the request to this entry.
    #[cold]
    fn pass_on(&mut self, to: usize) {
        let others = |past: &&PastAttempt| past.entry != to;
        for past in self.past[self.passed_on..].iter().filter(others) {
            let from = &self.chain.entries[past.entry];
            let to = self.provider(to).shared_id();
            from.fallbacks
                .count(from.provider.shared_id(), to, &past.reason);
        }
        self.passed_on = self.past.len();
    }

    /// The entries whose breakers refused, in order.
    fn refused(&self) -> impl Iterator<Item = usize> {
        let refusals = self.past.iter().filter(|past| past.is_refusal);
        refusals.map(|past| past.entry)
    }

    fn provider(&self, entry: usize) -> &Provider {
        &self.chain.entries[entry].provider
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

    fn tried(entry: usize, reason: Reason, started: Instant) -> Self {
        Self {
            entry,
            reason,
            elapsed: started.elapsed(),
            is_refusal: false,
        }
    }
}

/// Whether the result is an error of a kind that is neutral.
fn is_neutral<Res>(result: &Result<Res, BoxError>) -> bool {
    let kind = result.as_ref().err().and_then(|error| Kind::of(&**error));
    kind.is_some_and(Kind::is_neutral)
}

fn attempts<S, Req>(entries: &[Entry<S, Req>], past: Vec<PastAttempt>) -> Vec<Attempt> {
    let attempt = |past: PastAttempt| {
        let provider = &entries[past.entry].provider;
        Attempt::new(provider, past.reason, past.elapsed)
    };
    past.into_iter().map(attempt).collect()
}
