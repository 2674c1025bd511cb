use std::{future::ready, sync::Arc, time::Duration};

use failsafe::{
    Config, FailurePolicy, Instrument, StateMachine, backoff, failure_policy,
    futures::{CircuitBreaker, stream::BreakerStream},
};
use futures_util::{StreamExt, stream};

use crate::{
    breaker::{BoxFuture, Breaker, Cause, Lacks, Listener, Reading, Rules, State, Trip},
    work::{Problem, Work},
};

pub(crate) struct Failsafe(StateMachine<AnyPolicy, Told>);

impl Breaker for Failsafe {
    const NAME: &'static str = "failsafe 1.3.0";

    #[rustfmt::skip]
    const CAUSES: &'static [Cause] = &[
        (&["1", "2"], "`on_success` and `on_error` apply to the state at the end of a call, whenever it began (`state_machine.rs`)."),
        (&["5", "6"], "`is_call_permitted` is true for every caller while half-open (`state_machine.rs`)."),
        (&["7", "34", "35"], "An error that the predicate does not count is a success (`futures/mod.rs`)."),
        (&["11"], "`reset` calls `on_closed` under the lock; other callbacks run outside it (`state_machine.rs`)."),
        (&["12"], "`reset` does nothing while closed (`state_machine.rs`)."),
        (&["16"], "`consecutive_failures` accepts 0, which trips like 1 (`failure_policy.rs`). `WindowedAdder::new` does not validate its window; the first result divides by it and panics (`windowed_adder.rs`)."),
        (&["18"], "`ConsecutiveFailures` has no clock (`failure_policy.rs`). A success rate over time does forget, but does not count failures in a row."),
        (&["37"], "`BreakerStream` counts each item that is not an error as a success, and ignores the end (`futures/stream.rs`)."),
        (&["32"], "`ConsecutiveFailures` does not depend on the rate of calls (`failure_policy.rs`). Users can choose a larger number or a success rate; `noise.md` shows the defaults."),
    ];

    fn new(rules: Rules) -> Result<Self, Lacks> {
        Self::with_listener(rules, Arc::new(|_| {}))
    }

    fn call(&self, work: Work) -> impl Future + Send + 'static {
        self.0.call_with(Problem::is_failure, work)
    }

    fn with_listener(rules: Rules, listener: Listener) -> Result<Self, Lacks> {
        if rules.trials == 0 {
            return Err(Lacks("has no number of trials"));
        }
        let pause = backoff::constant(rules.open_for);
        let policy = AnyPolicy(match rules.trip {
            Trip::InARow(failures) => {
                Box::new(failure_policy::consecutive_failures(failures, pause))
            }
            Trip::RateInTime {
                share,
                window,
                at_least,
            } => Box::new(failure_policy::success_rate_over_time_window(
                1.0 - f64::from(share),
                at_least,
                window,
                pause,
            )),
            Trip::RateOfCalls { .. } => return Err(Lacks("has only rates over time")),
        });
        let config = Config::new().failure_policy(policy);
        Ok(Self(config.instrument(Told(listener)).build()))
    }

    fn stream(&self, reading: Reading) -> Result<BoxFuture<()>, Lacks> {
        let events = match reading {
            Reading::ToTheLastEvent => 3,
            Reading::ToAnEndTooSoon => 1,
        };
        let events = stream::iter(vec![Ok::<_, Problem>(()); events]);
        let head = self.0.call(ready(Ok::<_, Problem>(())));
        let mut body = BreakerStream::new(self.0.clone(), events);
        Ok(Box::pin(async move {
            if head.await.is_ok() {
                while let Some(Ok(())) = body.next().await {}
            }
        }))
    }

    fn reset(&self) -> Result<(), Lacks> {
        self.0.reset();
        Ok(())
    }

    fn views(&self) -> Result<Vec<bool>, Lacks> {
        Ok(vec![self.0.is_call_permitted()])
    }

    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks(
            "publishes no gauges, but calls an `Instrument` for each state",
        ))
    }
}

struct AnyPolicy(Box<dyn FailurePolicy + Send + Sync>);

impl FailurePolicy for AnyPolicy {
    fn record_success(&mut self) {
        self.0.record_success();
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.0.mark_dead_on_failure()
    }

    fn revived(&mut self) {
        self.0.revived();
    }
}

struct Told(Listener);

impl Instrument for Told {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.0(State::Open);
    }

    fn on_half_open(&self) {
        self.0(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.0(State::Closed);
    }
}
