//! The breakers under test, each behind the same interface.

mod failsafe;
mod gauges;
mod recloser;
mod tower_health;
mod tower_resilience;

use crate::findings::Column;

/// The columns of the table.
pub(crate) const COLUMNS: &[Column] = &[
    Column::of::<tower_health::TowerHealth>(),
    Column::of::<failsafe::Failsafe>(),
    Column::of::<recloser::Recloser>(),
    Column::of::<tower_resilience::TowerResilience>(),
];
