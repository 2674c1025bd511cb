use std::{future::ready, time::Duration};

use failsafe::{
    Config, Error, FailurePolicy, Instrument, StateMachine, backoff, failure_policy,
    futures::{CircuitBreaker, stream::BreakerStream},
};
use futures_util::{StreamExt, stream};

use crate::{
    breaker::{BoxFuture, Breaker, Cause, Lacks, Listener, Reading, Rules, State, Trip},
    work::{Problem, Work},
};

pub(crate) struct Failsafe(Box<dyn Machine>);

impl Breaker for Failsafe {
    const NAME: &'static str = "failsafe 1.3.0";

    #[rustfmt::skip]
    const CAUSES: &'static [Cause] = &[
        (&["1", "2"], "`on_success` and `on_error` apply to the state at the end of a call, whenever it began (`state_machine.rs`)."),
        (&["5", "6"], "`is_call_permitted` is true for every caller while half-open (`state_machine.rs`)."),
        (&["7", "34", "35"], "An error that the predicate does not count is a success (`futures/mod.rs`)."),
        (&["11"], "`reset` calls `on_closed` under the lock; other callbacks run outside it (`state_machine.rs`)."),
        (&["12"], "`reset` does nothing while closed (`state_machine.rs`)."),
        (&["16"], "`WindowedAdder::new` does not validate its window; the first result divides by it and panics (`windowed_adder.rs`)."),
        (&["18"], "`ConsecutiveFailures` has no clock (`failure_policy.rs`). A success rate over time does forget, but does not count failures in a row."),
        (&["37"], "`BreakerStream` counts each item that is not an error as a success, and ignores the end (`futures/stream.rs`)."),
        (&["32"], "`ConsecutiveFailures` does not depend on the rate of calls (`failure_policy.rs`). Users can choose a larger number or a success rate; `noise.md` shows the defaults."),
    ];

    fn new(rules: Rules) -> Result<Self, Lacks> {
        if rules.trials == 0 {
            return Err(Lacks("has no number of trials"));
        }
        let config = Config::new().instrument(Told(rules.listener));
        let pause = backoff::constant(rules.open_for);
        Ok(Self(match rules.trip {
            Trip::InARow(failures) => {
                let policy = failure_policy::consecutive_failures(failures, pause);
                Box::new(config.failure_policy(policy).build())
            }
            Trip::RateInTime {
                share,
                window,
                at_least,
            } => {
                let policy = failure_policy::success_rate_over_time_window(
                    1.0 - f64::from(share),
                    at_least,
                    window,
                    pause,
                );
                Box::new(config.failure_policy(policy).build())
            }
            Trip::RateOfCalls { .. } => return Err(Lacks("has only rates over time")),
        }))
    }

    fn call(&self, work: Work) -> BoxFuture<()> {
        self.0.call(work)
    }

    fn call_refusing_group(&self) -> BoxFuture<()> {
        self.0.call_refusing_group()
    }

    fn stream(&self, reading: Reading) -> Result<BoxFuture<()>, Lacks> {
        Ok(self.0.stream(match reading {
            Reading::ToTheLastEvent => 3,
            Reading::ToAnEndTooSoon => 1,
        }))
    }

    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks(
            "publishes no gauges, but calls an `Instrument` for each state",
        ))
    }

    fn reset(&self) -> Result<(), Lacks> {
        self.0.reset();
        Ok(())
    }

    fn views(&self) -> Result<Vec<bool>, Lacks> {
        Ok(vec![self.0.is_call_permitted()])
    }
}

/// A state machine with any policy.
trait Machine: Send + Sync {
    fn call(&self, work: Work) -> BoxFuture<()>;
    fn call_refusing_group(&self) -> BoxFuture<()>;
    /// Makes a call that is answered with this number of events and then ends.
    fn stream(&self, events: usize) -> BoxFuture<()>;
    fn reset(&self);
    fn is_call_permitted(&self) -> bool;
}

impl<P: FailurePolicy + Send + Sync + 'static> Machine for StateMachine<P, Told> {
    fn call(&self, work: Work) -> BoxFuture<()> {
        let call = self.call_with(Problem::is_failure, work);
        Box::pin(async { drop(call.await) })
    }

    fn call_refusing_group(&self) -> BoxFuture<()> {
        let pause = backoff::constant(Duration::from_secs(60));
        let member = Config::new()
            .failure_policy(failure_policy::consecutive_failures(1, pause))
            .build();
        let group = async move {
            // The first call opens it, and the second is refused.
            let opens = member.call(ready(Err(Problem::Down("down".to_owned()))));
            drop::<Result<(), _>>(opens.await);
            member.call(ready(Ok(()))).await
        };
        let is_failure = |error: &Error<Problem>| match error {
            Error::Inner(problem) => problem.is_failure(),
            Error::Rejected => false,
        };
        let call = self.call_with(is_failure, group);
        Box::pin(async { drop(call.await) })
    }

    fn stream(&self, events: usize) -> BoxFuture<()> {
        let head = CircuitBreaker::call(self, ready(Ok::<_, Problem>(())));
        let events = stream::iter(vec![Ok::<_, Problem>(()); events]);
        let mut body = BreakerStream::new(self.clone(), events);
        Box::pin(async move {
            if head.await.is_ok() {
                while let Some(Ok(())) = body.next().await {}
            }
        })
    }

    fn reset(&self) {
        self.reset();
    }

    fn is_call_permitted(&self) -> bool {
        self.is_call_permitted()
    }
}

struct Told(Option<Listener>);

impl Told {
    fn tell(&self, state: State) {
        if let Some(listener) = &self.0 {
            listener(state);
        }
    }
}

impl Instrument for Told {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.tell(State::Open);
    }

    fn on_half_open(&self) {
        self.tell(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.tell(State::Closed);
    }
}
