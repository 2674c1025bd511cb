//! The entries of the store, and their text.
//!
//! | key | value | written by |
//! |---|---|---|
//! | `open/PROVIDER` | the replica that gave the deadline, failed trials, label of the reason | the replicas whose own calls or checks opened their breakers |
//! | `throttled/SCOPE/PROVIDER` | the same | the replicas that the provider has throttled |
//! | `ended/TOKEN` | none: the key alone means that the outage or override with this token is over | the replica that closed its breaker, or lifted its override |
//! | `waits/PROVIDER` | none; its token is the replica | a replica that waits for the trial lease of another |
//! | `vote/TOKEN/REPLICA` | `down` or `up` | with [`Share::Quorum`](super::Share), each replica that has called or checked the provider since this outage began |
//! | `check/PROVIDER` | replica, duration in milliseconds, depth, result, label | the replica that ran the check |
//! | `forced/PROVIDER` | `open` or `closed`, reason | the replica whose operator forced the state |
//! | `replica/REPLICA` | a line for each unhealthy provider | that replica |
//!
//! In keys, `REPLICA` is the replica's name. In values, a replica is its [holder](super::store::Lease::holder) number.
//!
//! | key of a lease | lets its holder |
//! |---|---|
//! | `trial/LEASE_MS/PROVIDER` | make trials |
//! | `check/DEPTH/turn/INTERVAL_MS/PROVIDER` | make the check of an interval |
//! | `check/DEPTH/window-end/INTERVAL_MS/PROVIDER` | make the check at the end of an open window |
//! | the key of a check, and `/second` | confirm the failed check of another replica |
//!
//! Each key begins with the version of this format, `1/`. Entries of another version are skipped. Any process that can write to
//! the store can write anything here, so unreadable entries are skipped too.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    handle::ReplicaRow,
    store::{Entry, Write, WriteRule},
};
use crate::{
    breaker::Depth,
    outcome::{Outcome, Reason, prefix},
    util::time::after,
    view::{Cause, Override, ProviderHealth},
};

/// The version of the keys and values, with which each key begins.
const VERSION: &str = "1/";

/// Maximum length of a provider's id in the store, in bytes. A provider with a longer id is not shared.
pub(super) const LONGEST_ID: usize = 1_024;

/// Number of votes for one answer, `down` or `up`, from which further replicas add none. It bounds the entries of an outage. So many
/// `up` votes prevent a quorum, because there may be more.
const MOST_VOTES: usize = 16;

/// Time for which the store keeps the result of a check. The age of a result is this time less its remaining time.
const CHECK_FOR: Duration = Duration::from_secs(10);

/// Maximum length of the label of a reason, in bytes.
const LONGEST_LABEL: usize = 64;

/// Maximum number of unhealthy providers in a replica's row.
const LONGEST_ROW: usize = 256;

/// The entries of the store at one exchange.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) open: HashMap<Arc<str>, SharedWindow>,
    /// Throttles of this replica's quota scope.
    pub(super) throttled: HashMap<Arc<str>, SharedWindow>,
    pub(super) forced: HashMap<Arc<str>, SharedOverride>,
    pub(super) checks: HashMap<Arc<str>, SharedCheck>,
    ended: HashSet<u64>,
    /// For each provider, a replica that waits for the trial lease, and the time until which it does.
    waits: HashMap<Arc<str>, (u64, Instant)>,
    votes: HashMap<u64, Votes>,
    pub(super) replicas: BTreeMap<Arc<str>, Vec<ReplicaRow>>,
    /// The key of the last unreadable entry.
    pub(super) unreadable: Option<String>,
}

/// The evidence that opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Failed calls or checks.
    Failures,
    /// A pause that the provider asked for.
    Throttles,
}

/// An open window of one or more replicas.
#[derive(Clone, Debug)]
pub(super) struct SharedWindow {
    pub(super) token: u64,
    pub(super) until: Instant,
    /// The [holder](super::store::Lease::holder) that gave it this deadline.
    pub(super) replica: u64,
    pub(super) failed_trials: u32,
    pub(super) label: Reason,
}

