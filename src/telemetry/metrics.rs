use std::{
    panic::RefUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use metrics::{Counter, Gauge, SharedString, Unit, counter, gauge, histogram};
use std::time::Duration;

use tokio::time::Instant;

use crate::{
    outcome::{Judged, OutcomeLabel, Reason},
    util::panics::catch,
    view::{Cause, State, Transition},
};

/// Whose series are those of all providers that keyed layers have made: their names come from requests, and there is
/// no end of them.
const KEYED: &str = "keyed";

/// The handles of one provider's series.
#[derive(Clone)]
pub(crate) struct Meters(Arc<Handles>);

struct Handles {
    provider: SharedString,
    calls: [Counter; OutcomeLabel::ALL.len()],
    trials: [Counter; OutcomeLabel::ALL.len()],
    refused: Counter,
    late_results: Counter,
    open_seconds: Counter,
    states: [Gauge; State::ALL.len()],
}

impl Meters {
    pub(crate) fn of(provider: &Arc<str>) -> Self {
        Self::labelled(Arc::clone(provider).into())
    }

    pub(crate) fn of_keyed() -> Self {
        Self::labelled(SharedString::const_str(KEYED))
    }

    fn labelled(provider: SharedString) -> Self {
        let mut handles = Handles::noop();
        catch(|| handles = Handles::registered(provider));
        Self(Arc::new(handles))
    }
}

impl Handles {
    fn registered(provider: SharedString) -> Self {
        describe();
        let call = |outcome: &'static str| counter!("tower_health_calls_total", "provider" => provider.clone(), "outcome" => outcome);
        let trial = |outcome: &'static str| counter!("tower_health_trials_total", "provider" => provider.clone(), "outcome" => outcome);
        let state = |state: &'static str| gauge!("tower_health_state", "provider" => provider.clone(), "state" => state);
        // Nobody keeps these: it is for the exporter to show them from 0 on, or a rate would miss the first of each.
        for to in State::ALL {
            for cause in Cause::ALL {
                let _ = transitions(&provider, to, cause.as_str());
            }
        }
        Self {
            calls: OutcomeLabel::ALL.map(OutcomeLabel::as_str).map(call),
            trials: OutcomeLabel::ALL.map(OutcomeLabel::as_str).map(trial),
            refused: call("refused"),
            late_results: counter!("tower_health_late_results_total", "provider" => provider.clone()),
            open_seconds: counter!("tower_health_open_seconds_total", "provider" => provider.clone()),
            states: State::ALL.map(State::as_str).map(state),
            provider,
        }
    }

    /// Where the recorder would not give any.
    fn noop() -> Self {
        Self {
            provider: SharedString::const_str(""),
            calls: OutcomeLabel::ALL.map(|_| Counter::noop()),
            trials: OutcomeLabel::ALL.map(|_| Counter::noop()),
            refused: Counter::noop(),
            late_results: Counter::noop(),
            open_seconds: Counter::noop(),
            states: State::ALL.map(|_| Gauge::noop()),
        }
    }
}

fn transitions(provider: &SharedString, to: State, cause: &'static str) -> Counter {
    counter!("tower_health_transitions_total", "provider" => provider.clone(), "to" => to.as_str(), "cause" => cause)
}

/// The meters of whichever breaker uses a slot.
#[derive(Default)]
pub(crate) struct SlotMeters(ArcSwapOption<Metered>);

/// A permit refers to it, and is unwind safe without this feature too. Nothing is half done in it: a counter that
/// panics has counted or not.
impl RefUnwindSafe for SlotMeters {}

struct Metered {
    meters: Meters,
    /// The state that the gauges show; `None`: no longer any.
    shown: Mutex<Option<State>>,
}

impl SlotMeters {
    /// From now on these count what happens to a breaker, in place of others if there are any.
    pub(crate) fn start(&self, meters: &Meters, state: impl Fn() -> State) {
        let metered = Metered::new(meters, state());
        if let Some(others) = self.0.swap(Some(Arc::clone(&metered))) {
            others.show(None);
        }
        metered.catch_up(state);
    }

    /// From now on these count, unless others do.
    pub(crate) fn start_if_none(&self, meters: &Meters, state: impl Fn() -> State) {
        let metered = Metered::new(meters, state());
        let others = self
            .0
            .compare_and_swap(&None::<Arc<Metered>>, Some(Arc::clone(&metered)));
        if others.is_some() {
            metered.show(None);
        }
        metered.catch_up(state);
    }

    /// The provider is not known any more, and in no state.
    pub(crate) fn end(&self) {
        if let Some(metered) = self.0.swap(None) {
            metered.show(None);
        }
    }

    pub(crate) fn success(&self) {
        self.count(|meters| meters.calls[OutcomeLabel::Success as usize].increment(1));
    }

    /// A call that was no trial ended without a verdict.
    pub(crate) fn neutral(&self) {
        self.count(|meters| meters.calls[OutcomeLabel::Neutral as usize].increment(1));
    }

    pub(crate) fn judged(&self, judged: Judged) {
        self.count(|meters| {
            meters.calls[judged.outcome as usize].increment(1);
            if judged.is_trial {
                meters.trials[judged.outcome as usize].increment(1);
            }
            if judged.is_late {
                meters.late_results.increment(1);
            }
        });
    }

    pub(crate) fn refused(&self) {
        self.count(|meters| meters.refused.increment(1));
    }

    pub(crate) fn open_for(&self, seconds: u64) {
        if seconds > 0 {
            self.count(|meters| meters.open_seconds.increment(seconds));
        }
    }

    pub(crate) fn changed(&self, transition: &Transition) {
        let to = transition.to;
        let cause = transition.cause.map_or("", Cause::as_str);
        self.show(Some(to));
        self.count(|meters| {
            transitions(&meters.provider, to, cause).increment(1);
        });
    }

    pub(crate) fn checked(&self, result: &'static str, took: Duration) {
        self.count(|meters| {
            let provider = &meters.provider;
            counter!("tower_health_probes_total", "provider" => provider.clone(), "result" => result)
                .increment(1);
            histogram!("tower_health_probe_duration_seconds", "provider" => provider.clone())
                .record(took);
        });
    }

    fn show(&self, state: Option<State>) {
        if let Some(metered) = &*self.0.load() {
            metered.show(state);
        }
    }

    fn count(&self, count: impl FnOnce(&Handles)) {
        if let Some(metered) = &*self.0.load() {
            catch(|| count(&metered.meters.0));
        }
    }
}

impl Metered {
    fn new(meters: &Meters, state: State) -> Arc<Self> {
        catch(|| meters.0.states[state as usize].increment(1));
        Arc::new(Self {
            meters: meters.clone(),
            shown: Mutex::new(Some(state)),
        })
    }

    /// The state may have changed before anybody counted here.
    fn catch_up(&self, state: impl Fn() -> State) {
        let mut shown = None;
        while shown != Some(state()) {
            shown = Some(state());
            self.show(shown);
        }
    }

    /// Moves the gauges on. Nothing brings back what has ended.
    fn show(&self, state: Option<State>) {
        let Some(before) = self.step(state) else {
            return;
        };
        // Without the lock, for a recorder may come back here: steps can be taken in any order.
        catch(|| {
            let states = &self.meters.0.states;
            states[before as usize].decrement(1);
            if let Some(state) = state {
                states[state as usize].increment(1);
            }
        });
    }

    /// The state that was shown before, if any was.
    fn step(&self, state: Option<State>) -> Option<State> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (*shown)?;
        *shown = state;
        Some(before)
    }
}

