use super::{metrics, tracing};
use crate::outcome::Reason;

/// The replica has reached the store of its fleet, for the first time or again.
pub(crate) fn fleet_connected(replica: &str) {
    metrics::fleet_connected(true);
    tracing::fleet_connected(replica);
}

/// The replica cannot reach the store, and goes on alone.
pub(crate) fn fleet_disconnected(replica: &str, error: &Reason) {
    metrics::fleet_connected(false);
    tracing::fleet_disconnected(replica, error);
}

/// The store holds an entry that this version cannot read.
pub(crate) fn fleet_entry_ignored(replica: &str, key: &str) {
    tracing::fleet_entry_ignored(replica, key);
}
