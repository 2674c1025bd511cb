//! A store in memory behind a network with faults.

use std::{ops::Range, time::Duration};

use tokio::time::sleep;
use tower_health::{
    BoxError,
    fleet::{MemoryStore, Reply, Request, Store},
};

use super::{simulation::Faults, world::World};

const DELAY: Duration = Duration::from_millis(2);
/// The time of the faults that last a minute. It contains the start of the outage, when breakers open.
const FAULTY: Range<Duration> = Duration::from_secs(50)..Duration::from_secs(110);

#[derive(Clone)]
pub(crate) struct NetworkStore {
    pub(crate) memory: MemoryStore,
    pub(crate) world: World,
    pub(crate) faults: Faults,
    pub(crate) replica: usize,
}

impl Store for NetworkStore {
    async fn exchange(&self, request: &Request) -> Result<Reply, BoxError> {
        self.world.record().exchanges += 1;
        sleep(if self.faults.is_slow {
            DELAY * 150
        } else {
            DELAY
        })
        .await;
        let is_cut_off = FAULTY.contains(&self.world.now())
            && (self.faults.is_gone || self.faults.is_partitioned && self.replica % 2 == 0);
        if is_cut_off || fastrand::f64() < self.faults.loss {
            return Err("connection reset".into());
        }
        self.memory.exchange(request).await
    }
}
