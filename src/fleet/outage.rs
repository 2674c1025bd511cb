use std::time::Duration;

use tokio::time::Instant;

use super::{
    contents::{Contents, Evidence, Names, SharedWindow, ended, vote},
    pending::Pending,
    store::{Request, Write, WriteRule},
};
use crate::{
    breaker::{PeerEffect, PeerWindow, Report, ReportedPhase},
    cache::Provider,
    util::time::{after, random_token},
    view::Cause,
};

/// Minimum time for which the store keeps the end of an outage.
const ENDED_FOR: Duration = Duration::from_secs(120);

/// Time for which this replica remembers an outage that is over, after it last saw the outage's window in the store.
const OVER_FOR: Duration = Duration::from_secs(600);

/// Duration of a vote. It is renewed after half of this time.
const VOTE_FOR: Duration = Duration::from_secs(60);

/// Deadlines that differ by less count as the same.
const MARGIN: Duration = Duration::from_millis(100);

/// The effect of another replica's open window on a closed breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The breaker stays closed, but opens after a failure if no success follows.
    Warn,
    /// The breaker opens.
    Open,
}

/// This replica's part in a provider's outage.
#[derive(Debug)]
pub(super) struct Outage {
    evidence: Evidence,
    current: Option<Current>,
    warning: Option<Warning>,
    /// The last outage that is over for this replica, and the time until which it is remembered.
    over: Option<(u64, Instant)>,
}

/// The outage for which the breaker is open.
#[derive(Clone, Copy, Debug)]
struct Current {
    token: u64,
    /// The number of times that the breaker had closed when the outage began.
    closings: u64,
    /// This replica's own calls or checks have found the outage.
    is_proved: bool,
    /// The outage was joined in the request that is being answered. If the answer has its end, it was over before.
    is_unconfirmed: bool,
    /// The last deadline that the breaker took over from another replica. It does not count as evidence of this replica.
    adopted: Option<Instant>,
    /// The replica that gave this deadline. The same replica cannot extend the window twice in a row, because its own network may
    /// be at fault.
    extended_by: Option<u64>,
}

/// The warning of a closed breaker about another replica's outage.
#[derive(Clone, Copy, Debug)]
struct Warning {
    outage: u64,
    since: Instant,
    /// The time of the poll that first found a failure, if no success has followed.
    failing_since: Option<Instant>,
}

impl Outage {
    pub(super) fn of(evidence: Evidence) -> Self {
        Self {
            evidence,
            current: None,
            warning: None,
            over: None,
        }
    }

