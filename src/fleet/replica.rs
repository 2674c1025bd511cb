use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    contents::{
        self, Contents, LONGEST_ID, SharedCheck, open_key, row, throttle_value, throttled_key,
        trial_key, window_value,
    },
    forced::Forced,
    outage::{Evidence, Outage, Reaction},
    settings::{Settings, Share},
    store::{Entry, Lease, Request, Write},
    trial::Trial,
};
use crate::{
    breaker::{Depth, Report, ReportedPhase},
    cache::{HealthCache, Provider},
    outcome::Outcome,
    util::time::{after, random_token},
    view::State,
};

/// Polls for which a warned breaker waits for a success before a failure, or a vote of others, opens it: two, which can be a
/// tenth early.
const POLLS_OF_PATIENCE: f64 = 1.8;

/// This process in its fleet: what it has shared of each provider, and what the store held last.
pub(super) struct Replica {
    settings: Settings,
    /// Identifies this process as a holder of leases.
    holder: u64,
    contents: Arc<Contents>,
    known: HashMap<Arc<str>, Known>,
    /// The row that the store has, and the time at which to write it again.
    row: Option<(String, Instant)>,
}

/// A request, and the states of the breakers from which it was made.
pub(super) struct Prepared {
    pub(super) request: Request,
    reports: Vec<(Provider, Report)>,
    /// For each of the request's leases, the index of its breaker in `reports`.
    trials: Vec<usize>,
    at: Instant,
}

/// What this process shares of one provider.
struct Known {
    failures: Outage,
    throttles: Outage,
    forced: Forced,
    trial: Trial,
    /// The last check whose result was published here or applied.
    last_check: Option<u64>,
    /// The replica whose check failed last, if no other check has passed since.
    failed_check_by: Option<u64>,
}

