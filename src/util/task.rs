use tokio::sync::watch;

use super::panics::with_safe_waker;

/// Handle to a spawned task. Dropping the last clone stops the task.
#[derive(Clone, Debug)]
pub(crate) struct TaskHandle {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<()>,
}

/// Tells a task to stop.
pub(crate) struct Stop(watch::Receiver<bool>);

impl TaskHandle {
    /// Spawns the future that `run` returns.
    pub(crate) fn spawn<F>(run: impl FnOnce(Stop) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let (running, ended) = watch::channel(());
        let task = run(Stop(stopped));
        tokio::spawn(async move {
            task.await;
            drop(running);
        });
        Self { stop, ended }
    }

    /// Stops the task, and returns a future that waits until it has ended.
    pub(crate) fn stop(&self) -> impl Future<Output = ()> + use<> {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        with_safe_waker(async move {
            // Nothing is ever sent: this completes when the task drops the sender.
            let _ = ended.changed().await;
        })
    }
}

impl Stop {
    /// Completes when the task is stopped, or the last handle is dropped.
    pub(crate) async fn requested(mut self) {
        // An error means that the last handle was dropped.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
