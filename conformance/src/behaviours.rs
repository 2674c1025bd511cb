//! What is judged: each behaviour once, for whichever breaker.

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
    /// By which it is known.
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
        behaviour("3", "a trial that is dropped gives its slot back", trials::dropped_trial::<B>),
        behaviour("4", "a trial that hangs does not block the next for ever", trials::hanging_trial::<B>),
        behaviour("5", "trials that are dropped at once are not replaced at once", trials::hasty_callers::<B>),
        behaviour("6", "half-open admits as many trials as it is told to", trials::stampede::<B>),
        behaviour("7", "two trials that end with a 400 decide nothing, nor does any number that are cancelled", trials::neutral_trials::<B>),
        behaviour("8a", "a million successes delay no trip: by failures in a row", trips::million_successes_then_in_a_row::<B>),
        behaviour("8b", "… by the rate of failures in the last 30 s", trips::million_successes_then_in_time::<B>),
        behaviour("8c", "… by the rate of failures of the last 10 calls", trips::million_successes_then_of_calls::<B>),
        behaviour("9", "a success that ages out of the window does not wedge half-open", trials::aged_success::<B>),
        behaviour("10", "a refusal never sleeps, however busy the breaker is", services::sleepless_refusals::<B>),
        behaviour("11", "a listener may read the breaker, which is in its new state, and may panic", views::listeners::<B>),
        behaviour("12", "a reset while closed ends the streak", trips::reset_while_closed::<B>),
        behaviour("13", "a breaker that is forced open stays so until its time is over", trips::forced_open::<B>),
        behaviour("14", "of the gauges of its states one reads 1", views::gauges::<B>),
        behaviour("15", "what is layered twice has one breaker", services::layered_twice::<B>),
        behaviour("16", "rules that nobody can mean are refused", trips::nonsense::<B>),
        behaviour("17", "a wall clock that goes back prolongs no window", trips::wall_clock::<B>),
        behaviour("18", "failures in a row trip, but not when they are a day apart", trips::streak_ages::<B>),
        behaviour("19", "what it shows of itself is what a call then meets", views::views_agree::<B>),
        behaviour("20", "`poll_ready` is ready whatever the health; `Buffer` lives on", services::readiness::<B>),
        behaviour("21", "a provider without a name is guarded; one that is unknown is healthy, and costs nothing", services::names::<B>),
        behaviour("22", "nothing overflows in an idle gap of 50 days or 140 years", trips::idle_gaps::<B>),
        behaviour("23", "memory grows neither with flapping nor with the length of errors", services::memory::<B>),
        behaviour("24", "a check that panics is a failure of its provider", probes::panicking_check::<B>),
        behaviour("25", "a probe that was stopped changes nothing any more", probes::stopped_probe::<B>),
        behaviour("26", "an interval of 0 is refused; a check that hangs stalls no other", probes::stalled_checks::<B>),
        behaviour("27", "a check that passes does not close, again and again, what calls have opened", probes::shallow_check::<B>),
        behaviour("28", "a check that fails does not take out a provider whose calls succeed", probes::broken_check::<B>),
        behaviour("29", "a check that fails for ever does not keep a provider out for ever", probes::endless_hold::<B>),
        behaviour("30", "a provider is checked when its window ends, not at the next turn", probes::check_at_the_end::<B>),
        behaviour("31", "many replicas do not check at one instant, nor all providers at once, nor those that are well", probes::herd::<B>),
        behaviour("32", "two failures in a row trip; among 5 % random errors at 100 calls/s, few calls are refused", answers::random_errors::<B>),
        behaviour("33", "a half-open provider whose every answer is a 404 comes back", answers::only_404s::<B>),
        behaviour("34", "a group whose own breakers refuse neither opens nor closes the breaker around it", answers::refusing_group::<B>),
        behaviour("35", "a request that the provider did not process (graceful GOAWAY) neither opens nor closes", answers::unprocessed::<B>),
        behaviour("36", "half-open, a stream whose reader hangs up after the last event closes", answers::last_event::<B>),
        behaviour("37", "a body that ends before its announced length is a failure", answers::short_body::<B>),
    ]
}
