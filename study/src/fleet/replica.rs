use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tower_health::{
    HealthCache, HealthProbe, Policy, Trials,
    fleet::{Fleet, Share},
};

use super::{
    simulation::Scenario,
    store::NetworkStore,
    world::{END, PAUSE, World},
};

/// A process that makes a call every 20 s on average, or every second with [`Scenario::poison`], at random times.
pub(crate) struct Replica {
    number: usize,
    world: World,
    policy: Policy,
    fleet: Option<(Share, NetworkStore)>,
    poll_interval: Duration,
    has_checks: bool,
    pause: Duration,
}

impl Replica {
    pub(crate) fn new(
        number: usize,
        scenario: &Scenario,
        world: World,
        store: NetworkStore,
    ) -> Self {
        let trials = if scenario.slow_start {
            Trials::default().slow_start()
        } else {
            Trials::default()
        };
        Self {
            number,
            world,
            policy: Policy::new().trials(trials),
            fleet: scenario.sharing.0.map(|share| (share, store)),
            poll_interval: if scenario.is_instant {
                Duration::from_millis(50)
            } else {
                Duration::from_secs(1)
            },
            has_checks: scenario.has_checks,
            pause: if scenario.poison.is_some() {
                PAUSE / 20
            } else {
                PAUSE
            },
        }
    }

    pub(crate) async fn run(self) {
        let cache = HealthCache::new(self.policy);
        let provider = cache.provider("a");
        // Replicas start within a second of each other.
        let start = Instant::now();
        sleep(Duration::from_secs(1).mul_f64(fastrand::f64())).await;
        let fleet = self.fleet.map(|(share, store)| {
            Fleet::new(&cache, store)
                .share(share)
                .poll_interval(self.poll_interval)
                .spawn()
        });
        let (world, number) = (self.world, self.number);
        let checked = world.clone();
        let mut probe = HealthProbe::new(&cache).check("a", move || {
            let world = checked.clone();
            async move { world.check(number).await }
        });
        if let Some(fleet) = &fleet {
            probe = probe.fleet(fleet);
        }
        let _probe = self.has_checks.then(|| probe.spawn());
        let mut next = start;
        while world.now() < END {
            // Exponentially distributed, as with independent callers.
            next += self.pause.mul_f64(-(1.0 - fastrand::f64()).ln());
            sleep_until(next).await;
            let Ok(permit) = provider.admit() else {
                let now = world.now();
                world.record().refused.push((now, number));
                continue;
            };
            let (world, chance) = (world.clone(), fastrand::f64());
            tokio::spawn(async move {
                if world.call(number, permit.is_trial(), chance).await {
                    permit.success();
                } else {
                    permit.failure("timeout");
                }
            });
        }
    }
}
