use std::future::ready;

use recloser::{AsyncRecloser, Error};

use crate::{
    breaker::{BoxFuture, Breaker, Cause, Lacks, Rules, Trip},
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
        (&["16"], "`RecloserBuilder::build` checks nothing (`recloser.rs`). With a length of 0, the first result panics (`ring_buffer.rs`)."),
        (&["18"], "`RingBuffer` has no clock (`ring_buffer.rs`)."),
        (&["23"], "Each change of state replaces the old state, which is never freed (`call_permitted` and `transition_state` in `recloser.rs`)."),
        (&["32"], "A rate of the last few calls does not depend on the rate of calls (`ring_buffer.rs`). Users can choose a longer window."),
    ];

    fn new(rules: Rules) -> Result<Self, Lacks> {
        if rules.listener.is_some() {
            return Err(Lacks("has no listeners, only `tracing` events"));
        }
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

    fn call(&self, work: Work) -> BoxFuture<()> {
        let call = self.0.call_with(Problem::is_failure, work);
        Box::pin(async { drop(call.await) })
    }

    fn call_refusing_group(&self) -> BoxFuture<()> {
        let member = recloser::Recloser::custom()
            .error_rate_closed(1.0)
            .closed_len(1)
            .build();
        let member = AsyncRecloser::from(member);
        let group = async move {
            // It opens at the second failure: the window of one call must be full first.
            for _ in 0..2 {
                let opens = member.call(ready(Err(Problem::Down("down".to_owned()))));
                drop::<Result<(), _>>(opens.await);
            }
            member.call(ready(Ok(()))).await
        };
        let is_failure = |error: &Error<Problem>| match error {
            Error::Inner(problem) => problem.is_failure(),
            Error::Rejected => false,
        };
        let call = self.0.call_with(is_failure, group);
        Box::pin(async { drop(call.await) })
    }

    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Err(Lacks("publishes no gauges, only `tracing` events"))
    }
}
