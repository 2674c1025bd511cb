mod events;

use std::{convert::Infallible, future::ready, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_health::{
    Backoff, Check, FallbackChain, HealthCache, HealthLayer, HealthProbe, Outcome, Override,
    Policy, Provider, Scope, Trials,
    http::{SseEvent, StatusClassifier, StreamVerdict},
};

use super::gauges::Gauges;
use crate::{
    breaker::{BoxFuture, Breaker, Lacks, Listener, Probing, Reading, Rules, Service, State, Trip},
    work::{Problem, Work},
};

pub(crate) struct TowerHealth {
    cache: HealthCache,
    provider: Provider,
    gauges: Gauges,
}

impl Breaker for TowerHealth {
    const NAME: &'static str = "tower-health";

    fn new(rules: Rules) -> Result<Self, Lacks> {
        let trip = match rules.trip {
            Trip::InARow(failures) => tower_health::Trip::consecutive(failures),
            Trip::RateInTime {
                share,
                window,
                at_least,
            } => tower_health::Trip::failure_rate(share.into(), window).min_calls(at_least),
            Trip::RateOfCalls { .. } => return Err(Lacks("has only rates over time")),
        };
        let policy = Policy::new()
            .trip(trip)
            .backoff(Backoff::constant(rules.open_for))
            .trials(Trials::new(rules.trials).to_close(rules.trials));
        // Created before the provider, which takes the handles of its gauges.
        let gauges = Gauges::new();
        let cache = HealthCache::new(policy);
        let provider = cache.provider(gauges.name());
        Ok(Self {
            cache,
            provider,
            gauges,
        })
    }

    fn call(&self, work: Work) -> impl Future + Send + 'static {
        self.layered().oneshot(work)
    }

    fn call_refusing_group(&self) -> impl Future + Send + 'static {
        let member = HealthCache::default().provider("member");
        member.force(Override::Open, Duration::from_secs(60), "maintenance");
        let answers = service_fn(|()| ready(Ok::<_, BoxError>(())));
        let group = FallbackChain::new().guard(member, answers);
        let layer = HealthLayer::new(self.provider.clone());
        layer.layer(group).oneshot(())
    }

    fn with_listener(rules: Rules, listener: Listener) -> Result<Self, Lacks> {
        let breaker = Self::new(rules)?;
        let transitions = breaker.cache.subscribe();
        tokio::spawn(transitions.for_each(move |transition| listener(transition.to.into())));
        Ok(breaker)
    }

    fn stream(&self, reading: Reading) -> Result<BoxFuture<()>, Lacks> {
        let judge = |event: &SseEvent<'_>| match event.data {
            "[DONE]" => StreamVerdict::Done,
            _ => StreamVerdict::Continue,
        };
        let client = service_fn(move |()| ready(Ok::<_, Infallible>(events::answer(reading))));
        let call = HealthLayer::new(self.provider.clone())
            .classify(StatusClassifier::new().judge_sse(judge))
            .layer(client)
            .oneshot(());
        Ok(Box::pin(async move {
            let Ok(response) = call.await else { return };
            let mut body = response.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if frame
                    .data_ref()
                    .is_some_and(|data| data.ends_with(b"[DONE]\n\n"))
                {
                    break;
                }
            }
        }))
    }

    fn reset(&self) -> Result<(), Lacks> {
        self.provider.mark_healthy();
        Ok(())
    }

    fn force_open(&self, ttl: Duration) -> Result<(), Lacks> {
        self.provider.force(Override::Open, ttl, "maintenance");
        Ok(())
    }

    fn views(&self) -> Result<Vec<bool>, Lacks> {
        let health = self.provider.health();
        let snapshot = self.cache.snapshot();
        let row = snapshot.get(self.provider.id()).expect("it is known");
        Ok(vec![
            self.provider.is_healthy(),
            self.cache.is_healthy(self.provider.id()),
            health.healthy,
            health.retry_in.is_none(),
            row.healthy,
            row.retry_in.is_none(),
        ])
    }

    fn gauges(&self) -> Result<Vec<bool>, Lacks> {
        Ok(self.gauges.read())
    }

    fn service(&self) -> Result<Service, Lacks> {
        Ok(self.layered())
    }

    fn layered_again(&self) -> Result<Self, Lacks> {
        self.named(self.provider.id())
    }

    fn named(&self, id: &str) -> Result<Self, Lacks> {
        Ok(Self {
            cache: self.cache.clone(),
            provider: self.cache.provider(id),
            gauges: self.gauges.clone(),
        })
    }

    fn is_healthy(&self, id: &str) -> Result<bool, Lacks> {
        Ok(self.cache.is_healthy(id))
    }

    fn known_providers(&self) -> Result<usize, Lacks> {
        Ok(self.cache.snapshot().providers.len())
    }

    fn probe(&self, probing: Probing) -> Result<BoxFuture<()>, Lacks> {
        let scope = if probing.suspects_only {
            Scope::Suspect
        } else {
            Scope::All
        };
        let mut probe = HealthProbe::new(&self.cache)
            .interval(probing.every)
            .timeout(probing.timeout)
            .concurrency(probing.at_once)
            .scope(scope);
        for (number, check) in probing.checks.into_iter().enumerate() {
            let id: Arc<str> = match number {
                0 => self.provider.id().into(),
                _ => format!("provider-{number}").into(),
            };
            probe = probe.check_with(id, Check::new(move || check()));
        }
        let probe = probe.spawn();
        Ok(Box::pin(async move { probe.stop().await }))
    }
}

impl TowerHealth {
    fn layered(&self) -> Service {
        let layer = HealthLayer::new(self.provider.clone()).classify_with(judge);
        Service::new(layer.layer(service_fn(|work: Work| work)))
    }
}

fn judge(result: Result<&(), &Problem>) -> Outcome {
    match result {
        Ok(()) => Outcome::Success,
        Err(problem) if problem.is_failure() => Outcome::failure(problem.to_string()),
        Err(Problem::BadRequest) => Outcome::Answered,
        Err(_) => Outcome::Neutral,
    }
}

impl From<tower_health::State> for State {
    fn from(state: tower_health::State) -> Self {
        match state {
            tower_health::State::Closed => Self::Closed,
            tower_health::State::Open => Self::Open,
            tower_health::State::HalfOpen => Self::HalfOpen,
        }
    }
}
