use tokio::time::Instant;

use crate::view::ProviderHealth;

/// The health of many providers, in the order of their ids.
#[cfg_attr(feature = "serde", doc = include_str!("../serde/snapshot.md"))]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// When it was taken: what [`ProviderHealth::since`] and [`ProviderHealth::last_check`] are measured against.
    pub at: Instant,
    /// One row a provider.
    pub providers: Vec<ProviderHealth>,
}

impl Snapshot {
    /// The row of one provider.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&ProviderHealth> {
        let place = self.providers.binary_search_by(|row| (*row.id).cmp(id));
        place.ok().map(|index| &self.providers[index])
    }
}
