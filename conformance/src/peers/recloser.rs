use recloser::AsyncRecloser;

use crate::{
    breaker::{Breaker, Cause, Lacks, Listener, Rules, Trip},
    work::{Problem, Work},
};

pub(crate) struct Recloser(AsyncRecloser);

impl Breaker for Recloser {
    const NAME: &'static str = "recloser 1.4.0";

    #[rustfmt::skip]
    const CAUSES: &'static [Cause] = &[
        (&["1", "2"], "`on_success` and `on_error` apply to the state at the end of a call, whenever it began (`recloser.rs`)."),
        (&["5", "6"], "`call_permitted` is true for every caller while half-open; `half_open_len` counts results (`recloser.rs`)."),
        (&["7", "34", "35"], "An error that the predicate does not count is a success (`async.rs`)."),
        (&["16"], "`RecloserBuilder::build` checks nothing (`recloser.rs`). With a length of 0 (`closed_len` for failures in a row, `half_open_len` for trials), the first result panics (`ring_buffer.rs`)."),
        (&["18"], "`RingBuffer` has no clock (`ring_buffer.rs`)."),
        (&["23"], "Each change of state replaces the old state, which is never freed (`call_permitted` and `transition_state` in `recloser.rs`)."),
        (&["32"], "A rate of the last few calls does not depend on the rate of calls (`ring_buffer.rs`). Users can choose a longer window."),
    ];

    fn new(rules: Rules) -> Result<Self, Lacks> {
        let (share, calls) = match rules.trip {
            // Equivalent after this number of calls.
            Trip::InARow(failures) => (1.0, failures),
            Trip::RateOfCalls { share, calls } => (share, calls),
            Trip::RateInTime { .. } => return Err(Lacks("has only rates over a number of calls")),
        };
        let breaker = recloser::Recloser::custom()
            .error_rate_closed(share)
            .closed_len(calls as usize)
            .half_open_len(rules.trials as usize)
            .open_wait(rules.open_for)
            .build();
        Ok(Self(breaker.into()))
    }

    fn call(&self, work: Work) -> impl Future + Send + 'static {
        self.0.call_with(Problem::is_failure, work)
    }

    fn with_listener(_: Rules, _: Listener) -> Result<Self, Lacks> {
        Err(Lacks("has no listeners, only `tracing` events"))
    }

    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks("publishes no gauges, only `tracing` events"))
    }
}
