//! Tests of a provider's breaker, by its rules and its settings.

mod any_order;
mod contention;
mod failure_rate;
mod fatal;
mod jitter;
mod noise;
mod origin;
mod policy;
mod refusals;
mod rules;
mod scenarios;
mod slow_start;
mod state_machine;
mod values;

#[path = "../rig/mod.rs"]
mod rig;
