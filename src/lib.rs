//! Tower middleware that stops calling a provider that is down and serves from the next one: a circuit breaker
//! per provider, background checks, and fallback chains.
//!
//! A *provider* is anything that can fail on its own: a model provider, an internal service, a database, a queue. While it is
//! down, each call waits for a timeout. After two failures in a row, a [`HealthLayer`] refuses calls at once. Only the calls already
//! in flight still wait, and after them one *trial* a minute: a call that tests whether the provider is back. A
//! [`FallbackChain`] answers the refused calls from the next provider.
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
//! // Two failures in a row open the breaker for a minute.
//! for _ in 0..2 {
//!     client.ready().await.unwrap().call("answer".to_owned()).await.unwrap_err();
//! }
//! let refused = client.ready().await.unwrap().call("answer".to_owned()).await.unwrap_err();
//!
//! let refusal = error::find::<CircuitOpen>(&*refused).unwrap();
//! assert!(refusal.retry_in() > Duration::from_secs(59));
//! assert!(!cache.is_healthy("search"));
//! # }
//! ```
//!
//! The [README] has a chain that survives an outage, and what to stack in which order.
//!
//! # How a call flows
//!
//! 1. [`Health::poll_ready`] polls the inner service, unless the breaker would refuse the call.
//! 2. [`Health::call`] takes a [`Permit`] from the [`Provider`]. If the breaker refuses, the call ends with [`CircuitOpen`].
//! 3. The inner service is called. Dropping the response future drops the permit: no outcome is recorded, unless
//!    [`Trip::cancelled_after`] counts the call as a failure.
//! 4. The classifier turns the result into an [`Outcome`]. By default, [every error is a failure](ErrorsAsFailures).
//! 5. The breaker changes its state by the rules of its [`Policy`]; [`HealthCache::subscribe`] reports each change.
//!
//! The [`HealthCache`] stores all state by provider, and layers, probes and chains share it. So a provider has one breaker, however
//! often a service is layered, cloned or boxed.
//!
//! # Cost
//!
//! A call through a closed breaker costs three atomic loads (one in `poll_ready`, one in `call`, one at its end): no lock, no
//! allocation, no clock, no reference count.
//! [`Trip::failure_rate`], [`Trip::slow_call`] and [`Trip::cancelled_after`] read the clock. A failure rate also adds an atomic
//! counter, and a slow-call rule takes a short lock. A refusal takes a lock only once per thread and change of state.
//! [Measurements][performance] include other crates.
//!
//! # Where to find what
//!
//! | to | see |
//! |---|---|
//! | guard calls to one provider | [`HealthLayer`] |
//! | guard one client's calls to many hosts, each with its own breaker | [`HealthLayer::per_authority`], [`HealthLayer::keyed`] |
//! | guard something that is not a tower service | [`Provider::call`], [`Provider::admit`] |
//! | decide what counts as a failure | [`HealthLayer::classify_with`], [`Classify`], [`http::StatusClassifier`] |
//! | set when a breaker opens, for how long, and how it closes | [`Trip`], [`Backoff`], [`Trials`], [`Throttle`] |
//! | test what a policy does with a trace of calls | [`Policy::simulate`] |
//! | change policies at run time | [`HealthCache::set_policy`], [`Provider::set_policy`] |
//! | serve from the next provider | [`FallbackChain`] |
//! | check providers in the background | [`HealthProbe`], [`Check`] |
//! | get health, as a page and as JSON | [`status::StatusService`], [`HealthCache::snapshot`] |
//! | show the provider that serves a chain's requests | [`FallbackChain::named`] |
//! | measure how long calls take | [`Policy::measure_latency`] |
//! | get every change of state | [`HealthCache::subscribe`] |
//! | get logs and Prometheus metrics | features `tracing` and [`metrics`] |
//! | override health, from code or from the page | [`Provider::force`], [`status::ControlService`] |
//! | keep breakers open across a restart | [`HealthCache::restore`] |
//! | share outages, trials and checks between replicas | [`fleet::Fleet`] |
//! | tell errors apart | [`error::is_refusal`], [`error::find`], [`error::Kind`] |
//! | resend a request whose body cannot be cloned | [`http::ReplayLayer`] |
//! | answer your own callers when every provider is down | [`http::unavailable_response`] |
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `http` | yes | [`http`]: classifies status codes, `Retry-After`, bodies and gRPC; checks over HTTP; [`ServedBy`] in responses |
//! | `fleet` | no | [`fleet`]: replicas share open windows, trials and checks, for example through Redis |
//! | `hyper` | no | classifies the errors of hyper and of hyper-util's client (used by reqwest) by [kind](error::Kind) |
//! | `llm` | no | [`http::llm`]: judges for the APIs of language models, of OpenAI's kind and Anthropic's |
//! | `load` | no | `tower::load::Load` for [`Health`], so that balancers avoid providers that are down |
//! | `metrics` | no | [`metrics`]: counters and gauges of calls, states, trials, checks and fallbacks, and latency histograms, for the `metrics` crate |
//! | `reqwest` | no | [`HealthLayer::reqwest`], [`FallbackChain::reqwest`]: what `http` adds, for `reqwest::Client`; turns on `hyper` |
//! | `serde` | no | reads a [`Policy`], a [`http::StatusClassifier`] and [`ChainOptions`]; reads and writes a [`Snapshot`], writes a [`Transition`] |
//! | `status` | no | [`status`]: a live status page, its JSON and events, and overrides by operators |
//! | `tonic` | no | refusals reach tonic clients as status `UNAVAILABLE` instead of `UNKNOWN`; classifies tonic's connect errors by [kind](error::Kind) |
//! | `tracing` | no | events: `WARN` when a breaker opens, `INFO` when it becomes half-open or closes; `DEBUG` when a chain goes on from a provider, and when calls are refused (at most once a second per provider). A span `attempt` for each call of a chain, within the caller's span, with `provider`, `attempt`, `error.type` (the reason's label) and `http.request.resend_count` |
//! | `full` | no | all of the above |
//!
//! # Runtime
//!
//! Permits, layers and chains work in any executor, and outside one. These need a tokio runtime with its timer enabled,
//! and panic without it: [`HealthProbe`], [`FallbackChain::deadline`], [`Exhausted::Wait`], `http::PeekLayer`,
//! `http::ReadErrorsLayer`, `http::StatusClassifier::idle_timeout`, and the events of `status::StatusService`.
//!
//! # Panics
//!
//! Whatever the application supplies may panic: services, classifiers, rules, checks, listeners, wakers, recorders, subscribers.
//! No lock is poisoned, and no other call is affected.
//!
//! - A call that panics records nothing, unless [`Trip::cancelled_after`] counts it. If the call was a trial, it counts as in
//!   flight until [`Trials::pause`] has passed.
//! - A check that panics has failed.
//! - A listener that panics is called again with the next transition.
//!
//! # Minimum supported Rust version
//!
//! 1.85. Raising it is a breaking release before 1.0, and a minor release after.
//!
//! # Links
//!
//! [README], [defaults], [configuration], [design], [performance], [changelog].
//!
//! [README]: https://docs.rs/crate/tower-health/latest/source/README.md
//! [defaults]: https://docs.rs/crate/tower-health/latest/source/docs/defaults.md
//! [configuration]: https://docs.rs/crate/tower-health/latest/source/docs/configuration.md
//! [design]: https://docs.rs/crate/tower-health/latest/source/docs/design.md
//! [performance]: https://docs.rs/crate/tower-health/latest/source/docs/performance.md
//! [changelog]: https://docs.rs/crate/tower-health/latest/source/CHANGELOG.md
//! [`CircuitOpen`]: error::CircuitOpen
//! [`Health::poll_ready`]: Health#method.poll_ready
//! [`Health::call`]: Health#method.call

