//! Middleware that puts a breaker around a tower service.
//!
//! `service` asks `reentrancy::admit` for a permit, `future` polls the call, and `classify` records its outcome on the permit.
//! `reentrancy` admits the call of a closed breaker itself, and finds out whether a layer of the same provider runs around this
//! one, on this thread. `keyed` does the same for one client of many providers, `call` for what is no tower service.

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
