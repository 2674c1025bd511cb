//! A breaker under judgement, whose calls are begun and answered by hand.

use std::{
    fmt::Display,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    breaker::{BoxFuture, Breaker, Lacks, Rules},
    clock::Clock,
    work::{Answer, Backend, Problem, work},
};

/// Nothing, where a breaker does as it should.
pub(crate) type Judgement = Result<(), Objection>;

pub(crate) enum Objection {
    /// What was seen instead.
    Fails(String),
    /// What the crate lacks to be judged by.
    NotApplicable(&'static str),
}

pub(crate) struct Rig<'a, B> {
    pub(crate) breaker: Arc<B>,
    clock: &'a Clock,
    open_for: Duration,
}

/// One that was not refused at once.
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

/// All that was seen instead, where there are several ways to fail.
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
        let open_for = rules.open_for;
        let breaker = Arc::new(B::new(rules)?);
        Ok(Self {
            breaker,
            clock,
            open_for,
        })
    }

    /// Was well for ten calls, has tripped, and its time is over.
    pub(crate) fn half_open(clock: &'a Clock, rules: Rules) -> Result<Self, Objection> {
        let rig = Self::new(clock, rules)?;
        rig.succeed(10);
        rig.trip()?;
        rig.await_half_open();
        Ok(rig)
    }

    /// The same with another breaker.
    pub(crate) fn with(&self, breaker: B) -> Self {
        Self {
            breaker: Arc::new(breaker),
            ..*self
        }
    }

    /// A call, unless it is refused at once.
    pub(crate) fn begin(&self) -> Option<Call> {
        let (work, backend) = work();
        let future = self.breaker.call(work);
        let mut call = Call { future, backend };
        call.poll().is_pending().then_some(call)
    }

    /// A call, if it is admitted at once.
    pub(crate) fn call(&self) -> Option<Call> {
        self.begin().filter(|call| call.backend.is_reached())
    }

    pub(crate) fn admitted(&self) -> Result<Call, Objection> {
        let refused = || Objection::Fails("a call is refused to begin with".to_owned());
        self.call().ok_or_else(refused)
    }

    /// So many that are under way at once, or fewer.
    pub(crate) fn calls(&self, number: u32) -> Vec<Call> {
        (0..number).filter_map(|_| self.call()).collect()
    }

    /// Whether a call is admitted now; it is given up at once.
    pub(crate) fn admits(&self) -> bool {
        self.call().is_some()
    }

    /// Whether it takes more than two failures to open it. Half-open, the first is enough for most, and the
    /// second for those that want one more result than there are trials.
    pub(crate) fn is_closed(&self) -> bool {
        self.fail(2);
        self.admits()
    }

    /// So many calls, one after the other, all answered so; gives back how many were admitted.
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

    /// Fails until a call is refused.
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

/// Drives by hand what has nothing to wait for.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("there is nothing to wait for"),
    }
}

pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
