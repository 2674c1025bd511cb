use tokio::time::Instant;

use crate::view::ProviderHealth;

/// A copy of the health of many providers.
#[cfg_attr(feature = "serde", doc = include_str!("../serde/snapshot.md"))]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Time of the snapshot. The ages of [`ProviderHealth::since`] and [`ProviderHealth::last_check`] are relative to it.
    pub at: Instant,
    /// One row per provider, sorted by id.
    pub providers: Vec<ProviderHealth>,
}

impl Snapshot {
    /// Returns the row of a provider.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&ProviderHealth> {
        let place = self.providers.binary_search_by(|row| (*row.id).cmp(id));
        place.ok().map(|index| &self.providers[index])
    }
}
