use std::time::Duration;

use tokio::time::Instant;

use super::{
    contents::{Contents, SharedOverride, ended, forced_key, forced_value},
    outage::ENDED_FOR,
    store::{Request, Write, WriteRule},
};
use crate::{breaker::Report, cache::Provider, util::time::random_token, view::Override};

/// A provider's override, which an operator of any replica sets and lifts.
#[derive(Debug, Default)]
pub(super) struct Forced {
    current: Option<Known>,
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
        self.current.is_none()
    }

    /// Writes an override that was set here, or the end of one that was lifted here.
    pub(super) fn prepare(
        &mut self,
        id: &str,
        report: &Report,
        shared: Option<&SharedOverride>,
        request: &mut Request,
        now: Instant,
    ) {
        let write = |token, value, ttl, rule| Write {
            key: forced_key(id),
            token,
            value,
            ttl,
            rule,
        };
        let Some((to, until, reason)) = &report.forced else {
            if let Some(known) = self.current.take().filter(|known| known.until > now) {
                let removal = write(
                    known.token,
                    String::new(),
                    Duration::ZERO,
                    WriteRule::Remove,
                );
                request
                    .writes
                    .extend([removal, ended(known.token, ENDED_FOR)]);
            }
            return;
        };
        let known = self
            .current
            .filter(|known| (known.to, known.until) == (*to, *until));
        let known = known.unwrap_or_else(|| Known {
            token: random_token(),
            to: *to,
            until: *until,
        });
        let is_new = self.current.replace(known) != Some(known);
        // If another replica has replaced it meanwhile, this one takes that over.
        if is_new || shared.is_none() {
            let value = forced_value(*to, reason);
            request
                .writes
                .push(write(known.token, value, *until - now, WriteRule::Replace));
        }
    }

    /// Takes over an override that was set elsewhere, or lifts one that was lifted elsewhere.
    pub(super) fn apply(
        &mut self,
        provider: &Provider,
        shared: Option<&SharedOverride>,
        contents: &Contents,
    ) {
        let lifted = self.current.take_if(|it| contents.has_ended(it.token));
        if let Some(known) = lifted {
            provider.unforce_if_until(known.until);
        }
        let is_known = |token| self.current.is_some_and(|known| known.token == token);
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
        }
    }
}
