use std::sync::Arc;

use crate::outcome::Reason;

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {}

#[derive(Debug, Default)]
pub(crate) struct ChainLogs {}

#[allow(clippy::unused_self, reason = "the twin needs it")]
impl Log {
    #[inline]
    pub(crate) fn renewed<'a>(
        &self,
        _: impl Iterator<Item = (&'a Arc<str>, &'a ChainLogs)>,
    ) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn ended<'a>(&self, _: Option<usize>, _: impl Iterator<Item = (usize, &'a Reason)>) {
    }
}
