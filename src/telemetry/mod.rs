//! Events and metrics of breakers, probes and chains, and the logs of chains for the status page. No other module uses `tracing` or
//! `metrics`.
//!
//! `tracing`, `metrics` and `chain_log` each have a no-op twin of the same interface and no size, for when the feature is off. The
//! first two run foreign code, recorders and subscribers, so they are never called under a breaker's lock, and a panic in them is caught. A breaker's
//! meters are in its `HotSlot` ([`SlotMeters`]), where a healthy call finds them without the breaker.

#[cfg_attr(not(feature = "status"), path = "chain_log_noop.rs")]
mod chain_log;
#[cfg(feature = "fleet")]
mod fleet;
#[cfg(feature = "metrics")]
mod labels;
#[cfg_attr(not(feature = "metrics"), path = "metrics_noop.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "tracing_noop.rs")]
mod tracing;

#[cfg(feature = "status")]
pub(crate) use self::chain_log::{EntryView, LogView, PERIOD};
#[cfg(feature = "fleet")]
pub(crate) use self::fleet::{fleet_connected, fleet_disconnected, fleet_entry_ignored};
pub(crate) use self::{
    chain_log::{ChainLogs, Log},
    metrics::{Fallbacks, Meters, OpenTime, SlotMeters, chain, exhausted},
    tracing::{AttemptSpan, Refusals, attempted, changed},
};

/// Whether transitions are reported even if nobody subscribes to them.
pub(crate) const IS_ON: bool = IS_METERED || cfg!(feature = "tracing");

/// Whether calls are counted.
pub(crate) const IS_METERED: bool = cfg!(feature = "metrics");
