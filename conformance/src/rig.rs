//! A breaker under test, whose calls are started and answered by hand.

use std::{
    fmt::Display,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use crate::{
    breaker::{BoxFuture, Breaker, Lacks, Rules, State},
    clock::{Clock, MOMENT},
    work::{Answer, Backend, Problem, work},
};

/// The end of the first open window, for [`Rig::admitted`].
pub(crate) const AFTER_THE_OPEN_WINDOW: &str = "after the open window";

/// `Ok` if the breaker behaves correctly.
pub(crate) type Judgement = Result<(), Objection>;

pub(crate) enum Objection {
    /// The observed behaviour.
    Fails(String),
    /// The feature that the crate lacks.
    NotApplicable(&'static str),
}

pub(crate) struct Rig<'a, B> {
    pub(crate) breaker: Arc<B>,
    clock: &'a Clock,
    open_for: Duration,
}

/// A call that was not refused at once.
pub(crate) struct Call {
    future: BoxFuture<()>,
    backend: Backend,
}

pub(crate) fn ensure(holds: bool, seen_otherwise: impl Display) -> Judgement {
    if holds {
        Ok(())
    } else {
        Err(Objection::Fails(seen_otherwise.to_string()))
    }
}

/// Combines the failures of several judgements.
pub(crate) fn all_of(judgements: impl IntoIterator<Item = Judgement>) -> Judgement {
    let mut seen = Vec::new();
    for judgement in judgements {
        match judgement {
            Ok(()) => {}
            Err(Objection::Fails(one)) => seen.push(one),
            not_applicable => return not_applicable,
        }
    }
    ensure(seen.is_empty(), seen.join("; "))
}

impl From<Lacks> for Objection {
    fn from(Lacks(what): Lacks) -> Self {
        Self::NotApplicable(what)
    }
}

impl<'a, B: Breaker> Rig<'a, B> {
    pub(crate) fn new(clock: &'a Clock, rules: Rules) -> Result<Self, Lacks> {
        Ok(Self::of(B::new(rules)?, clock, rules.open_for))
    }

    /// A breaker with the default rules, which calls `listener` with each new state.
    pub(crate) fn with_listener(
        clock: &'a Clock,
        listener: impl Fn(State) + Send + Sync + 'static,
    ) -> Result<Self, Lacks> {
        let rules = Rules::default();
        let breaker = B::with_listener(rules, Arc::new(listener))?;
        Ok(Self::of(breaker, clock, rules.open_for))
    }

    fn of(breaker: B, clock: &'a Clock, open_for: Duration) -> Self {
        Self {
            breaker: Arc::new(breaker),
            clock,
            open_for,
        }
    }

    /// A breaker after ten successes, a trip, and the end of the open window.
    pub(crate) fn half_open(clock: &'a Clock, rules: Rules) -> Result<Self, Objection> {
        let rig = Self::new(clock, rules)?;
        rig.succeed(10);
        rig.trip()?;
        rig.await_half_open();
        Ok(rig)
    }

    /// The same rig with another breaker.
    pub(crate) fn with(&self, breaker: B) -> Self {
        Self::of(breaker, self.clock, self.open_for)
    }

    /// Starts a call; `None` if it is refused at once.
    pub(crate) fn begin(&self) -> Option<Call> {
        let (work, backend) = work();
        let future = self.breaker.call(work);
        let future = Box::pin(async { drop(future.await) });
        let mut call = Call { future, backend };
        call.poll().is_pending().then_some(call)
    }

    /// Starts a call; `None` if it is not admitted at once.
    pub(crate) fn call(&self) -> Option<Call> {
        self.begin().filter(|call| call.backend.is_reached())
    }

    /// Starts a call that must be admitted. `when` completes "…, no call was admitted".
    pub(crate) fn admitted(&self, when: impl Display) -> Result<Call, Objection> {
        let refused = || Objection::Fails(format!("{when}, no call was admitted"));
        self.call().ok_or_else(refused)
    }

    /// Starts up to `number` concurrent calls.
    pub(crate) fn calls(&self, number: u32) -> Vec<Call> {
        (0..number).filter_map(|_| self.call()).collect()
    }

    /// Returns whether a call is admitted now. The call is dropped.
    pub(crate) fn admits(&self) -> bool {
        self.call().is_some()
    }

    /// Returns whether two failures do not open the breaker. Most half-open breakers open at the first; those that
    /// require one result more than there are trials open at the second.
    pub(crate) fn is_closed(&self) -> bool {
        self.fail(2);
        self.admits()
    }

    /// Makes this number of calls in sequence, answers each, and returns how many were admitted.
    pub(crate) fn answer(&self, number: u32, answer: &Answer) -> usize {
        let calls = (0..number).filter_map(|_| self.call());
        calls.map(|call| call.end(answer.clone())).count()
    }

    pub(crate) fn succeed(&self, number: u32) -> usize {
        self.answer(number, &Ok(()))
    }

    pub(crate) fn fail(&self, number: u32) -> usize {
        self.answer(number, &down())
    }

    /// Makes failed calls until one is refused.
    pub(crate) fn trip(&self) -> Judgement {
        let trips = (0..1_000).any(|_| self.fail(1) == 0);
        ensure(trips, "it does not trip")
    }

    pub(crate) fn await_half_open(&self) {
        self.clock.pass(self.open_for + Duration::from_secs(1));
    }
}

impl Call {
    pub(crate) fn poll(&mut self) -> Poll<()> {
        poll(self.future.as_mut())
    }

    pub(crate) fn end(self, answer: Answer) {
        self.backend.answer(answer);
        at_once(self.future);
    }
}

pub(crate) fn down() -> Answer {
    Err(Problem::Down("down".to_owned()))
}

/// Waits until another thread makes the condition true. `false` if that takes two seconds of real time.
pub(crate) fn soon(mut condition: impl FnMut() -> bool) -> bool {
    (0..2_000).any(|_| {
        thread::sleep(MOMENT);
        condition()
    })
}

/// Polls once a future that never waits.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}

pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
