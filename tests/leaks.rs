//! Memory use does not grow, however often breakers trip and however many providers come and go.
//!
//! In a binary of its own, because all breakers of a process share their hot slots.

mod rig;

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, PoisonError},
};

use allocation_counter::measure;
use rig::{MOMENT, secs};
use tokio::{runtime::Builder, time::sleep};
use tokio_test::{assert_pending, assert_ready_err, task};
use tower::{Layer, Service, service_fn};
use tower_health::{
    Backoff, BoxError, FallbackChain, HealthCache, HealthLayer, HealthProbe, Override, Permit,
    Policy, Provider, Trials, Trip,
};

/// With a subscriber that never reads.
#[test]
fn hundred_thousand_flaps() {
    let cache = HealthCache::new(flappy());
    let provider = cache.provider("a");
    let _deaf = cache.subscribe();
    takes_nothing(100_000, |_| {
        provider.admit().unwrap().failure("down".to_owned());
        trial(&provider).success();
    });
}

#[test]
fn providers_that_come_and_go() {
    let cache = HealthCache::new(flappy());
    takes_nothing(100_000, |number| {
        let provider = cache.provider(id(number));
        provider.mark_unhealthy("down".to_owned());
        cache.remove(provider.id());
    });
}

/// The first crowd creates the hot slots and success counters that all later ones reuse.
#[test]
fn crowds_that_come_and_go() {
    let trip = Trip::failure_rate(0.5, secs(30));
    takes_nothing(1_000, |_| {
        let cache = HealthCache::new(Policy::new().trip(trip.clone()));
        for number in 0..30 {
            let provider = cache.provider(id(number));
            for _ in 0..2 {
                provider.admit().unwrap().success();
            }
        }
    });
}

/// A gateway builds its chains anew at each reload.
#[cfg(feature = "status")]
#[test]
fn named_chains_that_come_and_go() {
    let cache = HealthCache::default();
    let [a, b] = ["a", "b"].map(|id| cache.provider(id));
    let ask = service_fn(|(): ()| ready(Ok::<_, BoxError>(())));
    takes_nothing(10_000, |_| {
        let chain = FallbackChain::new().named("chat");
        let mut chain = chain.guard(a.clone(), ask).guard(b.clone(), ask);
        drop(task::spawn(chain.call(())).poll());
    });
}

/// Every second provider is unhealthy.
#[test]
fn keyed_providers_beyond_their_bound() {
    let cache = HealthCache::default();
    let layer = HealthLayer::keyed(&cache, |key: &String| key).max_providers(100);
    let answers = service_fn(|key: String| {
        let is_well = key.ends_with(['0', '2', '4', '6', '8']);
        ready(if is_well {
            Ok(())
        } else {
            Err(BoxError::from("down"))
        })
    });
    let mut service = layer.layer(answers);
    // A multiple of the handles that the service keeps.
    takes_nothing(256 * 400, |number| {
        drop(task::spawn(service.call(id(number))).poll());
    });
    assert_eq!(cache.snapshot().providers.len(), 100);
}

#[test]
fn trials_that_panic() {
    let provider = HealthCache::new(flappy()).provider("a");
    provider.mark_unhealthy("down");
    takes_nothing(100_000, |_| {
        let permit = trial(&provider);
        let call = AssertUnwindSafe(move || {
            let _permit = permit;
            strike()
        });
        assert!(catch_unwind(call).is_err());
    });
}

/// Calls that `release_on_open` watches: answered, left by their callers, and released.
#[test]
fn calls_that_wait() {
    let provider = HealthCache::new(flappy().release_on_open(true)).provider("a");
    takes_nothing(100_000, |number| {
        provider.mark_healthy();
        let mut permit = provider.admit().unwrap();
        let mut call = task::spawn(permit.run(pending::<()>()));
        assert_pending!(call.poll());
        match number % 3 {
            0 => drop(call),
            1 => {
                drop(call);
                permit.success();
            }
            _ => {
                provider.mark_unhealthy("down");
                assert_ready_err!(call.poll());
            }
        }
    });
}

#[test]
fn rounds_of_a_probe() {
    let cache = HealthCache::new(flappy());
    let probe = HealthProbe::new(&cache)
        .check("a", || ready(Err::<(), _>("down".to_owned())))
        .check("b", async || strike());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    takes_nothing(10_000, |_| runtime.block_on(probe.round()));
}

#[cfg(feature = "fleet")]
#[test]
fn hour_of_flapping_in_a_fleet() {
    use tower_health::fleet::{Fleet, MemoryStore, Share};

    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let store = MemoryStore::default();
    let [one, other] = [(); 2].map(|()| HealthCache::default());
    let _fleets = [&one, &other].map(|cache| {
        let fleet = Fleet::new(cache, store.clone()).share(Share::Quorum);
        fleet.share_health(true).share_overrides(true).spawn()
    });
    let providers = [&one, &other].map(|cache| cache.provider("a"));
    let hour = || {
        runtime.block_on(async {
            for _ in 0..60 {
                for provider in &providers {
                    provider.mark_unhealthy("down".to_owned());
                    provider.mark_unhealthy("down".to_owned());
                }
                providers[0].force(Override::Open, secs(10), "maintenance");
                sleep(secs(30)).await;
                providers[0].mark_healthy();
                sleep(secs(30)).await;
            }
            // Until everything in the store has ended.
            sleep(secs(15 * 60)).await;
        });
    };
    hour();
    let taken = measure(hour);
    println!("{taken:?}");
    assert!(taken.bytes_current.abs() <= 512, "{taken:?}");
}

/// Panics without printing a message.
fn strike() -> Result<(), BoxError> {
    resume_unwind(Box::new("a fault"))
}

/// A policy that opens for a nanosecond after each failure.
fn flappy() -> Policy {
    Policy::new()
        .trip(Trip::consecutive(1))
        .backoff(Backoff::constant(MOMENT))
        .trials(Trials::new(1).pause(MOMENT))
}

/// Returns the next trial. The clock is real, so a window of one nanosecond has soon ended. No call is refused meanwhile: a thread
/// keeps the errors of its last refusals.
fn trial(provider: &Provider) -> Permit {
    while !provider.is_healthy() {}
    let permit = provider.admit().expect("the window has ended");
    assert!(permit.is_trial());
    permit
}

/// An id of fixed length, so that each takes the same memory.
fn id(number: usize) -> String {
    format!("{number:06}")
}

/// Runs `step` a thousand times, then `times` more, and asserts that the latter keep no memory.
#[track_caller]
fn takes_nothing(times: usize, mut step: impl FnMut(usize)) {
    const FIRST: usize = 1_000;
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);

    (0..FIRST).for_each(&mut step);
    let taken = measure(|| (FIRST..FIRST + times).for_each(&mut step));
    println!("{taken:?}");
    assert_eq!(taken.bytes_current, 0);
}
