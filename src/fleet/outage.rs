use std::time::Duration;

use tokio::time::Instant;

use super::{
    contents::{Contents, Names, SharedWindow, ended, vote},
    store::{Request, Write, WriteRule},
};
use crate::{
    breaker::{PeerWindow, Report, ReportedPhase},
    cache::Provider,
    util::time::{after, random_token},
    view::Cause,
};

/// Time for which the store keeps the end of an outage or of an override.
pub(super) const ENDED_FOR: Duration = Duration::from_secs(120);

/// Time for which an outage that is over is remembered, after the store has last shown it.
const OVER_FOR: Duration = Duration::from_secs(600);

/// Time for which a vote holds. It is renewed when half of it has passed.
const VOTE_FOR: Duration = Duration::from_secs(60);

/// Deadlines that differ by less are the same.
const MARGIN: Duration = Duration::from_millis(100);

/// The evidence of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Failed calls or checks.
    Failures,
    /// A pause that the provider asked for.
    Throttles,
}

/// The effect of another replica's open window on a closed breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// A failure opens it, if no success follows.
    Warn,
    Open,
}

/// This replica's part in a provider's outage.
#[derive(Debug)]
pub(super) struct Outage {
    evidence: Evidence,
    /// The outage for which the breaker is open, and how often the breaker had closed when it began.
    current: Option<(u64, u64)>,
    warning: Option<Warning>,
    /// The last outage that is over for this replica, and the time at which it is forgotten.
    over: Option<(u64, Instant)>,
    /// The deadline that other replicas have given the breaker, which is not this replica's evidence.
    adopted: Option<Instant>,
}

/// Another replica's outage, of which the closed breaker is warned.
#[derive(Clone, Copy, Debug)]
struct Warning {
    outage: u64,
    since: Instant,
    /// The time of the first failure, without a success since.
    failing_since: Option<Instant>,
}

impl Outage {
    pub(super) fn of(evidence: Evidence) -> Self {
        Self {
            evidence,
            current: None,
            warning: None,
            over: None,
            adopted: None,
        }
    }

