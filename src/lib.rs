//! Tower middleware that keeps the health of each provider.

mod breaker;
mod cache;
mod cell;
mod classify;
pub mod error;
mod events;
mod future;
mod health;
mod layer;
mod permit;
mod policy;
mod probe;
mod provider;
mod reason;
mod service;
mod state;
mod time;
mod window;

pub use self::{
    cache::HealthCache,
    classify::{Classify, ClassifyWith, ErrorsAsFailures, Outcome},
    error::BoxError,
    events::{Transition, Transitions},
    future::ResponseFuture,
    health::{ProviderHealth, Snapshot},
    layer::HealthLayer,
    permit::Permit,
    policy::{Backoff, Jitter, Policy, Throttle, Trials, Trip},
    probe::{Check, CheckResult, HealthProbe, ProbeHandle, Scope},
    provider::Provider,
    reason::Reason,
    service::Health,
    state::{Cause, Override, State},
};
