//! Replicas that share the health of their providers.
//!
//! Twenty replicas of a gateway each learn by their own failures that a provider is down, each sends its own trials to one that
//! is barely back, and each checks everything. A [`Fleet`] shares that through a [`Store`] that all replicas reach, such as Redis
//! (`tower-health-redis`):
//!
//! | shared | effect on the other replicas | ends |
//! |---|---|---|
//! | an open window: its cause, its remaining time, its reason's [label](crate::Reason::label) | by [`Share`]; an open breaker takes over the later deadline | when its time is over, or when a trial closes a breaker |
//! | a throttle | opens the breakers of the same [quota scope](Fleet::quota_scope), for at most 60 s before a trial of their own | as above |
//! | the trial of a half-open provider | refuse calls until the trial has ended | by its [lease](Fleet::trial_lease) |
//! | a check of a [`HealthProbe`](crate::HealthProbe::fleet) and its result | skip their check, and apply the result | by its lease |
//! | an [override](Fleet::share_overrides), if set | the same override | when its time is over, or when any operator lifts it |
//! | a row for the [status page](Fleet::share_health), if set | shown | 10 polls after its replica has stopped |
//!
//! Counts of calls, failure rates, latencies and error texts are never shared.
//!
//! # How it works
//!
//! A task exchanges with the store once a second, and at once when a breaker opens, closes or needs a lease: one round trip for
//! all providers. Calls never wait for the store and never use it. They read the same state as without a fleet. All times in the
//! store are remaining times, so clocks need not agree.
//!
//! The first call that a half-open breaker refuses for want of the fleet's trial lease makes the task ask for it. A later call is
//! then the trial. So there is one trial in the fleet, and only where there is demand. When it succeeds, the outage is over for
//! all replicas: their breakers close, or begin their [slow start](crate::Trials::slow_start). When it fails, all take over the new
//! deadline.
//!
//! # Without the store
//!
//! When the store is slow, frozen, gone or answers nonsense, each replica goes on alone, as without a fleet. The task logs that
//! once, shows it in [`FleetHandle::view`] and in the metric `tower_health_fleet_connected`, tries again with growing pauses of up to 30 s,
//! and rejoins. Open windows that the store has lost are written again by the replicas that found them.
//!
//! # Not promised
//!
//! - Two replicas can send a trial at once: when the store cannot be reached, when a trial takes longer than the lease, and
//!   when a lease cannot be had within [`trial_wait`](Fleet::trial_wait). Availability comes first.
//! - [Last-resort](crate::Exhausted::LastResort) trials of a chain, and [`Provider::grant_trial`](crate::Provider::grant_trial), need no lease.
//! - Two replicas with different policies share their deadlines, each limited by the longest backoff of the policy that takes it
//!   over.
//!
//! # Security
//!
//! Whoever can write to the store can switch providers off for all replicas, and can see which providers are down. Values in
//! the store are checked and bounded; what cannot be read is ignored.
//!
//! # Files
//!
//! `builder`: settings and spawn. `task`: when to exchange, the connection, requests of probes. `replica`: compares the breakers
//! with the store's `contents`, using one `outage` for each kind of evidence, `forced` and `trial`.

mod builder;
mod contents;
mod forced;
mod handle;
mod memory;
mod outage;
mod pending;
mod replica;
mod settings;
mod store;
mod task;
mod trial;

pub(crate) use self::handle::{CheckLease, FleetChecks};
pub use self::{
    builder::Fleet,
    handle::{FleetHandle, FleetView, PeerWindow, ReplicaRow},
    memory::MemoryStore,
    settings::Share,
    store::{Entry, Lease, Reply, Request, Store, Write, WriteRule},
};
