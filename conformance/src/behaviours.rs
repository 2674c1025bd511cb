//! The behaviours under test, each written once for all breakers.

mod answers;
mod probes;
mod services;
mod trials;
mod trips;
mod views;

use std::time::Duration;

use crate::{breaker::Breaker, clock::Clock, rig::Judgement};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

pub(crate) struct Behaviour {
    /// The row of the table.
    pub(crate) row: &'static str,
    pub(crate) is: &'static str,
    pub(crate) judge: fn(&Clock) -> Judgement,
}

#[rustfmt::skip]
pub(crate) fn of<B: Breaker>() -> Vec<Behaviour> {
    let behaviour = |row, is, judge| Behaviour { row, is, judge };
    vec![
        behaviour("1", "a success from before the trip does not close", trials::late_success::<B>),
        behaviour("2", "a failure from before the trip neither extends nor reopens", trials::late_failure::<B>),
        behaviour("3", "a dropped trial frees its slot", trials::dropped_trial::<B>),
        behaviour("4", "a trial that hangs does not block the next one for ever", trials::hanging_trial::<B>),
        behaviour("5", "trials that are dropped at once are not replaced at once", trials::hasty_callers::<B>),
        behaviour("6", "half-open admits no more trials than configured", trials::stampede::<B>),
        behaviour("7", "two trials that end with a 400 decide nothing, nor do cancelled trials", trials::neutral_trials::<B>),
        behaviour("8a", "a million successes do not delay a trip: failures in a row", trips::million_successes_then_in_a_row::<B>),
        behaviour("8b", "… failure rate of the last 30 s", trips::million_successes_then_in_time::<B>),
        behaviour("8c", "… failure rate of the last 10 calls", trips::million_successes_then_of_calls::<B>),
        behaviour("9", "a success that leaves the window does not block half-open for ever", trials::aged_success::<B>),
        behaviour("10", "a refusal never sleeps, even under contention", services::sleepless_refusals::<B>),
        behaviour("11", "a listener may read the breaker, sees its new state, and may panic", views::listeners::<B>),
        behaviour("12", "a reset while closed ends the streak", trips::reset_while_closed::<B>),
        behaviour("13", "a breaker that is forced open stays open until the given time", trips::forced_open::<B>),
        behaviour("14", "of the state gauges, exactly one is 1", views::gauges::<B>),
        behaviour("15", "a provider layered twice has one breaker", services::layered_twice::<B>),
        behaviour("16", "meaningless rules are rejected", trips::nonsense::<B>),
        behaviour("17", "a wall clock that is set back does not extend an open window", trips::wall_clock::<B>),
        behaviour("18", "failures in a row trip, but not if they are a day apart", trips::streak_ages::<B>),
        behaviour("19", "the reported state agrees with the next call", views::views_agree::<B>),
        behaviour("20", "`poll_ready` is ready in every state; `Buffer` survives", services::readiness::<B>),
        behaviour("21", "a provider without a name is guarded; an unknown one is healthy, and costs nothing", services::names::<B>),
        behaviour("22", "no overflow after 50 days or 140 years without a call", trips::idle_gaps::<B>),
        behaviour("23", "memory grows neither with flapping nor with long error texts", services::memory::<B>),
        behaviour("24", "a check that panics has failed", probes::panicking_check::<B>),
        behaviour("25", "a stopped probe changes nothing", probes::stopped_probe::<B>),
        behaviour("26", "an interval of 0 is rejected; a check that hangs delays no other", probes::stalled_checks::<B>),
        behaviour("27", "a passing check does not keep closing what failing calls opened", probes::shallow_check::<B>),
        behaviour("28", "a failing check does not open a breaker whose calls succeed", probes::broken_check::<B>),
        behaviour("29", "a check that always fails does not keep a provider out for ever", probes::endless_hold::<B>),
        behaviour("30", "a provider is checked when its open window ends, not at the next interval", probes::check_at_the_end::<B>),
        behaviour("31", "replicas do not all check at the same instant, nor all providers at once, nor healthy ones", probes::herd::<B>),
        behaviour("32", "two failures in a row trip; with 5 % random errors at 100 calls/s, few calls are refused", answers::random_errors::<B>),
        behaviour("33", "a half-open provider that answers only 404 recovers", answers::only_404s::<B>),
        behaviour("34", "a group whose own breakers refuse neither opens nor closes its outer breaker", answers::refusing_group::<B>),
        behaviour("35", "a request that the provider did not process (graceful GOAWAY) neither opens nor closes", answers::unprocessed::<B>),
        behaviour("36", "half-open, a stream whose reader hangs up after the last event closes the breaker", answers::last_event::<B>),
        behaviour("37", "a body that ends before its announced length is a failure", answers::short_body::<B>),
    ]
}
