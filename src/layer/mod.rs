//! Middleware that puts a breaker around a tower service.

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
