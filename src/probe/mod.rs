//! The background task that keeps providers exercised.
//!
//! A [`HealthProbe`] holds the checks and the settings. The driver runs them: it sleeps until the schedule's next turn or window
//! end, hands the check to those in flight, and records each result with the breaker that the check began for.

mod check;
mod driver;
mod end;
mod health_probe;
mod in_flight;
mod run;
mod schedule;

pub use self::{
    check::{Check, CheckResult},
    health_probe::{HealthProbe, Scope},
    run::ProbeHandle,
};