    /// Returns whether there is no outage, no warning and no outage to remember.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.warning.is_none() && self.over.is_none()
    }

    /// Writes this replica's open window, or the end of its outage. `write` is the entry of the window, without token and time.
    pub(super) fn prepare(
        &mut self,
        id: &str,
        report: &Report,
        contents: &Contents,
        write: &Write,
        draft: &mut Draft<'_>,
    ) {
        let now = draft.now;
        let shared = contents.window(self.evidence, id);
        let shared = shared.filter(|it| it.until > now);
        self.note_success_after_warning(report, now);
        let is_closed = report.phase == ReportedPhase::Closed;
        let has_closed = |current: &mut Current| is_closed || current.closings != report.closings;
        if let Some(Current { token, .. }) = self.current.take_if(has_closed) {
            self.end(token, now);
            let shared_until = shared.map_or(now, |shared| shared.until);
            let until = after(now, ENDED_FOR).max(shared_until);
            draft.pending.push(remove(write, token), until);
            draft.pending.push(ended(token), until);
        }
        if let ReportedPhase::Open { cause, until } = report.phase {
            if until > now && self.is_proved_by(cause, until) {
                let token = self.join(report, shared, contents, write, draft.request);
                let is_there =
                    shared.is_some_and(|it| it.token == token && it.until + MARGIN >= until);
                if !is_there && !contents.has_ended(token) {
                    draft.request.writes.push(Write {
                        token,
                        ttl: until - now,
                        ..write.clone()
                    });
                }
            }
        }
        match &mut self.over {
            Some((over, forgotten_at)) if shared.is_some_and(|it| it.token == *over) => {
                *forgotten_at = after(now, OVER_FOR);
            }
            over => drop(over.take_if(|(_, forgotten_at)| *forgotten_at <= now)),
        }
    }

    /// Joins the outage in the store, or begins one if there is none or it is over. Returns the outage's token.
    fn join(
        &mut self,
        report: &Report,
        shared: Option<&SharedWindow>,
        contents: &Contents,
        write: &Write,
        request: &mut Request,
    ) -> u64 {
        if let Some(current) = &mut self.current {
            current.is_proved = true;
            return current.token;
        }
        let over = shared.filter(|it| self.is_over(it.token, contents));
        if let Some(over) = over {
            request.writes.push(remove(write, over.token));
        }
        let joined = shared.filter(|_| over.is_none());
        let token = joined.map_or_else(random_token, |shared| shared.token);
        self.current = Some(Current {
            token,
            closings: report.closings,
            is_proved: true,
            is_unconfirmed: true,
            adopted: None,
            extended_by: None,
        });
        token
    }

    /// Votes whether the provider is down, if this replica has called or checked it since the outage began.
    pub(super) fn prepare_vote(
        &self,
        id: &str,
        contents: &Contents,
        names: &Names,
        draft: &mut Draft<'_>,
    ) {
        // Nobody counts the votes of an outage that the store no longer holds.
        let Some(shared) = contents.window(self.evidence, id) else {
            return;
        };
        let down = self.current.filter(|current| current.is_proved);
        let (outage, is_down) = match (down, self.current, self.over) {
            (Some(current), ..) => (current.token, true),
            (None, None, Some((over, _))) if over == shared.token => (over, false),
            _ => return,
        };
        if contents.lacks_vote(outage, is_down, after(draft.now, VOTE_FOR / 2)) {
            let vote = vote(names, outage, is_down, VOTE_FOR);
            draft.request.writes.push(vote);
        }
    }

    /// Applies the outage in the store, or its end, to the breaker.
    pub(super) fn apply(
        &mut self,
        provider: &Provider,
        report: &Report,
        contents: &Contents,
        now: Instant,
        rules: &Rules<impl Fn(u64, Duration) -> Reaction>,
    ) {
        let shared = contents.window(self.evidence, provider.id());
        let has_ended = |current: &Current| contents.has_ended(current.token);
        if let Some(current) = self.current.filter(has_ended) {
            if current.is_unconfirmed {
                self.current = None;
            } else if provider.peer_closed(report.epoch) {
                self.end(current.token, now);
            }
            return;
        }
        if let Some(current) = &mut self.current {
            current.is_unconfirmed = false;
        }
        let Some(shared) = shared.filter(|it| !self.is_over(it.token, contents)) else {
            if self.warning.take().is_some() {
                provider.warn(report.epoch, false);
            }
            return;
        };
        let is_closed = report.phase == ReportedPhase::Closed;
        if is_closed {
            let warning = self.warning.filter(|it| it.outage == shared.token);
            let warned_for = warning.map_or(Duration::ZERO, |it| now - it.since);
            if (rules.react)(shared.token, warned_for) == Reaction::Warn {
                return self.warn(provider, report, shared.token, rules.patience, now);
            }
        }
        let extended_by = self.current.and_then(|current| current.extended_by);
        let is_repeated = extended_by == Some(shared.replica) && !rules.trusts_one;
        let effect = provider.peer_opened(
            report.epoch,
            PeerWindow {
                opens: is_closed,
                extends: !is_repeated,
                until: shared.until,
                is_throttle: self.evidence == Evidence::Throttles,
                failed_trials: shared.failed_trials,
                reason: shared.label.clone(),
            },
        );
        if effect != PeerEffect::Ignored {
            let current = self.current.get_or_insert(Current {
                token: shared.token,
                closings: report.closings,
                is_proved: false,
                is_unconfirmed: false,
                adopted: None,
                extended_by: None,
            });
            current.token = shared.token;
            if let PeerEffect::Extended(until) = effect {
                current.adopted = Some(until);
                current.extended_by = Some(shared.replica);
            }
        }
    }

    /// Warns a closed breaker. Opens a warned breaker that has had a failure, and no success, for `patience`.
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

    /// Ends the warning, because the breaker has left the fleet.
    pub(super) fn disconnect(&mut self) {
        self.warning = None;
    }

    /// Notes that a success has ended the warning. For this replica, the outage is then over.
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
    }

    fn is_over(&self, token: u64, contents: &Contents) -> bool {
        self.over.is_some_and(|(over, _)| over == token) || contents.has_ended(token)
    }

    /// Returns whether this replica's own calls or checks have opened the breaker until this deadline.
    fn is_proved_by(&self, cause: Cause, until: Instant) -> bool {
        let is_own = match self.evidence {
            Evidence::Failures => matches!(cause, Cause::Failures | Cause::Probe),
            Evidence::Throttles => cause == Cause::Throttled,
        };
        let adopted = self.current.and_then(|current| current.adopted);
        is_own && adopted != Some(until)
    }
}

/// The request that is being made.
pub(super) struct Draft<'a> {
    pub(super) request: &'a mut Request,
    pub(super) pending: &'a mut Pending,
    pub(super) now: Instant,
}

/// The rules by which other replicas' windows change a breaker.
pub(super) struct Rules<F> {
    /// Returns the effect on a closed breaker, from the outage's token and the time since the warning.
    pub(super) react: F,
    /// Time for which a warned breaker that has failed waits for a success.
    pub(super) patience: Duration,
    /// The same replica may extend an open window several times in a row.
    pub(super) trusts_one: bool,
}

fn remove(write: &Write, token: u64) -> Write {
    Write {
        token,
        rule: WriteRule::Remove,
        ..write.clone()
    }
}
