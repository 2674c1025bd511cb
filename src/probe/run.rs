use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
};

use tokio::sync::watch;

use super::{driver::Driver, health_probe::HealthProbe, in_flight::InFlight};
use crate::util::panics::with_safe_waker;

impl HealthProbe {
    /// Runs one round: every provider in [scope](Self::scope) once. For tests, and for a schedule of
    /// your own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the checks that still run; those that had ended are recorded.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn round(&self) {
        let mut in_flight = InFlight::new(self);
        for id in self.checks.keys().filter(|id| self.takes_turn(id)) {
            in_flight.push(Arc::clone(id));
        }
        while poll_fn(|cx| in_flight.poll_ended(cx)).await.is_some() {}
    }

    /// Runs until the last [`HealthCache`](crate::HealthCache) is gone, which the probe does not keep alive; a check that
    /// holds a cache does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the checks that still run; no result is recorded afterwards.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn run(self) {
        self.run_until(pending()).await;
    }

    /// [Runs](Self::run) in a task of its own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn(self) -> ProbeHandle {
        let (stop, mut stopped) = watch::channel(false);
        let (running, ended) = watch::channel(());
        tokio::spawn(async move {
            // Told to stop, or without a handle.
            self.run_until(async move { drop(stopped.wait_for(|stop| *stop).await) })
                .await;
            drop(running);
        });
        ProbeHandle { stop, ended }
    }

    async fn run_until(self, stop: impl Future<Output = ()>) {
        if let Some(driver) = Driver::new(&self) {
            with_safe_waker(driver.run(pin!(stop))).await;
        }
    }
}

/// A [spawned](HealthProbe::spawn) probe, which ends with the last clone of its handle.
///
/// Keep it for as long as providers are to be checked: `let _ = probe.spawn()` stops it at once. One
/// that is to run as long as the cache is `tokio::spawn(probe.run())`.
#[derive(Clone, Debug)]
#[must_use = "dropping the handle stops the probe"]
pub struct ProbeHandle {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<()>,
}

impl ProbeHandle {
    /// Stops the probe; the future waits until it has ended. Checks that run are cancelled; none
    /// changes anything afterwards. Stopping again does nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the probe all the same.
    pub fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        with_safe_waker(async move {
            // Nothing is ever sent: the only news is that the task is gone.
            let _ = ended.changed().await;
        })
    }
}
