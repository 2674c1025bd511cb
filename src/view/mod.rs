//! The health of a breaker as callers and operators see it, in plain values that are copies.
//!
//! `SharedBreaker` creates all of them: [`ProviderHealth`] for a snapshot, [`Transition`] for subscribers, and [`CircuitOpen`] for
//! a refused call. [`State`], [`Cause`] and [`Override`] have names that are displayed and parsed alike.

mod circuit_open;
mod provider_health;
mod shadow_calls;
mod state;
mod transition;

pub(crate) use self::circuit_open::Refusal;
pub use self::{
    circuit_open::CircuitOpen,
    provider_health::ProviderHealth,
    shadow_calls::ShadowCalls,
    state::{Cause, Override, ParseStateError, State},
    transition::Transition,
};
