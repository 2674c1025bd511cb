//! HTTP and gRPC: what counts as a failure, request and response bodies, and the responses of a server.
#![cfg(feature = "http")]

mod body;
#[cfg(feature = "hyper")]
mod errors;
mod grpc;
#[cfg(feature = "llm")]
mod llm;
mod peek;
mod read_errors;
mod replay;
mod statuses;
mod unavailable;

use tower_health::{HealthCache, Policy, Throttle};

/// A cache whose throttles last exactly as long as the provider asks.
fn cache_without_jitter() -> HealthCache {
    HealthCache::new(policy_without_jitter())
}

fn policy_without_jitter() -> Policy {
    Policy::new().throttle(Throttle::default().jitter(0.0))
}
