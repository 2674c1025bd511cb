//! The design that this crate replaced: half-open admits every call, and any check that passes closes.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, interval};
use tower::{ServiceExt, service_fn};
use tower_health::BoxError;

use crate::world::Client;

const STRIKES: u32 = 2;
const OPEN_FOR: Duration = Duration::from_secs(60);
const CHECKED_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<Health>>);

#[derive(Default)]
struct Health {
    strikes: u32,
    open_until: Option<Instant>,
}

impl Gate {
    pub(crate) fn guard(self, client: impl Client<Error = BoxError>) -> impl Client {
        service_fn(move |()| {
            let (gate, client) = (self.clone(), client.clone());
            async move {
                if gate.health().is_open() {
                    return Err("unhealthy".into());
                }
                let result = client.oneshot(()).await;
                match result {
                    Ok(_) => gate.health().success(),
                    Err(_) => gate.health().failure(),
                }
                result
            }
        })
    }

    /// A reachability check that always passes.
    pub(crate) async fn check(self) {
        let mut ticks = interval(CHECKED_EVERY);
        loop {
            ticks.tick().await;
            self.health().success();
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.0.lock().expect("nothing here panics")
    }
}

impl Health {
    fn is_open(&self) -> bool {
        self.open_until.is_some_and(|until| Instant::now() < until)
    }

    fn success(&mut self) {
        *self = Self::default();
    }

    fn failure(&mut self) {
        self.strikes += 1;
        if self.strikes >= STRIKES {
            self.open_until = Some(Instant::now() + OPEN_FOR);
        }
    }
}
