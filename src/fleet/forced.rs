use std::time::Duration;

use tokio::time::Instant;

use super::{
    contents::{Contents, SharedOverride, ended, forced_key, forced_value},
    outage::Draft,
    pending::Pending,
    store::{Write, WriteRule},
};
use crate::{breaker::Report, cache::Provider, util::time::random_token, view::Override};

/// A provider's override. An operator can set it and lift it on any replica.
#[derive(Debug, Default)]
pub(super) struct Forced {
    current: Option<Known>,
    /// The last override whose time was over here. It is not taken over again, if it lasts longer elsewhere.
    expired: Option<u64>,
}

/// An override that this replica has set or taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    token: u64,
    to: Override,
    until: Instant,
}

impl Forced {
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.expired.is_none()
    }

    /// Writes an override that was set here, or the end of one that was lifted here.
    ///
    /// `contents` is `None` after the store was lost, until it has been read again. Until then, a known override is not written
    /// again: another replica may have replaced or lifted it meanwhile.
    pub(super) fn prepare(
        &mut self,
        id: &str,
        report: &Report,
        contents: Option<&Contents>,
        draft: &mut Draft<'_>,
    ) {
        let Some((to, until, reason)) = &report.forced else {
            if let Some(known) = self.current.take() {
                if known.until <= draft.now {
                    self.expired = Some(known.token);
                } else {
                    known.end(id, draft.pending);
                }
            }
            return;
        };
        let is_it = |known: &Known| (known.to, known.until) == (*to, *until);
        let write = |token| Write {
            key: forced_key(id),
            token,
            value: forced_value(*to, reason),
            ttl: *until - draft.now,
            rule: WriteRule::Replace,
        };
        if let Some(known) = self.current.filter(is_it) {
            let is_lost = |it: &Contents| !it.forced.contains_key(id) && !it.has_ended(known.token);
            if contents.is_some_and(is_lost) {
                draft.request.writes.push(write(known.token));
            }
            return;
        }
        if let Some(replaced) = self.current {
            replaced.end(id, draft.pending);
        }
        let token = random_token();
        draft.pending.push(write(token), *until);
        self.current = Some(Known {
            token,
            to: *to,
            until: *until,
        });
    }

    /// Applies an override that was set on another replica, or lifts one that was lifted there.
    pub(super) fn apply(
        &mut self,
        provider: &Provider,
        shared: Option<&SharedOverride>,
        contents: &Contents,
        pending: &mut Pending,
    ) {
        let lifted = self.current.filter(|it| contents.has_ended(it.token));
        if let Some(known) = lifted {
            // This replica may have written it after it was lifted.
            known.end(provider.id(), pending);
        }
        let is_known = |token| {
            self.expired == Some(token) || self.current.is_some_and(|known| known.token == token)
        };
        let other = shared.filter(|it| !is_known(it.token) && !contents.has_ended(it.token));
        if let Some(SharedOverride {
            token,
            to,
            until,
            reason,
        }) = other
        {
            provider.force_until(*to, *until, reason.clone());
            self.current = Some(Known {
                token: *token,
                to: *to,
                until: *until,
            });
        } else if let Some(known) = lifted {
            provider.unforce_if_until(known.until);
            self.current = None;
        }
    }
}

impl Known {
    /// Writes the end of this override. The entry lasts for as long as a replica may still have the override.
    fn end(self, id: &str, pending: &mut Pending) {
        let removal = Write {
            key: forced_key(id),
            token: self.token,
            value: String::new(),
            ttl: Duration::ZERO,
            rule: WriteRule::Remove,
        };
        pending.push(removal, self.until);
        pending.push(ended(self.token), self.until);
    }
}
