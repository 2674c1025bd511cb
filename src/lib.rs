//! Tower middleware that keeps the health of each provider, stops calling what is down, and serves
//! from what is up.
//!
//! Things that are called fail: model providers, internal services, databases, queues. A dead one
//! costs each request a long timeout. With a circuit breaker it costs two, and then one a minute to
//! see whether it is back; with a [`FallbackChain`] around it, these are answered too, by the next provider.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
//! use tower_health::{BoxError, HealthCache, HealthLayer, error::{self, CircuitOpen}};
//!
//! # async fn search(query: String) -> Result<String, BoxError> { Err(format!("no {query}").into()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let cache = HealthCache::default();
//! let mut client = ServiceBuilder::new()
//!     .layer(HealthLayer::new(cache.provider("search")))
//!     .layer(TimeoutLayer::new(Duration::from_secs(3)))
//!     .service_fn(search);
//!
//! // The first failure is a blip, the second in a row opens the breaker for a minute.
//! for _ in 0..2 {
//!     client.ready().await.unwrap().call("answer".to_owned()).await.unwrap_err();
//! }
//! let refused = client.ready().await.unwrap().call("answer".to_owned()).await.unwrap_err();
//!
//! let refusal = error::find::<CircuitOpen>(&*refused).unwrap();
//! assert!(refusal.retry_in > Duration::from_secs(59));
//! assert!(!cache.is_healthy("search"));
//! # }
//! ```
//!
//! # How a call flows
//!
//! 1. [`Health::poll_ready`] waits for the wrapped service, unless the breaker would refuse the call anyway.
//! 2. [`Health::call`] asks the [`Provider`] for a [`Permit`]; without one the call ends with [`CircuitOpen`].
//! 3. The wrapped service is called; dropping the call drops the permit, which says nothing.
//! 4. The classifier turns the result into an [`Outcome`]: by default [every error is a failure](ErrorsAsFailures).
//! 5. The outcome moves the breaker by the rules of its [`Policy`]; [`subscribe`](HealthCache::subscribe) shows how.
//!
//! All state is in the [`HealthCache`], by provider. It comes first; layers, probes and chains are
//! given its providers, so that however often something is layered, cloned or boxed, there is one
//! breaker. While a provider is closed and well, a call costs three atomic loads: no lock, no allocation, no
//! clock, no reference count. [`Trip::failure_rate`], [`Trip::slow_call`] and [`Trip::cancelled_after`] need the
//! clock; the first adds an atomic counter, the second a short lock. A refusal takes no lock either.
//! [How fast that is](https://docs.rs/crate/tower-health/latest/source/docs/performance.md), beside its peers.
//!
//! # What is where
//!
//! | you want to | see |
//! |---|---|
//! | guard calls to one provider | [`HealthLayer`] |
//! | guard one client's calls to many hosts, each on its own | [`HealthLayer::per_authority`], [`HealthLayer::keyed`] |
//! | decide what counts as a failure | [`HealthLayer::classify_with`], [`Classify`] |
//! | set when it opens, for how long, how it comes back | [`Trip`], [`Backoff`], [`Trials`], [`Throttle`] |
//! | change the rules while calls are under way | [`HealthCache::set_policy`], [`Provider::set_policy`] |
//! | serve from the next provider | [`FallbackChain`] |
//! | check providers in the background | [`HealthProbe`], [`Check`] |
//! | show health, as a page and as JSON | [`status::StatusService`], [`HealthCache::snapshot`] |
//! | keep what is open open across a restart | [`HealthCache::restore`] |
//! | hear of each change | [`HealthCache::subscribe`] |
//! | see it in logs and in Prometheus | the features `tracing` and [`metrics`] |
//! | overrule it, from code or from the page | [`Provider::force`], [`status::ControlService`] |
//! | guard something that is not a tower service | [`Provider::call`], [`Provider::admit`] |
//! | tell errors apart | [`error::find`], [`error::is_refusal`], [`error::Kind`] |
//! | try a request again whose body cannot be cloned | [`http::ReplayLayer`] |
//! | answer your own callers when nobody could serve | [`http::unavailable_response`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `http` | yes | [`http`]: status codes, `Retry-After`, bodies to their end, gRPC, checks by request, [`ServedBy`] in the response |
//! | `hyper` | no | the [kinds](error::Kind) of the errors of hyper and of hyper-util's client, which is also reqwest's |
//! | `load` | no | `tower::load::Load` for [`Health`], so that balancers avoid what is down |
//! | `metrics` | no | [`metrics`]: counters and gauges of calls, states, trials, checks and fallbacks, through the facade of that name |
//! | `serde` | no | [`Policy`] from configuration; [`Snapshot`] to a file, and back; [`Transition`] to a log |
//! | `status` | no | [`status`]: a live status page, its JSON and its events, control by operators |
//! | `tonic` | no | for tonic's clients, a refusal is a status `UNAVAILABLE` and no longer `UNKNOWN`; the [kind](error::Kind) of tonic's connect errors |
//! | `tracing` | no | events: a warning where a breaker opens, an information where it comes back, and at `DEBUG` what a chain passed by, and once a second for each provider how many calls were refused |
//! | `full` | no | all of the above |
//!
//! # Runtime
//!
//! Calls need none: permits, layers and chains work in any executor, and outside one. What waits for a time needs a
//! tokio runtime with its timer enabled, and panics without it: a [`HealthProbe`], a chain's
//! [deadline](FallbackChain::deadline) and [`Exhausted::Wait`], `http::PeekLayer`,
//! `http::StatusClassifier::idle_timeout`, and the events of `status::StatusService`.
//!
//! # Panics
//!
//! What the application supplies may panic: services, classifiers, rules, checks, listeners, wakers, recorders, subscribers. A call that panics
//! has said nothing of its provider, unless [`Trip::cancelled_after`] says otherwise, and its trial's slot is free again after
//! [`Trials::pause`]; a check that panics has failed; a listener that panics is called again with the next transition.
//! Nothing else suffers: no lock is poisoned, and no other call is judged otherwise.
//!
//! # Minimum supported Rust version
//!
//! 1.85. Before 1.0 a newer one comes with a breaking release, and after it with a minor one.
//!
//! # Links
//!
//! [README](https://docs.rs/crate/tower-health/latest/source/README.md): what to stack in which order, and all the defaults.
//! [CHANGELOG](https://docs.rs/crate/tower-health/latest/source/CHANGELOG.md).
//!
//! [`CircuitOpen`]: error::CircuitOpen
//! [`Health::poll_ready`]: Health#method.poll_ready
//! [`Health::call`]: Health#method.call

