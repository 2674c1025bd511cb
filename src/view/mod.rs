//! What callers and operators see of a circuit breaker: plain values, which nothing changes afterwards.

mod circuit_open;
mod provider_health;
mod state;
mod transition;

pub use self::{
    circuit_open::CircuitOpen,
    provider_health::ProviderHealth,
    state::{Cause, Override, ParseStateError, State},
    transition::Transition,
};