    /// Returns whether the breaker is neither open for a shared outage nor warned of one.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.warning.is_none() && self.over.is_none()
    }

    /// Writes this replica's open window, or the end of the outage. `shared` is the window in the store, and `write` makes the
    /// entry of this one.
    pub(super) fn prepare(
        &mut self,
        report: &Report,
        shared: Option<&SharedWindow>,
        request: &mut Request,
        now: Instant,
        write: Write,
    ) {
        self.note_success_after_warning(report, now);
        let is_closed = report.phase == ReportedPhase::Closed;
        let has_closed = |(_, closings): &mut (u64, u64)| is_closed || *closings != report.closings;
        if let Some((token, _)) = self.current.take_if(has_closed) {
            self.end(token, now);
            let removal = Write {
                token,
                rule: WriteRule::Remove,
                ..write.clone()
            };
            request.writes.extend([removal, ended(token, ENDED_FOR)]);
        }
        if let ReportedPhase::Open { cause, until } = report.phase {
            if until > now && self.is_proved_by(cause, until) {
                self.publish(report, until, shared, write, request, now);
            }
        }
        match &mut self.over {
            Some((over, forgotten_at)) if shared.is_some_and(|it| it.token == *over) => {
                *forgotten_at = after(now, OVER_FOR);
            }
            over => drop(over.take_if(|(_, forgotten_at)| *forgotten_at <= now)),
        }
    }

    fn publish(
        &mut self,
        report: &Report,
        until: Instant,
        shared: Option<&SharedWindow>,
        write: Write,
        request: &mut Request,
        now: Instant,
    ) {
        let is_over = |shared: &&SharedWindow| self.over.is_some_and(|(it, _)| it == shared.token);
        let over = shared.filter(is_over);
        if let Some(over) = over {
            request.writes.push(Write {
                token: over.token,
                rule: WriteRule::Remove,
                ..write.clone()
            });
        }
        let shared = shared.filter(|_| over.is_none());
        let (token, _) = *self.current.get_or_insert_with(|| {
            let token = shared.map_or_else(random_token, |shared| shared.token);
            (token, report.closings)
        });
        let is_there = shared.is_some_and(|shared| shared.until + MARGIN >= until);
        if !is_there {
            request.writes.push(Write {
                token,
                ttl: until - now,
                ..write
            });
        }
    }

    /// Votes whether the provider is down, if this replica has called it since the outage began.
    pub(super) fn prepare_vote(
        &self,
        report: &Report,
        contents: &Contents,
        names: &Names,
        request: &mut Request,
        now: Instant,
    ) {
        let is_down = match report.phase {
            ReportedPhase::Closed => false,
            ReportedPhase::Open {
                cause: Cause::Peer, ..
            } => return,
            ReportedPhase::Open { .. } | ReportedPhase::HalfOpen => true,
        };
        let current = self.current.map(|(token, _)| token);
        let over = self.over.map(|(token, _)| token);
        let outage = if is_down { current } else { over };
        let renewed_at = after(now, VOTE_FOR / 2);
        if let Some(outage) = outage.filter(|it| contents.lacks_vote(*it, is_down, renewed_at)) {
            request.writes.push(vote(names, outage, is_down, VOTE_FOR));
        }
    }

    /// Applies what the other replicas have found. `react` decides about a closed breaker.
    pub(super) fn apply(
        &mut self,
        provider: &Provider,
        report: &Report,
        shared: Option<&SharedWindow>,
        contents: &Contents,
        now: Instant,
        patience: Duration,
        react: impl FnOnce(u64, Duration) -> Reaction,
    ) {
        let current = self.current.map(|(token, _)| token);
        if let Some(token) = current.filter(|token| contents.has_ended(*token)) {
            if provider.peer_closed(report.epoch) {
                self.end(token, now);
            }
            return;
        }
        let Some(shared) = shared.filter(|it| !self.is_over(it.token, contents)) else {
            if self.warning.take().is_some() {
                provider.warn(report.epoch, false);
            }
            return;
        };
        let opens = match report.phase {
            ReportedPhase::Closed => {
                let warning = self.warning.filter(|it| it.outage == shared.token);
                let warned_for = warning.map_or(Duration::ZERO, |it| now - it.since);
                match react(shared.token, warned_for) {
                    Reaction::Open => true,
                    Reaction::Warn => {
                        self.warn(provider, report, shared.token, patience, now);
                        return;
                    }
                }
            }
            ReportedPhase::Open { .. } | ReportedPhase::HalfOpen => false,
        };
        self.current = Some((shared.token, report.closings));
        self.adopted = provider
            .peer_opened(
                report.epoch,
                PeerWindow {
                    opens,
                    until: shared.until,
                    is_throttle: self.evidence == Evidence::Throttles,
                    failed_trials: shared.failed_trials,
                    reason: shared.label.clone(),
                },
            )
            .or(self.adopted);
    }

    /// Warns a closed breaker, and opens one that is failing: that has had a failure and no success for the time of `patience`.
    fn warn(
        &mut self,
        provider: &Provider,
        report: &Report,
        outage: u64,
        patience: Duration,
        now: Instant,
    ) {
        let Some(warning) = self.warning.as_mut().filter(|it| it.outage == outage) else {
            if provider.warn(report.epoch, true) {
                self.warning = Some(Warning {
                    outage,
                    since: now,
                    failing_since: None,
                });
            }
            return;
        };
        if !report.is_failing {
            warning.failing_since = None;
        } else if now - *warning.failing_since.get_or_insert(now) >= patience {
            provider.open_warned(report.epoch);
        }
    }

    /// The breaker has left the fleet, which ends its warning.
    pub(super) fn disconnect(&mut self) {
        self.warning = None;
    }

    /// A success has lifted the warning: for this replica, the provider is up.
    fn note_success_after_warning(&mut self, report: &Report, now: Instant) {
        if report.is_warned {
            return;
        }
        if let Some(Warning { outage, .. }) = self.warning.take() {
            if report.phase == ReportedPhase::Closed {
                self.over = Some((outage, after(now, OVER_FOR)));
            }
        }
    }

    fn end(&mut self, token: u64, now: Instant) {
        self.over = Some((token, after(now, OVER_FOR)));
        self.current = None;
        self.adopted = None;
    }

    fn is_over(&self, token: u64, contents: &Contents) -> bool {
        self.over.is_some_and(|(over, _)| over == token) || contents.has_ended(token)
    }

    /// Returns whether this replica's own calls or checks have found the outage, until this deadline.
    fn is_proved_by(&self, cause: Cause, until: Instant) -> bool {
        let is_own = match self.evidence {
            Evidence::Failures => matches!(cause, Cause::Failures | Cause::Probe),
            Evidence::Throttles => cause == Cause::Throttled,
        };
        is_own && self.adopted != Some(until)
    }
}
