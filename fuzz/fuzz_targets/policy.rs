//! Parses policies from any file. An accepted policy is within the limits of every setter, survives a round trip, and
//! works in a breaker. A rejected one is an error and never a panic.
//!
//! `cargo fuzz run policy`
#![no_main]

use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use tower_health::{HealthCache, Policy, State};
use tower_health_fuzz::paused;

/// The maximum distance of a deadline.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

fuzz_target!(|file: &str| -> Corpus {
    let from_json = serde_json::from_str(file).ok();
    let Some(policy) = from_json.or_else(|| toml::from_str(file).ok()) else {
        return Corpus::Reject;
    };
    comes_back(&policy);
    paused(async { can_be_lived_by(policy) });
    Corpus::Keep
});

fn comes_back(policy: &Policy) {
    let json = serde_json::to_string(policy).expect("text");
    assert_eq!(&serde_json::from_str::<Policy>(&json).expect(&json), policy);
    let toml = toml::to_string(policy).expect("text");
    assert_eq!(&toml::from_str::<Policy>(&toml).expect(&toml), policy);
}

/// A breaker with this policy opens and recovers, and a change of policy does not change an open state.
fn can_be_lived_by(policy: Policy) {
    let provider = HealthCache::new(policy.clone()).provider("search");
    assert_eq!(provider.policy(), policy);
    for _ in 0..32 {
        if let Ok(call) = provider.admit() {
            call.failure("down");
        }
    }
    let open = provider.health();
    assert!(open.retry_in.unwrap_or_default() <= FAR);

    provider.set_policy(Policy::new());
    assert_eq!(provider.health().state, open.state);
    provider.set_policy(policy);
    assert_eq!(provider.health(), open);

    provider.mark_healthy();
    assert_eq!(provider.health().state, State::Closed);
}
