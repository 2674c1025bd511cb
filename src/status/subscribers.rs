use std::{future::pending, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Limits the number of `/events` subscribers, and ends them all on close.
#[derive(Debug)]
pub(super) struct Subscribers {
    slots: Arc<Semaphore>,
    closed: watch::Sender<bool>,
}

/// The slot of one subscriber. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    closed: watch::Receiver<bool>,
}

impl Subscribers {
    pub(super) fn new(max: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            closed: watch::Sender::new(false),
        }
    }

    /// Takes a slot, unless all are taken or the service is closed.
    pub(super) fn slot(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Slot {
            _permit: permit,
            closed: self.closed.subscribe(),
        })
    }

    pub(super) fn are_closed(&self) -> bool {
        self.slots.is_closed()
    }

    pub(super) fn close(&self) {
        self.slots.close();
        self.closed.send_replace(true);
    }
}

impl Slot {
    /// Waits until the service is closed.
    pub(super) async fn closed(&mut self) {
        // An error means that every clone is gone, so that none can close it any more.
        if self.closed.wait_for(|closed| *closed).await.is_err() {
            pending::<()>().await;
        }
    }
}
