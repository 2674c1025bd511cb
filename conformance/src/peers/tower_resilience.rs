use std::{sync::Arc, time::Duration};

use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, FnClassifier, SlidingWindowType,
};
use tower_resilience_healthcheck::{HealthCheckWrapper, HealthStatus};

use super::gauges::Gauges;
use crate::{
    breaker::{BoxFuture, Breaker, Cause, Lacks, Listener, Probing, Rules, Service, State, Trip},
    rig::at_once,
    work::{Answer, Problem, Work},
};

type Classifier = FnClassifier<fn(&Answer) -> bool>;

/// The crate's circuit breaker, and the health check that triggers it.
#[derive(Clone)]
pub(crate) struct TowerResilience {
    layer: CircuitBreakerLayer<Classifier>,
    handle: CircuitBreakerHandle<Classifier>,
    gauges: Gauges,
    trip: Trip,
}

impl Breaker for TowerResilience {
    const NAME: &'static str = "tower-resilience 0.14.0";

    #[rustfmt::skip]
    const CAUSES: &'static [Cause] = &[
        (&["1", "2"], "`record_success` and `record_failure` apply to the state at the end of a call, whenever it began (`circuit.rs`)."),
        (&["4"], "A trial keeps its permit as long as it runs (`circuit.rs`). A timeout inside the breaker ends it."),
        (&["5"], "A dropped trial frees its permit at once (`circuit.rs`)."),
        (&["7", "34", "35"], "What the classifier does not count as a failure is a success (`lib.rs`)."),
        (&["8c"], "No call leaves that window: `evaluate_window` divides by all calls since the last change of state (`circuit.rs`). This is the default rule; those of rows 8a and 8b do forget."),
        (&["9"], "Successful trials leave the time window, but their permits stay taken (`record_success` in `circuit.rs`). Other windows do not forget by time."),
        (&["10"], "If another call holds the lock, `poll_circuit_gate` sleeps for a millisecond (`lib.rs`)."),
        (&["11"], "`transition_to` calls listeners before it changes the state (`circuit.rs`)."),
        (&["12"], "`transition_to` does nothing if the state is the same (`circuit.rs`)."),
        (&["13"], "`force_open` starts an ordinary open window, which ends after `wait_duration_in_open` (`circuit.rs`). With `manual_mode` it stays open, but then failures never trip it."),
        (&["14"], "`transition_to` sets the gauge of the new state to 1, and never sets one to 0 (`circuit.rs`). A listener gets both states, and can set them."),
        (&["16"], "`into_config` validates neither `permitted_calls_in_half_open` nor `sliding_window_duration` (`config.rs`). It does reject a rate of NaN and 0 failures in a row."),
        (&["18"], "`consecutive_failures` has no clock (`circuit.rs`). A rate over time does forget, but does not count failures in a row."),
        (&["19"], "The state is `Open` until a call is admitted (`try_acquire` in `circuit.rs`), and `is_open`, `health_status` and `http_status` report it."),
        (&["24"], "The result of a check's task is ignored (`wrapper.rs`)."),
        (&["25"], "`stop` ends the loop, but not the tasks of its checks (`wrapper.rs`)."),
        (&["26"], "A round ends with its last check. With an interval of 0, the loop panics unseen (`wrapper.rs`)."),
        (&["28"], "The trigger forces the breaker open, whatever the results of calls (`health_integration.rs`)."),
        (&["30"], "The loop knows only its interval (`wrapper.rs`)."),
        (&["32"], "`consecutive_failures` does not depend on the rate of calls (`circuit.rs`). Its default, a rate, is that of row 8c; `noise.md` shows it."),
        (&["31"], "There is no jitter, no limit and no choice of providers (`wrapper.rs`). `with_initial_delay` can spread replicas by hand."),
    ];

    fn new(rules: Rules) -> Result<Self, Lacks> {
        Self::with_listener(rules, Arc::new(|_| {}))
    }

    fn with_listener(rules: Rules, listener: Listener) -> Result<Self, Lacks> {
        let gauges = Gauges::new();
        let is_failed: fn(&Answer) -> bool =
            |answer| answer.as_ref().is_err_and(Problem::is_failure);
        let builder = CircuitBreakerLayer::builder()
            .failure_classifier(is_failed)
            .wait_duration_in_open(rules.open_for)
            .permitted_calls_in_half_open(rules.trials as usize)
            .on_state_transition(move |_, to| listener(to.into()))
            .name(gauges.name());
        let builder = match rules.trip {
            Trip::InARow(failures) => builder.consecutive_failures(failures as usize),
            Trip::RateInTime {
                share,
                window,
                at_least,
            } => builder
                .failure_rate_threshold(share.into())
                .sliding_window_type(SlidingWindowType::TimeBased)
                .sliding_window_duration(window)
                .minimum_number_of_calls(at_least as usize),
            Trip::RateOfCalls { share, calls } => builder
                .failure_rate_threshold(share.into())
                .sliding_window_size(calls as usize),
        };
        let (layer, handle) = builder.build_with_handle().expect("rules that make sense");
        Ok(Self {
            layer,
            handle,
            gauges,
            trip: rules.trip,
        })
    }

    fn call(&self, work: Work) -> impl Future + Send + 'static {
        self.layered().oneshot(work)
    }

    fn reset(&self) -> Result<(), Lacks> {
        at_once(self.handle.reset());
        Ok(())
    }

    fn force_open(&self, _ttl: Duration) -> Result<(), Lacks> {
        at_once(self.handle.force_open());
        Ok(())
    }

    fn views(&self) -> Result<Vec<bool>, Lacks> {
        Ok(vec![
            self.handle.state() != CircuitState::Open,
            !self.handle.is_open(),
            self.handle.health_status() != "unhealthy",
            self.handle.http_status() == 200,
        ])
    }

    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Ok(self.gauges.read())
    }

    fn service(&self) -> Result<Service, Lacks> {
        Ok(self.layered())
    }

    fn layered_again(&self) -> Result<Self, Lacks> {
        Ok(self.clone())
    }

    fn probe(&self, probing: Probing) -> Result<BoxFuture<()>, Lacks> {
        let Trip::InARow(failures) = self.trip else {
            return Err(Lacks("counts failed checks in a row only"));
        };
        let checks = probing.checks;
        let numbers = 0..checks.len();
        let checker = move |number: &usize| {
            let check = checks[*number]();
            async {
                if check.await {
                    HealthStatus::Healthy
                } else {
                    HealthStatus::Unhealthy
                }
            }
        };
        let wrapper = HealthCheckWrapper::builder()
            .with_checker(checker)
            .with_interval(probing.every)
            .with_timeout(probing.timeout)
            .with_failure_threshold(failures)
            .with_trigger(Arc::new(self.handle.clone()));
        let wrapper = numbers.fold(wrapper, |wrapper, number| {
            wrapper.with_context(number, format!("provider-{number}"))
        });
        let wrapper = wrapper.build();
        at_once(wrapper.start());
        Ok(Box::pin(async move { wrapper.stop().await }))
    }
}

impl TowerResilience {
    fn layered(&self) -> Service {
        let service = self.layer.layer(service_fn(|work: Work| work));
        Service::new(service.map_err(BoxError::from))
    }
}

impl From<CircuitState> for State {
    fn from(state: CircuitState) -> Self {
        match state {
            CircuitState::Closed => Self::Closed,
            CircuitState::Open => Self::Open,
            CircuitState::HalfOpen => Self::HalfOpen,
        }
    }
}