/// How long a breaker was open, of which whole seconds are counted.
#[derive(Default)]
pub(crate) struct OpenTime {
    until: Option<Instant>,
    uncounted: Duration,
}

impl OpenTime {
    /// Until `now` the breaker was in this state.
    pub(crate) fn pass(&mut self, state: State, now: Instant) {
        let since = self.until.replace(now).unwrap_or(now);
        if state == State::Open {
            self.uncounted += now.saturating_duration_since(since);
        }
    }

    pub(crate) fn take_seconds(&mut self) -> u64 {
        let seconds = self.uncounted.as_secs();
        self.uncounted -= Duration::from_secs(seconds);
        seconds
    }
}

/// What one entry of a chain has left to others. In an outage every call counts here, so handles are kept.
#[derive(Default)]
pub(crate) struct Fallbacks(Mutex<Vec<Fallback>>);

struct Fallback {
    to: Arc<str>,
    reason: String,
    counter: Counter,
}

/// How many handles an entry keeps; a rule with more reasons than that has them looked up each time.
const KEPT: usize = 64;

impl Fallbacks {
    pub(crate) fn count(&self, from: &Arc<str>, to: &Arc<str>, reason: &Reason) {
        catch(|| self.counter(from, to, reason.label()).increment(1));
    }

    fn counter(&self, from: &Arc<str>, to: &Arc<str>, reason: &str) -> Counter {
        let is_it = |one: &&Fallback| one.to == *to && one.reason == reason;
        if let Some(known) = self.kept().iter().find(is_it) {
            return known.counter.clone();
        }
        let (from, to, reason) = (Arc::clone(from), Arc::clone(to), reason.to_owned());
        let counter = counter!("tower_health_fallbacks_total", "from" => from, "to" => Arc::clone(&to), "reason" => reason.clone());
        let mut kept = self.kept();
        if kept.len() < KEPT {
            let counter = counter.clone();
            kept.push(Fallback {
                to,
                reason,
                counter,
            });
        }
        counter
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Fallback>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By hand: a copy of an entry finds its own.
impl Clone for Fallbacks {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A chain is made: its ends are shown from 0 on.
pub(crate) fn chain() {
    catch(|| {
        describe();
        let _ = ends();
    });
}

/// A chain has come to its end without an answer.
pub(crate) fn exhausted() {
    catch(|| ends().increment(1));
}

fn ends() -> Counter {
    counter!("tower_health_exhausted_total")
}

/// As the exporter shows them; the whole table is in `docs/metrics.md`.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        "tower_health_calls_total",
        "Calls, by what they say of the provider's health."
    );
    describe_gauge!(
        "tower_health_state",
        "1 for the state that the circuit breaker is in, 0 for the others."
    );
    describe_counter!(
        "tower_health_transitions_total",
        "Changes of state, by the state entered and what opened the breaker."
    );
    describe_counter!(
        "tower_health_open_seconds_total",
        Unit::Seconds,
        "How long the circuit breaker was open."
    );
    describe_counter!(
        "tower_health_trials_total",
        "Calls that were to decide over a half-open breaker, by their outcome."
    );
    describe_counter!(
        "tower_health_late_results_total",
        "Results of calls from before the last change of state, which move nothing."
    );
    describe_counter!(
        "tower_health_probes_total",
        "Background checks, by their result."
    );
    describe_histogram!(
        "tower_health_probe_duration_seconds",
        Unit::Seconds,
        "How long background checks took."
    );
    describe_counter!(
        "tower_health_fallbacks_total",
        "Requests that a chain took from one provider to another, and why."
    );
    describe_counter!(
        "tower_health_exhausted_total",
        "Requests that no provider of a chain could serve."
    );
}
