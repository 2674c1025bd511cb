//! Middleware that puts a breaker around a tower service.
//!
//! `service` asks `reentrancy::admit` for a permit, `future` polls the call, and `classify` records its outcome on the permit.
//! `reentrancy` admits a call without the lock if the breaker is closed. It also detects an outer layer of the same provider on
//! this thread. `keyed` guards a client that calls many providers, and `call` a future that is not from a tower service.

mod call;
mod classify;
mod future;
mod health_layer;
mod keyed;
#[cfg(feature = "load")]
mod load;
pub(crate) mod reentrancy;
mod service;

#[cfg(feature = "load")]
pub use self::load::HealthMetric;
pub use self::{
    classify::{Classify, ClassifyWith, ErrorsAsFailures},
    future::ResponseFuture,
    health_layer::HealthLayer,
    keyed::{Key, KeyedHealth, KeyedHealthLayer},
    service::Health,
};
