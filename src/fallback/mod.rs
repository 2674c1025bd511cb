//! Providers in order of preference, and the service that serves from the first that can.
//!
//! A [`FallbackChain`] holds the entries, the rule and the settings. Each call is a [`FallbackFuture`], whose state walks the
//! entries: skip, call, ask the rule, go on or return. What did not serve becomes an [`Attempt`].

mod chain;
mod future;
mod no_healthy_provider;
mod rule;
mod service;
mod state;
mod wait;

pub use self::{
    chain::{Exhausted, FallbackChain},
    future::FallbackFuture,
    no_healthy_provider::{Attempt, NoHealthyProvider, ServedBy},
    rule::{Advance, AdvanceWhen, ErrorsAdvance, GuardRule},
};