#[derive(Clone, Debug)]
pub(super) struct SharedOverride {
    pub(super) token: u64,
    pub(super) to: Override,
    pub(super) until: Instant,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug)]
pub(super) struct SharedCheck {
    pub(super) token: u64,
    /// The [holder](super::store::Lease::holder) that ran the check.
    pub(super) replica: u64,
    /// The time at which the check began, or earlier.
    pub(super) began: Instant,
    pub(super) depth: Depth,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Default)]
struct Votes {
    down: usize,
    up: usize,
    /// Those of replicas whose names sort before this one's.
    down_before: usize,
    up_before: usize,
    /// The end of this replica's own vote, if it has voted.
    own_until: Option<Instant>,
}

impl SharedCheck {
    pub(super) fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Success | Outcome::Answered)
    }
}

/// The names that a replica uses in keys.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) replica: Arc<str>,
    pub(super) scope: Arc<str>,
}

impl Contents {
    /// Reads the entries of a reply. Remaining times count from `asked_at`, so that no deadline is later than in the store.
    pub(super) fn read(entries: Vec<Entry>, names: &Names, asked_at: Instant) -> Self {
        let mut contents = Self::default();
        for entry in entries {
            if contents.add(&entry, names, asked_at).is_none() {
                contents.unreadable = Some(entry.key);
            }
        }
        contents
    }

