use std::{
    panic::RefUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use metrics::{Counter, Gauge, Histogram, SharedString, Unit, counter, gauge, histogram};
use tokio::time::Instant;

use crate::{
    outcome::{Judged, OutcomeLabel, Reason},
    util::panics::catch,
    view::{Cause, State, Transition},
};

/// The `provider` label that all providers of keyed layers share, because their ids come from requests and are unlimited.
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
        // Registered only so that the exporter shows them as 0. Otherwise a rate would miss the first transition of each.
        for to in State::ALL {
            for cause in Cause::ALL {
                let _ = transitions(&provider, to, cause.as_str());
            }
        }
        for outcome in OutcomeLabel::ALL {
            let _ = shadow(&provider, outcome);
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

    /// Used if the recorder panicked.
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

/// Looked up for each call, because only providers that refuse nothing count here.
fn shadow(provider: &SharedString, outcome: OutcomeLabel) -> Counter {
    counter!("tower_health_shadow_total", "provider" => provider.clone(), "outcome" => outcome.as_str())
}

/// Looked up for each call, because most policies do not [measure](crate::Policy::measure_latency).
fn duration(provider: &SharedString, outcome: OutcomeLabel) -> Histogram {
    histogram!("tower_health_call_duration_seconds", "provider" => provider.clone(), "outcome" => outcome.as_str())
}

/// The meters of the breaker that uses a slot.
#[derive(Default)]
pub(crate) struct SlotMeters(ArcSwapOption<Metered>);

/// Keeps permits unwind safe, which they are without this feature too. A panic in a recorder leaves nothing inconsistent here.
impl RefUnwindSafe for SlotMeters {}

struct Metered {
    meters: Meters,
    /// The state that the gauges show; `None` once the meters are replaced or removed.
    shown: Mutex<Option<State>>,
}

impl SlotMeters {
    /// Counts on these meters, which replace earlier ones.
    pub(crate) fn start(&self, meters: &Meters, state: impl Fn() -> State) {
        let metered = Metered::new(meters, state());
        if let Some(others) = self.0.swap(Some(Arc::clone(&metered))) {
            others.show(None);
        }
        metered.catch_up(state);
    }

    /// Counts on these meters, unless there are others.
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

    /// Stops counting, because the cache has removed the provider.
    pub(crate) fn end(&self) {
        if let Some(metered) = self.0.swap(None) {
            metered.show(None);
        }
    }

    pub(crate) fn success(&self) {
        self.count(|meters| meters.calls[OutcomeLabel::Success as usize].increment(1));
    }

    /// Counts a call without an outcome that changes nothing in the breaker.
    pub(crate) fn neutral(&self) {
        self.count(|meters| meters.calls[OutcomeLabel::Neutral as usize].increment(1));
    }

    pub(crate) fn judged(&self, judged: Judged) {
        self.count(|meters| {
            meters.calls[judged.outcome as usize].increment(1);
            if judged.is_trial {
                meters.trials[judged.outcome as usize].increment(1);
            }
            if judged.is_shadow {
                shadow(&meters.provider, judged.outcome).increment(1);
            }
            if judged.is_late {
                meters.late_results.increment(1);
            }
        });
    }

    /// Records the duration of a call.
    pub(crate) fn took(&self, outcome: OutcomeLabel, took: Duration) {
        self.count(|meters| duration(&meters.provider, outcome).record(took));
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

    /// Shows a state that changed before these meters were installed.
    fn catch_up(&self, state: impl Fn() -> State) {
        let mut shown = None;
        while shown != Some(state()) {
            shown = Some(state());
            self.show(shown);
        }
    }

    /// Moves the gauges to another state, or to none. Does nothing once they show none.
    fn show(&self, state: Option<State>) {
        let Some(before) = self.step(state) else {
            return;
        };
        // Without the lock, because a recorder may call back into this crate. The order of increments does not matter.
        catch(|| {
            let states = &self.meters.0.states;
            states[before as usize].decrement(1);
            if let Some(state) = state {
                states[state as usize].increment(1);
            }
        });
    }

    /// Sets the shown state and returns the one before, if there was one.
    fn step(&self, state: Option<State>) -> Option<State> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (*shown)?;
        *shown = state;
        Some(before)
    }
}

/// The time for which a breaker was open, counted in whole seconds.
#[derive(Default)]
pub(crate) struct OpenTime {
    until: Option<Instant>,
    uncounted: Duration,
}

impl OpenTime {
    /// Adds the time until `now`, during which the breaker was in `state`.
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

/// Counters of the requests that one entry of a chain left to others. The handles are kept, because in an outage every call
/// counts here.
#[derive(Default)]
pub(crate) struct Fallbacks(Mutex<Vec<Fallback>>);

struct Fallback {
    to: Arc<str>,
    reason: String,
    counter: Counter,
}

/// Maximum number of handles that an entry keeps; further reasons are looked up in the recorder each time.
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

/// Written by hand: a copy of an entry starts without handles.
impl Clone for Fallbacks {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Registers the counter of a new chain, so that it is shown as 0.
pub(crate) fn chain() {
    catch(|| {
        describe();
        let _ = ends();
    });
}

/// Counts a request that no provider of a chain served.
pub(crate) fn exhausted() {
    catch(|| ends().increment(1));
}

fn ends() -> Counter {
    counter!("tower_health_exhausted_total")
}

#[cfg(feature = "fleet")]
pub(super) fn fleet_connected(is_connected: bool) {
    catch(|| {
        metrics::describe_gauge!(
            "tower_health_fleet_connected",
            "1 while this replica reaches the store of its fleet, 0 while it goes on alone."
        );
        gauge!("tower_health_fleet_connected").set(f64::from(u8::from(is_connected)));
    });
}

/// Describes the metrics for the exporter. The full table is in `docs/metrics.md`.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        "tower_health_calls_total",
        "Calls, by their outcome for the provider's health."
    );
    describe_gauge!(
        "tower_health_state",
        "1 for the state that the circuit breaker is in, 0 for the others."
    );
    describe_counter!(
        "tower_health_transitions_total",
        "Changes of state, by the new state and by what opened the breaker."
    );
    describe_counter!(
        "tower_health_open_seconds_total",
        Unit::Seconds,
        "Time for which the circuit breaker was open."
    );
    describe_counter!(
        "tower_health_trials_total",
        "Trial calls of a half-open breaker, by their outcome."
    );
    describe_counter!(
        "tower_health_shadow_total",
        "Calls that were admitted although the circuit breaker would have refused them, by their outcome."
    );
    describe_histogram!(
        "tower_health_call_duration_seconds",
        Unit::Seconds,
        "Time until a call's answer began, by the call's outcome."
    );
    describe_counter!(
        "tower_health_late_results_total",
        "Results of calls from before the last change of state, which are ignored."
    );
    describe_counter!(
        "tower_health_probes_total",
        "Background checks, by their result."
    );
    describe_histogram!(
        "tower_health_probe_duration_seconds",
        Unit::Seconds,
        "Duration of background checks."
    );
    describe_counter!(
        "tower_health_fallbacks_total",
        "Requests that a chain moved from one provider to another, by reason."
    );
    describe_counter!(
        "tower_health_exhausted_total",
        "Requests that no provider of a chain served."
    );
}
