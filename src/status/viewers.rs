use std::{future::pending, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Those who follow the events: only so many, and until they are sent home.
#[derive(Debug)]
pub(super) struct Viewers {
    places: Arc<Semaphore>,
    closed: watch::Sender<bool>,
}

/// The place of one of them, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    closed: watch::Receiver<bool>,
}

impl Viewers {
    pub(super) fn new(max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            closed: watch::Sender::new(false),
        }
    }

    /// A place, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place {
            _place: place,
            closed: self.closed.subscribe(),
        })
    }

    pub(super) fn are_sent_home(&self) -> bool {
        self.places.is_closed()
    }

    pub(super) fn close(&self) {
        self.places.close();
        self.closed.send_replace(true);
    }
}

impl Place {
    /// Ends when they are sent home.
    pub(super) async fn closed(&mut self) {
        // An error says that nobody can send them home any more; then they stay.
        if self.closed.wait_for(|closed| *closed).await.is_err() {
            pending::<()>().await;
        }
    }
}
