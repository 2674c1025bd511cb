use std::{sync::Arc, time::Duration};

use super::contents::Names;
use crate::util::time::random_token;

/// The effect of other replicas' failures on the closed breakers of a replica.
///
/// It applies to failures of calls and checks. A throttle opens the breakers of its [quota scope](super::Fleet::quota_scope) at
/// once with every setting, because the provider itself has asked for the pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Share {
    /// Warns the breaker. One replica with a broken network opens no breaker of another.
    ///
    /// A failed call then opens the breaker two to three [polls](super::Fleet::poll_interval) later, unless a success comes
    /// first. A failed check opens it at once. The first success ends the warning, and so does the end of the outage or of its
    /// window.
    #[default]
    Advise,
    /// Warns the breaker, and lets the replicas vote.
    ///
    /// Two polls after the warning, the vote can open a breaker that has had no success since then. It needs at least two
    /// replicas that have found the provider down, and at least as many as have found it up. Each answer gets at most about 16
    /// votes.
    Quorum,
    /// Opens the breaker. One replica with a broken network takes the provider from all.
    Trust,
}

/// The settings of a [`Fleet`](super::Fleet).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) names: Names,
    pub(super) share: Share,
    pub(super) poll_interval: Duration,
    pub(super) timeout: Duration,
    pub(super) trial_lease: Duration,
    pub(super) trial_wait: Duration,
    pub(super) shares_overrides: bool,
    pub(super) shares_health: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names: Names {
                replica: format!("{:08x}", random_token() >> 32).into(),
                scope: Arc::from("default"),
            },
            share: Share::default(),
            poll_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            trial_lease: Duration::from_secs(15),
            trial_wait: Duration::from_secs(60),
            shares_overrides: false,
            shares_health: false,
        }
    }
}
