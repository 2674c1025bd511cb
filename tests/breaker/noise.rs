//! Noise is no outage: how the default policy reacts to random errors, and to outages among them.

use std::env;

use fastrand::Rng;
use tokio::time::advance;
use tower_health::{Policy, State, Trip};

use crate::rig::{Rig, secs};

const SECONDS: u64 = 10 * 60;

/// Reads the number of seeds from `NOISE_SEEDS`; 2 by default.
fn seeds() -> u64 {
    let seeds = env::var("NOISE_SEEDS").ok();
    seeds.map_or(2, |seeds| seeds.parse().expect("a number"))
}

/// Calls at a steady rate, a share of which fails at random.
struct Traffic {
    rig: Rig,
    rng: Rng,
    per_second: u64,
    failing: f64,
}

impl Traffic {
    fn new(policy: Policy, seed: u64, per_second: u64, failing: f64) -> Self {
        Self {
            rig: Rig::new(policy),
            rng: Rng::with_seed(seed),
            per_second,
            failing,
        }
    }

    /// Returns how many callers got an error, from the breaker or from the provider.
    async fn errors_in(&mut self, seconds: u64) -> u64 {
        // More steps would take the test longer and change nothing.
        let steps = self.per_second.min(20);
        let step = secs(1) / u32::try_from(steps).expect("20 at most");
        let mut errors = 0;
        for _ in 0..seconds * steps {
            for _ in 0..self.per_second / steps {
                errors += u64::from(!self.call());
            }
            advance(step).await;
        }
        errors
    }

    fn call(&mut self) -> bool {
        let fails = self.rng.f64() < self.failing;
        match self.rig.provider.admit() {
            Ok(permit) if fails => {
                permit.failure("by chance");
                false
            }
            Ok(permit) => {
                permit.success();
                true
            }
            Err(_) => false,
        }
    }

    /// Returns how many calls in a row must fail before the breaker opens.
    fn failures_to_open(&self) -> u32 {
        for failures in 0.. {
            match self.rig.provider.admit() {
                Ok(permit) => permit.failure("down"),
                Err(_) => return failures,
            }
        }
        unreachable!("there is always another failure")
    }
}

#[tokio::test(start_paused = true)]
async fn random_errors_cost_few_more_than_without_a_breaker() {
    let seeds = seeds();
    for per_second in [1, 10, 100, 1_000] {
        for (failing, most) in [(0.005, 2), (0.01, 2), (0.05, 2), (0.2, 3)] {
            let (mut with, mut without) = (0, 0);
            for seed in 0..seeds {
                let mut guarded = Traffic::new(Policy::new(), seed, per_second, failing);
                let never = Policy::new().observe_only(true);
                let mut bare = Traffic::new(never, seed, per_second, failing);
                with += guarded.errors_in(SECONDS).await;
                without += bare.errors_in(SECONDS).await;
            }
            let (with, without) = (with / seeds, without / seeds);
            println!(
                "{per_second} calls/s, {failing} failing: {with} errors, {without} without a breaker"
            );
            assert!(with <= most * without + 120);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn outage_of_a_quiet_or_healthy_provider_opens_at_the_second_failure() {
    let quiet = Traffic::new(Policy::new(), 0, 1, 0.0);
    assert_eq!(quiet.failures_to_open(), 2);

    let mut healthy = Traffic::new(Policy::new(), 0, 100, 0.0);
    healthy.errors_in(60).await;
    assert_eq!(healthy.failures_to_open(), 2);
}

#[tokio::test(start_paused = true)]
async fn outage_amid_noise_opens_at_the_sixteenth_failure_at_the_latest() {
    for seed in 0..5 {
        let mut noisy = Traffic::new(Policy::new(), seed, 100, 0.05);
        noisy.errors_in(SECONDS).await;
        let failures = noisy.failures_to_open();
        assert!((3..=16).contains(&failures), "{failures}");
    }
}

/// A failure, followed by a success.
fn blip(rig: &Rig) {
    rig.fail();
    rig.succeed();
}

fn opens_at(rig: &Rig) -> u32 {
    let mut failures = 0;
    while rig.provider.is_healthy() {
        rig.fail();
        failures += 1;
    }
    failures
}

#[tokio::test(start_paused = true)]
async fn two_blips_raise_the_count_by_one_and_each_doubling_by_one_more() {
    for (blips, failures) in [(0, 2), (1, 2), (2, 3), (3, 3), (4, 4), (8, 5), (4_000, 13)] {
        let rig = Rig::new(Policy::new());
        for _ in 0..blips {
            blip(&rig);
        }
        assert_eq!(opens_at(&rig), failures, "after {blips} blips");
    }
}

#[tokio::test(start_paused = true)]
async fn blips_raise_the_count_to_sixteen_at_most() {
    for (count, failures) in [(2, 16), (10, 16), (16, 16), (20, 20)] {
        let rig = Rig::new(Policy::new().trip(Trip::consecutive(count)));
        for _ in 0..100_000 {
            blip(&rig);
        }
        assert_eq!(opens_at(&rig), failures, "where the count is {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_the_blips_count_after_ten_minutes() {
    for (age, failures) in [(599, 3), (600, 3), (601, 2)] {
        let rig = Rig::new(Policy::new());
        for _ in 0..4 {
            blip(&rig);
        }
        advance(secs(age)).await;
        assert_eq!(opens_at(&rig), failures, "after {age} s");
    }
}

#[tokio::test(start_paused = true)]
async fn trip_keeps_the_blips_and_mark_healthy_clears_them() {
    let rig = Rig::new(Policy::new());
    for _ in 0..64 {
        blip(&rig);
    }
    assert_eq!(opens_at(&rig), 8);
    rig.await_half_open().await;
    rig.succeed();
    assert_eq!(rig.state(), State::Closed);
    assert_eq!(opens_at(&rig), 7, "a minute older, and none more");

    rig.mark_healthy();
    assert_eq!(opens_at(&rig), 2);
}

#[tokio::test(start_paused = true)]
async fn streak_that_is_too_old_to_count_is_no_blip() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(2).within(secs(1))));
    for _ in 0..8 {
        rig.fail();
        advance(secs(2)).await;
        rig.succeed();
    }
    assert_eq!(opens_at(&rig), 2);
}

#[tokio::test(start_paused = true)]
async fn exact_count_does_not_rise() {
    let rig = Rig::new(Policy::new().trip(Trip::consecutive(2).exact()));
    for _ in 0..1_000 {
        blip(&rig);
    }
    assert_eq!(opens_at(&rig), 2);
}