impl Replica {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            holder: random_token(),
            contents: Arc::default(),
            known: HashMap::new(),
            row: None,
        }
    }

    pub(super) fn contents(&self) -> &Arc<Contents> {
        &self.contents
    }

    /// Creates a request for a lease of this process.
    pub(super) fn lease(&self, key: String, ttl: Duration) -> Lease {
        Lease {
            key,
            holder: self.holder,
            ttl,
        }
    }

    /// Returns the write that publishes the result of a check of this process.
    pub(super) fn publish_check(
        &mut self,
        provider: &Arc<str>,
        depth: Depth,
        outcome: Outcome,
    ) -> Option<Write> {
        let check = SharedCheck {
            token: random_token(),
            replica: self.holder,
            depth,
            outcome,
        };
        let known = known(&mut self.known, provider);
        known.last_check = Some(check.token);
        known.failed_check_by = (!check.is_good()).then_some(self.holder);
        contents::check(provider, &check, self.settings.poll_interval * 5)
    }

    /// Collects the changes and requests of all breakers.
    pub(super) fn prepare(&mut self, cache: &HealthCache, now: Instant) -> Prepared {
        let mut prepared = Prepared {
            request: Request::default(),
            reports: Vec::new(),
            trials: Vec::new(),
            at: now,
        };
        for provider in cache.providers().filter(|it| it.id().len() <= LONGEST_ID) {
            let report = provider.report();
            self.prepare_one(&provider, &report, &mut prepared);
            prepared.reports.push((provider, report));
        }
        if self.settings.shares_health {
            self.prepare_row(&mut prepared);
        }
        if self.known.len() > prepared.reports.len() {
            let ids: HashSet<_> = prepared.reports.iter().map(|(it, _)| it.id()).collect();
            self.known.retain(|id, _| ids.contains(&**id));
        }
        prepared
    }

    fn prepare_one(&mut self, provider: &Provider, report: &Report, prepared: &mut Prepared) {
        let (id, now) = (provider.shared_id(), prepared.at);
        let is_healthy = report.phase == ReportedPhase::Closed && report.forced.is_none();
        if is_healthy && !self.known.contains_key(id) {
            return;
        }
        let known = known(&mut self.known, id);
        let (request, contents) = (&mut prepared.request, &self.contents);

        let reason = report.last_error.as_ref();
        let window = contents.open.get(id).filter(|it| it.until > now);
        let value = window_value(report.failed_trials, reason);
        let write = Write::extend(open_key(id), value);
        known.failures.prepare(report, window, request, now, write);
        if self.settings.share == Share::Quorum {
            known
                .failures
                .prepare_vote(report, contents, &self.settings.names, request, now);
        }
        let window = contents.throttled.get(id).filter(|it| it.until > now);
        let key = throttled_key(&self.settings.names, id);
        let write = Write::extend(key, throttle_value(reason));
        known.throttles.prepare(report, window, request, now, write);
        if self.settings.shares_overrides {
            let shared = contents.forced.get(id).filter(|it| it.until > now);
            known.forced.prepare(id, report, shared, request, now);
        }

        let lease = Lease {
            key: trial_key(id, self.settings.trial_lease),
            holder: self.holder,
            ttl: self.settings.trial_lease,
        };
        if known.trial.must_give_back(report, now) {
            request.releases.push(lease);
        } else if known
            .trial
            .must_ask(report, self.settings.poll_interval, now)
        {
            request.leases.push(lease);
            prepared.trials.push(prepared.reports.len());
        }
        if known.is_idle() {
            self.known.remove(id);
        }
    }

    fn prepare_row(&mut self, prepared: &mut Prepared) {
        let ttl = self.settings.poll_interval * 10;
        let unhealthy = prepared.reports.iter().filter_map(|(provider, report)| {
            let is_healthy = report.phase == ReportedPhase::Closed && report.forced.is_none();
            let health = (!is_healthy).then(|| provider.health())?;
            (health.state != State::Closed || health.cause.is_some()).then_some(health)
        });
        let write = row(&self.settings.names, unhealthy, ttl);
        let is_there = self
            .row
            .as_ref()
            .is_some_and(|(value, again_at)| *value == write.value && prepared.at < *again_at);
        if !is_there {
            self.row = Some((write.value.clone(), after(prepared.at, ttl / 2)));
            prepared.request.writes.push(write);
        }
    }

    /// Applies the other replicas' changes to the breakers.
    pub(super) fn apply(&mut self, prepared: &Prepared, entries: Vec<Entry>, granted: &[bool]) {
        for (provider, report) in &prepared.reports {
            if !report.is_in_fleet {
                provider.join_fleet(self.settings.trial_wait);
            }
        }
        self.contents = Contents::read(entries, &self.settings.names, prepared.at).into();
        for (trial, is_granted) in prepared.trials.iter().zip(granted) {
            let (provider, report) = &prepared.reports[*trial];
            if *is_granted {
                let until = after(prepared.at, self.settings.trial_lease);
                let known = known(&mut self.known, provider.shared_id());
                known.trial.granted(report.epoch, until);
                provider.trial_lease_granted(report.epoch, until);
            }
        }
        for (provider, report) in &prepared.reports {
            self.apply_one(provider, report, prepared.at);
        }
    }

    fn apply_one(&mut self, provider: &Provider, report: &Report, now: Instant) {
        let (id, contents) = (provider.shared_id(), &self.contents);
        if !contents.mentions(id) && !self.known.contains_key(id) {
            return;
        }
        let known = known(&mut self.known, id);
        // Random errors and replicas that are served get the time for a success.
        let patience = self.settings.poll_interval.mul_f64(POLLS_OF_PATIENCE);
        let react = |outage, warned_for| match self.settings.share {
            Share::Trust => Reaction::Open,
            Share::Quorum if warned_for > patience && contents.has_quorum(outage) => Reaction::Open,
            Share::Advise | Share::Quorum => Reaction::Warn,
        };
        let window = contents.open.get(id);
        known
            .failures
            .apply(provider, report, window, contents, now, patience, react);
        let window = contents.throttled.get(id);
        known
            .throttles
            .apply(provider, report, window, contents, now, patience, |_, _| {
                Reaction::Open
            });
        if self.settings.shares_overrides {
            known
                .forced
                .apply(provider, contents.forced.get(id), contents);
        }
        if let Some(check) = contents.checks.get(id) {
            known.apply_check(provider, report, check, self.settings.share);
        }
        if known.is_idle() {
            self.known.remove(id);
        }
    }

    /// The store cannot be reached: the breakers go on without it.
    pub(super) fn disconnect(&mut self, cache: &HealthCache) {
        self.contents = Arc::default();
        self.row = None;
        for provider in cache.providers() {
            provider.leave_fleet();
        }
        for known in self.known.values_mut() {
            known.failures.disconnect();
            known.throttles.disconnect();
            known.trial = Trial::default();
        }
    }

    /// Leaves the fleet. Returns the request that gives back the leases.
    pub(super) fn leave(&mut self, cache: &HealthCache) -> Request {
        let held = self.known.iter().filter(|(_, known)| known.trial.is_held());
        let releases = held.map(|(id, _)| Lease {
            key: trial_key(id, self.settings.trial_lease),
            holder: self.holder,
            ttl: self.settings.trial_lease,
        });
        let releases = releases.collect();
        self.disconnect(cache);
        Request {
            releases,
            ..Request::default()
        }
    }
}

impl Known {
    fn new() -> Self {
        Self {
            failures: Outage::of(Evidence::Failures),
            throttles: Outage::of(Evidence::Throttles),
            forced: Forced::default(),
            trial: Trial::default(),
            last_check: None,
            failed_check_by: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.failures.is_idle()
            && self.throttles.is_idle()
            && self.forced.is_idle()
            && self.trial.is_idle()
            && self.last_check.is_none()
    }

    /// Applies the result of another replica's check.
    ///
    /// One replica's failed checks only warn a closed breaker, because that replica's own network may be at fault. The next failed
    /// check of a second replica opens it.
    fn apply_check(
        &mut self,
        provider: &Provider,
        report: &Report,
        check: &SharedCheck,
        share: Share,
    ) {
        if self.last_check.replace(check.token) == Some(check.token) {
            return;
        }
        let others = self.failed_check_by;
        self.failed_check_by = (!check.is_good()).then_some(check.replica);
        let is_accused =
            !check.is_good() && report.phase == ReportedPhase::Closed && share != Share::Trust;
        if is_accused && others.is_none() {
            provider.warn(report.epoch, true);
        } else if !is_accused || others != Some(check.replica) {
            provider.check_ended(report.epoch, check.depth, check.outcome.clone());
        }
    }
}

fn known<'a>(all: &'a mut HashMap<Arc<str>, Known>, id: &Arc<str>) -> &'a mut Known {
    all.entry(Arc::clone(id)).or_insert_with(Known::new)
}
