//! Fallback chains: a service that tries providers in order of preference.
//!
//! A [`FallbackChain`] holds the entries, the rule and the settings. Each call is a [`FallbackFuture`], which goes through the
//! entries: it skips or calls an entry, asks the rule, and returns the result or goes on. Entries that did not serve become
//! [`Attempt`]s.

mod chain;
mod future;
mod no_healthy_provider;
mod providers;
mod rule;
mod service;
mod state;
mod wait;

pub use self::{
    chain::{Exhausted, FallbackChain},
    future::FallbackFuture,
    no_healthy_provider::{Attempt, NoHealthyProvider, ServedBy},
    providers::Providers,
    rule::{Advance, AdvanceWhen, ErrorsAdvance, GuardRule},
};