    /// Adds an entry. Returns `None` if the entry cannot be read.
    fn add(&mut self, entry: &Entry, names: &Names, asked_at: Instant) -> Option<()> {
        let Some(key) = entry.key.strip_prefix(VERSION) else {
            return is_of_other_version(&entry.key).then_some(());
        };
        let (kind, name) = key.split_once('/')?;
        let until = after(asked_at, entry.remaining);
        let token = entry.token;
        match kind {
            "open" => {
                let window = parse_window(token, until, &entry.value)?;
                self.open.insert(name.into(), window);
            }
            "throttled" => {
                let (scope, provider) = name.split_once('/')?;
                let window = parse_window(token, until, &entry.value)?;
                if *scope == *names.scope {
                    self.throttled.insert(provider.into(), window);
                }
            }
            "waits" => {
                self.waits.insert(name.into(), (token, until));
            }
            "ended" => {
                self.ended.insert(parse_token(name)?);
            }
            "vote" => {
                let (outage, replica) = name.split_once('/')?;
                let votes = self.votes.entry(parse_token(outage)?).or_default();
                let is_before = usize::from(*replica < *names.replica);
                match entry.value.as_str() {
                    "down" => {
                        votes.down += 1;
                        votes.down_before += is_before;
                    }
                    "up" => {
                        votes.up += 1;
                        votes.up_before += is_before;
                    }
                    _ => return None,
                }
                if *replica == *names.replica {
                    votes.own_until = Some(until);
                }
            }
            "check" => {
                let age = CHECK_FOR.saturating_sub(entry.remaining);
                let check = parse_check(token, &entry.value, age, asked_at)?;
                self.checks.insert(name.into(), check);
            }
            "forced" => {
                let (to, reason) = entry.value.split_once(' ')?;
                let forced = SharedOverride {
                    token,
                    to: to.parse().ok()?,
                    until: until.min(after(asked_at, Override::LONGEST_FROM_OUTSIDE)),
                    reason: Reason::display(reason),
                };
                self.forced.insert(name.into(), forced);
            }
            "replica" => {
                let rows = entry.value.lines().take(LONGEST_ROW).map(parse_row);
                self.replicas
                    .insert(name.into(), rows.collect::<Option<_>>()?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Returns whether this provider has an entry.
    pub(super) fn mentions(&self, id: &str) -> bool {
        self.open.contains_key(id)
            || self.throttled.contains_key(id)
            || self.forced.contains_key(id)
            || self.checks.contains_key(id)
    }

    pub(super) fn window(&self, evidence: Evidence, id: &str) -> Option<&SharedWindow> {
        match evidence {
            Evidence::Failures => self.open.get(id),
            Evidence::Throttles => self.throttled.get(id),
        }
    }

    /// Returns whether a replica has ended this outage or override.
    pub(super) fn has_ended(&self, token: u64) -> bool {
        self.ended.contains(&token)
    }

    /// Returns whether at least two replicas have found the provider down, and at least as many as have found it up.
    pub(super) fn has_quorum(&self, outage: u64) -> bool {
        let votes = self.votes.get(&outage);
        votes
            .is_some_and(|votes| votes.down >= 2 && votes.down >= votes.up && votes.up < MOST_VOTES)
    }

    /// Returns whether another replica than `holder` waits for the trial lease.
    pub(super) fn waits_other_than(&self, holder: u64, id: &str, now: Instant) -> bool {
        let waits = self.waits.get(id);
        waits.is_some_and(|(replica, until)| *replica != holder && *until > now)
    }

    /// Returns whether the store shows until `until` that a replica waits for the trial lease.
    pub(super) fn waits(&self, id: &str, until: Instant) -> bool {
        self.waits.get(id).is_some_and(|(_, shown)| *shown > until)
    }

    /// Returns whether this replica should vote: its vote ends before `until`, and few replicas with a smaller name have the same
    /// answer. So many replicas may vote at first, and only the first names renew their votes.
    pub(super) fn lacks_vote(&self, outage: u64, is_down: bool, until: Instant) -> bool {
        self.votes.get(&outage).is_none_or(|votes| {
            let before = if is_down {
                votes.down_before
            } else {
                votes.up_before
            };
            before < MOST_VOTES && votes.own_until.is_none_or(|own_until| own_until < until)
        })
    }
}

pub(super) fn open_key(provider: &str) -> String {
    format!("{VERSION}open/{provider}")
}

pub(super) fn throttled_key(names: &Names, provider: &str) -> String {
    format!("{VERSION}throttled/{}/{provider}", names.scope)
}

pub(super) fn forced_key(provider: &str) -> String {
    format!("{VERSION}forced/{provider}")
}

/// Returns the key of the lease for a trial. Replicas share the lease only if they use the same `ttl`.
pub(super) fn trial_key(provider: &str, ttl: Duration) -> String {
    format!("{VERSION}trial/{}/{provider}", ttl.as_millis())
}

/// Returns the key of the lease for a check. Replicas share the lease only if their checks have the same depth and interval.
pub(super) fn check_key(provider: &str, depth: Depth, interval: Duration, kind: &str) -> String {
    let depth = depth_name(depth);
    format!(
        "{VERSION}check/{depth}/{kind}/{}/{provider}",
        interval.as_millis()
    )
}

pub(super) fn window_value(replica: u64, failed_trials: u32, reason: Option<&Reason>) -> String {
    format!("{replica:016x} {failed_trials} {}", label_of(reason))
}

/// Returns the label only, because a reason's text may contain details that other processes must not see.
fn label_of(reason: Option<&Reason>) -> &str {
    prefix(
        reason.map_or("error", |reason| reason.label()),
        LONGEST_LABEL,
    )
}

pub(super) fn forced_value(to: Override, reason: &Reason) -> String {
    format!("{to} {}", reason.as_str())
}

/// Creates the write for the end of an outage or override. Its time is set when it is sent.
pub(super) fn ended(token: u64) -> Write {
    Write {
        key: format!("{VERSION}ended/{token:016x}"),
        token,
        value: String::new(),
        ttl: Duration::ZERO,
        rule: WriteRule::Replace,
    }
}

pub(super) fn waits(provider: &str, holder: u64, ttl: Duration) -> Write {
    Write {
        key: format!("{VERSION}waits/{provider}"),
        token: holder,
        value: String::new(),
        ttl,
        rule: WriteRule::Replace,
    }
}

pub(super) fn vote(names: &Names, outage: u64, is_down: bool, ttl: Duration) -> Write {
    Write {
        key: format!("{VERSION}vote/{outage:016x}/{}", names.replica),
        token: outage,
        value: if is_down { "down" } else { "up" }.to_owned(),
        ttl,
        rule: WriteRule::Replace,
    }
}

pub(super) fn check(provider: &str, check: &SharedCheck, now: Instant) -> Option<Write> {
    let depth = depth_name(check.depth);
    let (result, reason) = match &check.outcome {
        Outcome::Success => ("passed", None),
        Outcome::Answered => ("answered", None),
        Outcome::Failure { reason, .. } | Outcome::Fatal { reason } => ("failed", Some(reason)),
        // A throttle is shared as an open window of its quota scope.
        Outcome::Throttled { .. } | Outcome::Neutral => return None,
    };
    Some(Write {
        key: format!("{VERSION}check/{provider}"),
        token: check.token,
        value: format!(
            "{:016x} {} {depth} {result} {}",
            check.replica,
            (now - check.began).as_millis(),
            label_of(reason)
        ),
        ttl: CHECK_FOR,
        rule: WriteRule::Replace,
    })
}

pub(super) fn row(
    names: &Names,
    unhealthy: impl Iterator<Item = ProviderHealth>,
    ttl: Duration,
) -> Write {
    let rows = unhealthy.filter(|health| !health.id.contains('\n'));
    let lines = rows.take(LONGEST_ROW).map(|health| {
        let cause = health.cause.map_or("-", Cause::as_str);
        format!("{} {cause} {}\n", health.state, health.id)
    });
    Write {
        key: format!("{VERSION}replica/{}", names.replica),
        token: 0,
        value: lines.collect(),
        ttl,
        rule: WriteRule::Replace,
    }
}

/// Removes the row of a replica that leaves.
pub(super) fn no_row(names: &Names) -> Write {
    Write {
        rule: WriteRule::Remove,
        ..row(names, std::iter::empty(), Duration::ZERO)
    }
}

fn depth_name(depth: Depth) -> &'static str {
    match depth {
        Depth::Reachability => "reachability",
        Depth::Functional => "functional",
    }
}

fn parse_row(line: &str) -> Option<ReplicaRow> {
    let (state, rest) = line.split_once(' ')?;
    let (cause, id) = rest.split_once(' ')?;
    let cause = match cause {
        "-" => None,
        cause => Some(cause.parse().ok()?),
    };
    Some(ReplicaRow {
        provider: id.into(),
        state: state.parse().ok()?,
        cause,
    })
}

fn parse_window(token: u64, until: Instant, value: &str) -> Option<SharedWindow> {
    let mut parts = value.splitn(3, ' ');
    Some(SharedWindow {
        token,
        until,
        replica: parse_token(parts.next()?)?,
        failed_trials: parts.next()?.parse().ok()?,
        label: from_peer(parts.next()?),
    })
}

fn parse_check(token: u64, value: &str, age: Duration, now: Instant) -> Option<SharedCheck> {
    let mut parts = value.splitn(5, ' ');
    let replica = parse_token(parts.next()?)?;
    let took = Duration::from_millis(parts.next()?.parse().ok()?);
    let ago = age.saturating_add(took);
    let depth = match parts.next()? {
        "reachability" => Depth::Reachability,
        "functional" => Depth::Functional,
        _ => return None,
    };
    let result = parts.next()?;
    let reason = from_peer(parts.next()?);
    let outcome = match result {
        "passed" => Outcome::Success,
        "answered" => Outcome::Answered,
        "failed" => Outcome::failure(reason),
        _ => return None,
    };
    Some(SharedCheck {
        token,
        replica,
        began: now.checked_sub(ago).unwrap_or(now),
        depth,
        outcome,
    })
}

fn from_peer(label: &str) -> Reason {
    Reason::labelled(prefix(label, LONGEST_LABEL), "reported by another replica")
}

fn is_of_other_version(key: &str) -> bool {
    let version = key.split_once('/').map(|(version, _)| version);
    version.is_some_and(|version| version.parse::<u32>().is_ok())
}

fn parse_token(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}
