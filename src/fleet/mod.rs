//! Replicas that share the health of their providers.
//!
//! Without a fleet, twenty replicas of a gateway each learn by their own failures that a provider is down. Each sends its own
//! trials to a provider that is barely back, and each makes its own checks. A [`Fleet`] shares all this through a [`Store`] that
//! every replica can reach, such as Redis (`tower-health-redis`):
//!
//! | shared | effect on the other replicas | ends |
//! |---|---|---|
//! | an open window: its kind (failures or throttle), its remaining time, its reason's [label](crate::Reason::label) | closed breakers: by [`Share`]. Open and half-open breakers take over a later deadline | when its time is over, or when the first of these breakers closes |
//! | a throttle | opens the breakers of the same [quota scope](Fleet::quota_scope). After at most 60 s, plus [jitter](crate::Throttle::jitter), a trial decides | as above |
//! | the trial of a half-open provider | refuse calls until the trial has ended | with the trial, or with its [lease](Fleet::trial_lease) |
//! | a check of a [`HealthProbe`](crate::HealthProbe::fleet) and its result | skip their check, and apply the result | after one interval |
//! | an [override](Fleet::share_overrides), if set | apply the same override | when its time is over, or when an operator of any replica lifts it |
//! | a row for the [status page](Fleet::share_health), if set | show it | when its replica stops, or at most 60 s later |
//!
//! Counts of calls, failure rates, latencies of calls and error texts are never shared.
//!
//! # How it works
//!
//! A task exchanges with the store once a second: a *poll*. It also exchanges at once when a breaker opens or closes, and when a
//! trial or a check needs a *lease*, a right that one replica holds for a limited time. One exchange is one round trip for all
//! providers. Calls never wait for the store and never use it. All times in the store are remaining times, so the replicas'
//! clocks need not agree.
//!
//! A half-open breaker refuses the first call, because it lacks the lease for trials, and makes the task ask for it. Once the
//! replica has the lease, its next call is the trial. So there is one trial in the fleet, and only if there are calls. If it
//! succeeds, the outage is over for all replicas: their breakers close, or begin their
//! [slow start](crate::Trials::slow_start). If it fails, they take over the new deadline.
//!
//! # Without the store
//!
//! If the store is slow, frozen, gone or returns an invalid reply, each replica goes on alone, as without a fleet. It does so
//! after two failed exchanges in a row. The task logs the loss once, and shows it in [`FleetHandle::view`] and in the metric
//! `tower_health_fleet_connected`. It tries again with growing pauses of up to 30 s, and rejoins. If the store has lost open
//! windows, the replicas that found them write them again.
//!
//! # Not promised
//!
//! - Two replicas can send a trial at once: if the store cannot be reached, if a trial takes longer than the lease, and if a
//!   replica has waited for the lease for [`trial_wait`](Fleet::trial_wait). Availability comes first.
//! - [Last-resort](crate::Exhausted::LastResort) trials of a chain, and [`Provider::grant_trial`](crate::Provider::grant_trial),
//!   need no lease.
//! - Replicas with different policies can have different deadlines: each limits a deadline that it takes over by the longest
//!   [backoff](crate::Backoff) of its own policy.
//!
//! # Security
//!
//! Anyone who can write to the store can open breakers on all replicas, and force them if
//! [`share_overrides`](Fleet::share_overrides) is set. Anyone who can read it sees which providers are down. Values from the
//! store are checked and bounded. Unreadable entries are ignored; the first is logged.
//!
//! # Files
//!
//! `builder`: settings and spawn. `task`: when to exchange, the connection, requests of probes. `replica`: compares the breakers
//! with the store's `contents`. For each provider, it has one `outage` for failures and one for throttles, an override in
//! `forced`, a `trial`, and the results of `checks`. `pending`: writes that are repeated until they reach the store.

mod builder;
mod checks;
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