#![cfg_attr(docsrs, feature(doc_cfg))]
// Without all features, what some links lead to is not there. That all of them lead somewhere is checked with all.
#![cfg_attr(
    not(all(
        feature = "hyper",
        feature = "load",
        feature = "metrics",
        feature = "status",
        feature = "tracing"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]
#![cfg_attr(
    not(feature = "http"),
    doc = "[`http`]: https://docs.rs/tower-health/latest/tower_health/http/"
)]
#![cfg_attr(
    not(feature = "metrics"),
    doc = "[`metrics`]: https://docs.rs/tower-health/latest/tower_health/metrics/"
)]
#![cfg_attr(
    not(feature = "status"),
    doc = "[`status`]: https://docs.rs/tower-health/latest/tower_health/status/",
    doc = "[`status::StatusService`]: https://docs.rs/tower-health/latest/tower_health/status/struct.StatusService.html",
    doc = "[`status::ControlService`]: https://docs.rs/tower-health/latest/tower_health/status/struct.ControlService.html"
)]

mod breaker;
mod cache;
mod call;
mod cell;
mod classify;
pub mod error;
mod events;
mod fallback;
mod foreign;
mod future;
mod health;
#[cfg(feature = "http")]
pub mod http;
mod keyed;
mod kind;
mod layer;
mod line;
#[cfg(feature = "load")]
mod load;
// Documentation only.
#[cfg(all(doc, feature = "metrics"))]
#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}
mod nesting;
mod permit;
mod policy;
mod probe;
mod provider;
mod reason;
#[cfg(feature = "serde")]
mod serde;
mod service;
mod sign;
mod state;
#[cfg(feature = "status")]
pub mod status;
mod sync;
mod tally;
mod telemetry;
mod time;
mod window;

pub use self::{
    cache::HealthCache,
    classify::{Classify, ClassifyWith, ErrorsAsFailures, Outcome},
    error::BoxError,
    events::{Transition, Transitions},
    fallback::{
        Advance, AdvanceWhen, ErrorsAdvance, Exhausted, FallbackChain, FallbackFuture, GuardRule,
        ServedBy,
    },
    future::ResponseFuture,
    health::{ProviderHealth, Snapshot},
    keyed::{Key, KeyedHealth, KeyedHealthLayer},
    layer::HealthLayer,
    permit::Permit,
    policy::{Backoff, Jitter, Policy, Throttle, Trials, Trip},
    probe::{Check, CheckResult, HealthProbe, ProbeHandle, Scope},
    provider::Provider,
    reason::Reason,
    service::Health,
    state::{Cause, Override, State},
};

#[cfg(feature = "load")]
pub use self::load::HealthMetric;

/// Compiles the examples of the README and of `docs/`, with the features that they show.
#[cfg(all(doctest, feature = "serde", feature = "status"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/configuration.md")]
#[doc = include_str!("../docs/status.md")]
struct Readme;
