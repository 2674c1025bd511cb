//! The crates under test, each behind the same interface.

mod failsafe;
mod gauges;
mod recloser;
mod tower_health;
mod tower_resilience;

pub(crate) use self::{
    failsafe::Failsafe, recloser::Recloser, tower_health::TowerHealth,
    tower_resilience::TowerResilience,
};
