use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
};

use super::{
    driver::Driver,
    health_probe::HealthProbe,
    in_flight::{InFlight, Occasion},
};
use crate::util::{panics::with_safe_waker, task::TaskHandle};

impl HealthProbe {
    /// Checks every provider in [scope](Self::scope) once. For tests, and for schedules of your own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels running checks. Checks that have ended are recorded.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn round(&self) {
        let mut in_flight = InFlight::new(self);
        for id in self.checks.keys().filter(|id| self.takes_turn(id)) {
            in_flight.push(Arc::clone(id), Occasion::Turn);
        }
        while poll_fn(|cx| in_flight.poll_ended(cx)).await.is_some() {}
    }

    /// Runs the probe until the last [`HealthCache`](crate::HealthCache) handle is dropped.
    ///
    /// The probe itself does not keep the cache alive, but a check that captures a handle does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels running checks. No result is recorded afterwards.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn run(self) {
        self.run_until(pending()).await;
    }

    /// Spawns [`run`](Self::run) as a task, which the returned handle stops.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn(self) -> ProbeHandle {
        ProbeHandle(TaskHandle::spawn(|stop| self.run_until(stop.requested())))
    }

    async fn run_until(self, stop: impl Future<Output = ()>) {
        if let Some(driver) = Driver::new(&self) {
            with_safe_waker(driver.run(pin!(stop))).await;
        }
    }
}

/// Handle to a [spawned](HealthProbe::spawn) probe. Dropping the last clone stops the probe.
///
/// Keep the handle for as long as checks should run: `let _ = probe.spawn()` stops the probe at once. To run it for as long as
/// the cache exists, use `tokio::spawn(probe.run())`.
#[derive(Clone, Debug)]
#[must_use = "dropping the handle stops the probe"]
pub struct ProbeHandle(TaskHandle);

impl ProbeHandle {
    /// Stops the probe and returns a future that waits until it has ended.
    ///
    /// Running checks are cancelled, and no result is recorded afterwards. Stopping twice has no further effect.
    ///
    /// # Cancel safety
    ///
    /// The probe stops even if the future is dropped.
    pub fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.0.stop()
    }
}
