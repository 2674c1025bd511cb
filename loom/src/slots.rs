//! Permits that outlive their provider, whose slot another provider uses.

use std::{collections::HashSet, time::Duration};

use tower_health::{HealthCache, Permit, Policy, Provider, Trip};

use crate::{
    explorer::{ends, ends_within},
    scene::trips_at,
};

/// Drops the provider's last handle, and its breaker unless a call is recording its outcome.
fn gone(provider: Provider, call: Permit) {
    // Takes the lock of its slot, so that loom orders the drop.
    assert_eq!(call.provider().as_deref(), Some(provider.id()));
    drop((call, provider));
}

/// Ends a call of a provider while another thread removes it and creates another. Returns whether the call found its own provider,
/// and the failures that the other one has recorded.
fn outlived(policy: Policy, end: fn(Permit)) -> HashSet<(bool, u32)> {
    ends(move || {
        let cache = HealthCache::new(policy.clone());
        let former = cache.provider("former");
        former.admit().expect("closed").success();
        let [permit, other] = [former.admit(), former.admit()].map(|call| call.expect("closed"));
        cache.remove("former");
        let call = loom::thread::spawn(move || {
            let own = permit.provider();
            assert!(own.as_deref().is_none_or(|id| id == "former"));
            end(permit);
            own.is_some()
        });
        gone(former, other);
        let latter = cache.provider("latter");
        let was_known = call.join().expect("no panic");
        assert!(latter.is_healthy());
        (was_known, latter.health().consecutive_failures)
    })
}

#[test]
fn failure_never_counts_for_the_next_provider_of_a_slot() {
    let results = outlived(trips_at(1), |permit| permit.failure("down"));
    assert_eq!(results, HashSet::from([(true, 0), (false, 0)]));
}

#[test]
fn dropped_call_never_counts_for_the_next_provider_of_a_slot() {
    let trip = Trip::consecutive(1).cancelled_after(Duration::ZERO);
    let results = outlived(Policy::new().trip(trip), drop);
    assert_eq!(results, HashSet::from([(true, 0), (false, 0)]));
}

#[test]
fn throttle_never_counts_for_the_next_provider_of_a_slot() {
    let results = outlived(trips_at(1), |permit| permit.throttled(None, "slow down"));
    assert_eq!(results, HashSet::from([(true, 0), (false, 0)]));
}

#[test]
fn success_never_counts_for_the_next_provider_of_a_slot() {
    let results = ends_within(3, || {
        let trip = Trip::failure_rate(1.0, Duration::from_secs(10)).min_calls(1);
        let cache = HealthCache::new(Policy::new().trip(trip));
        let former = cache.provider("former");
        former.admit().expect("closed").success();
        let [permit, other] = [former.admit(), former.admit()].map(|call| call.expect("closed"));
        cache.remove("former");
        let call = loom::thread::spawn(move || permit.success());
        gone(former, other);
        let latter = cache.provider("latter");
        // All of its calls have failed, unless it counted the former provider's success.
        latter.mark_unhealthy("down");
        call.join().expect("no panic");
        latter.is_healthy()
    });
    assert_eq!(results, HashSet::from([false]));
}
