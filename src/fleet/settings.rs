use std::{sync::Arc, time::Duration};

use super::contents::Names;
use crate::util::time::random_token;

/// The effect of one replica's failures on the other replicas' closed breakers.
///
/// It concerns failures of calls and checks. A throttle opens the breakers of its [quota scope](super::Fleet::quota_scope) at once
/// and with every setting, because the provider itself has asked for the pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Share {
    /// A warning: the first failure of a warned breaker opens it, and its first success ends the warning. One replica with a
    /// broken network takes no provider from the others.
    #[default]
    Advise,
    /// A warning, and a vote: a breaker opens without a failure of its own once at least two replicas have found the provider down,
    /// and at least as many as have found it up. A replica that has had a success since the warning is not outvoted.
    Quorum,
    /// The breakers open. One replica with a broken network takes the provider from all.
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