#![cfg_attr(docsrs, feature(doc_cfg))]
// Some links lead to items of optional features. The build with all features checks every link.
#![cfg_attr(
    not(all(
        feature = "fleet",
        feature = "hyper",
        feature = "llm",
        feature = "load",
        feature = "metrics",
        feature = "reqwest",
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
    not(feature = "fleet"),
    doc = "[`fleet`]: https://docs.rs/tower-health/latest/tower_health/fleet/",
    doc = "[`fleet::Fleet`]: https://docs.rs/tower-health/latest/tower_health/fleet/struct.Fleet.html"
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
pub mod error;
mod fallback;
#[cfg(feature = "fleet")]
pub mod fleet;
#[cfg(feature = "http")]
pub mod http;
mod layer;
// Documentation only.
#[cfg(all(doc, feature = "metrics"))]
#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}
mod outcome;
mod policy;
mod probe;
#[cfg(feature = "serde")]
mod serde;
#[cfg(feature = "status")]
pub mod status;
mod telemetry;
mod util;
mod view;

pub use self::{
    breaker::{Permit, Simulation},
    cache::{HealthCache, Provider, Snapshot, Transitions},
    error::BoxError,
    fallback::{
        Advance, AdvanceWhen, ErrorsAdvance, Exhausted, FallbackChain, FallbackFuture, GuardRule,
        Providers, ServedBy,
    },
    layer::{
        Classify, ClassifyWith, ErrorsAsFailures, Health, HealthLayer, Key, KeyedHealth,
        KeyedHealthLayer, ResponseFuture,
    },
    outcome::{Outcome, Reason},
    policy::{Backoff, Jitter, Policy, Throttle, Trials, Trip},
    probe::{Check, CheckResult, HealthProbe, ProbeHandle, Scope},
    view::{Cause, Override, ProviderHealth, ShadowCalls, State, Transition},
};

#[cfg(feature = "load")]
pub use self::layer::HealthMetric;
#[cfg(feature = "serde")]
pub use self::serde::ChainOptions;

/// Compiles the examples of the README and of `docs/`, with the features that they show.
#[cfg(all(doctest, feature = "serde", feature = "status"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/configuration.md")]
#[cfg_attr(feature = "fleet", doc = include_str!("../docs/fleet.md"))]
#[doc = include_str!("../docs/servers.md")]
#[doc = include_str!("../docs/status.md")]
#[doc = include_str!("../docs/testing.md")]
struct Readme;
