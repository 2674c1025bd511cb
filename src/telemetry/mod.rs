//! What operators see of breakers, probes and chains: the only place that names `tracing` and `metrics`.
//!
//! Each of the two has a twin that does nothing and takes no room, for when its feature is off. Code of
//! others runs in here, recorders and subscribers: never under a breaker's lock.

#[cfg(feature = "metrics")]
mod labels;
#[cfg_attr(not(feature = "metrics"), path = "metrics_noop.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "tracing_noop.rs")]
mod tracing;

pub(crate) use self::{
    metrics::{Fallbacks, Meters, OpenTime, SlotMeters, chain, exhausted},
    tracing::{Refusals, attempted, changed},
};

/// Whether somebody may want to see transitions though nobody subscribes to them.
pub(crate) const IS_ON: bool = IS_METERED || cfg!(feature = "tracing");

/// Whether calls are counted.
pub(crate) const IS_METERED: bool = cfg!(feature = "metrics");
