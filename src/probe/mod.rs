//! Health checks that run in a background task.
//!
//! A [`HealthProbe`] holds the checks and the settings. The driver sleeps until the schedule's next turn or the end of an open
//! window, and starts the check. The result is recorded on the breaker for which the check began. `sharing` asks the fleet whether this
//! replica is to make the check, and publishes the result.

mod check;
mod driver;
mod end;
mod health_probe;
mod in_flight;
mod run;
mod schedule;
#[cfg_attr(not(feature = "fleet"), path = "sharing_noop.rs")]
mod sharing;

pub use self::{
    check::{Check, CheckResult},
    health_probe::{HealthProbe, Scope},
    run::ProbeHandle,
};
