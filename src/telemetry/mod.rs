//! Events and metrics of breakers, probes and chains. No other module uses `tracing` or `metrics`.
//!
//! `tracing` and `metrics` each have a no-op twin of the same interface and no size, for when the feature is off. Both run foreign
//! code, recorders and subscribers, so they are never called under a breaker's lock, and a panic in them is caught. A breaker's
//! meters are in its `HotSlot` ([`SlotMeters`]), where a healthy call finds them without the breaker.

#[cfg(feature = "fleet")]
mod fleet;
#[cfg(feature = "metrics")]
mod labels;
#[cfg_attr(not(feature = "metrics"), path = "metrics_noop.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "tracing_noop.rs")]
mod tracing;

#[cfg(feature = "fleet")]
pub(crate) use self::fleet::{fleet_connected, fleet_disconnected, fleet_entry_ignored};
pub(crate) use self::{
    metrics::{Fallbacks, Meters, OpenTime, SlotMeters, chain, exhausted},
    tracing::{AttemptSpan, Refusals, attempted, changed},
};

/// Whether transitions are reported even if nobody subscribes to them.
pub(crate) const IS_ON: bool = IS_METERED || cfg!(feature = "tracing");

/// Whether calls are counted.
pub(crate) const IS_METERED: bool = cfg!(feature = "metrics");
