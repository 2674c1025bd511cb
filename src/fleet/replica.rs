use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    checks::Checks,
    contents::{
        self, Contents, Evidence, LONGEST_ID, open_key, row, throttled_key, trial_key, waits,
        window_value,
    },
    forced::Forced,
    outage::{Draft, Outage, Reaction, Rules},
    pending::Pending,
    settings::{Settings, Share},
    store::{Entry, Lease, Request, Write},
    trial::{Step, Trial},
};
use crate::{
    breaker::{Depth, LeaseTimes, Report, ReportedPhase},
    cache::{HealthCache, Provider, WeakProvider},
    outcome::Outcome,
    util::time::{after, random_token},
    view::State,
};

/// Number of polls for which a warned breaker waits for a success, before a failure or a quorum opens it. It is two polls, each
/// of which can come a tenth early.
const POLLS_OF_PATIENCE: f64 = 1.8;

/// Number of polls for which the store shows that a replica waits for the trial lease.
const POLLS_WAITING: u32 = 5;

/// Time for which a row is in the store. It is written again when half of it has passed, or when it changes.
const ROW_FOR: Duration = Duration::from_secs(60);

/// This process's part in its fleet: the state that it shares of each provider, and the last contents of the store.
pub(super) struct Replica {
    settings: Settings,
    /// Identifies this process as a holder of leases.
    holder: u64,
    /// `None` before the first exchange, and after the store was lost.
    contents: Option<Arc<Contents>>,
    pending: Pending,
    known: HashMap<Arc<str>, Known>,
    /// The breakers that are in the fleet.
    joined: HashMap<Arc<str>, WeakProvider>,
    /// The last row that was written, and the time at which to write it again.
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

/// The state that this process shares of one provider.
struct Known {
    /// Kept to detect that another provider has the same id later.
    provider: WeakProvider,
    failures: Outage,
    throttles: Outage,
    forced: Forced,
    trial: Trial,
    checks: Checks,
}

impl Replica {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            holder: random_token(),
            contents: None,
            pending: Pending::default(),
            known: HashMap::new(),
            joined: HashMap::new(),
            row: None,
        }
    }

    pub(super) fn contents(&self) -> Arc<Contents> {
        self.contents.clone().unwrap_or_default()
    }

    /// Creates a request for a lease of this process.
    pub(super) fn lease(&self, key: String, ttl: Duration) -> Lease {
        Lease {
            key,
            holder: self.holder,
            ttl,
        }
    }

    fn trial_lease(&self, id: &str) -> Lease {
        let ttl = self.settings.trial_lease;
        self.lease(trial_key(id, ttl), ttl)
    }

    /// Returns the write that publishes the result of a check of this process.
    pub(super) fn publish_check(
        &mut self,
        provider: &Provider,
        depth: Depth,
        outcome: Outcome,
        took: Duration,
    ) -> Option<Write> {
        let now = Instant::now();
        let checks = &mut known(&mut self.known, provider).checks;
        let check = checks.publish(self.holder, depth, outcome, took, now);
        contents::check(provider.id(), &check, now)
    }

    /// Returns whether this replica should confirm the failed check of another.
    pub(super) fn must_confirm(&self, id: &str) -> bool {
        let known = self.known.get(id);
        known.is_some_and(|known| known.checks.must_confirm(self.holder))
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
        self.forget_removed(&prepared);
        self.pending.add_to(&mut prepared.request, now);
        prepared
    }

    /// Removes breakers from the fleet that are no longer in the cache. Handles may still use them.
    fn forget_removed(&mut self, prepared: &Prepared) {
        let present: HashMap<_, _> = prepared
            .reports
            .iter()
            .map(|(it, _)| (it.id(), it))
            .collect();
        self.known.retain(|id, _| present.contains_key(&**id));
        self.joined.retain(|id, joined| {
            let is_there = present.get(&**id).is_some_and(|it| joined.is_of(it));
            if let (false, Some(removed)) = (is_there, joined.upgrade()) {
                removed.leave_fleet();
            }
            is_there
        });
    }

    fn prepare_one(&mut self, provider: &Provider, report: &Report, prepared: &mut Prepared) {
        let (id, now) = (provider.shared_id(), prepared.at);
        let is_healthy = report.phase == ReportedPhase::Closed && report.forced.is_none();
        if is_healthy && !self.known.contains_key(id) {
            return;
        }
        let (contents, lease) = (self.contents(), self.trial_lease(id));
        let known = known(&mut self.known, provider);
        let mut draft = Draft {
            request: &mut prepared.request,
            pending: &mut self.pending,
            now,
        };
        if self.settings.shares_overrides {
            let contents = self.contents.as_deref();
            known.forced.prepare(id, report, contents, &mut draft);
        }
        if report.observes_only {
            known.observe_only();
            return;
        }
        let names = &self.settings.names;
        let value = window_value(
            self.holder,
            report.failed_trials,
            report.last_error.as_ref(),
        );
        let write = Write::extend(open_key(id), value.clone());
        known
            .failures
            .prepare(id, report, &contents, &write, &mut draft);
        let write = Write::extend(throttled_key(names, id), value);
        known
            .throttles
            .prepare(id, report, &contents, &write, &mut draft);
        if self.settings.share == Share::Quorum {
            known
                .failures
                .prepare_vote(id, &contents, names, &mut draft);
        }

        let poll = self.settings.poll_interval;
        let request = &mut prepared.request;
        let is_waited_for = contents.waits_other_than(self.holder, id, now);
        match known.trial.step(provider, report, is_waited_for, poll, now) {
            Step::Nothing => {}
            Step::GiveBack => request.releases.push(lease),
            Step::Ask => {
                request.leases.push(lease);
                prepared.trials.push(prepared.reports.len());
                if known.trial.is_denied() && !contents.waits(id, after(now, poll)) {
                    request
                        .writes
                        .push(waits(id, self.holder, poll * POLLS_WAITING));
                }
            }
        }
        if known.is_idle() {
            self.known.remove(id);
        }
    }

    fn prepare_row(&mut self, prepared: &mut Prepared) {
        let all = prepared
            .reports
            .iter()
            .map(|(provider, _)| provider.health());
        let unhealthy = all.filter(|it| it.state != State::Closed || it.cause.is_some());
        let write = row(&self.settings.names, unhealthy, ROW_FOR);
        let is_there = self
            .row
            .as_ref()
            .is_some_and(|(value, again_at)| *value == write.value && prepared.at < *again_at);
        if !is_there {
            self.row = Some((write.value.clone(), after(prepared.at, ROW_FOR / 2)));
            prepared.request.writes.push(write);
        }
    }

    /// Applies the other replicas' changes to the breakers.
    pub(super) fn apply(&mut self, prepared: &Prepared, entries: Vec<Entry>, granted: &[bool]) {
        for (provider, report) in &prepared.reports {
            if !report.is_in_fleet {
                provider.join_fleet(LeaseTimes {
                    wait: self.settings.trial_wait,
                    answer: self.settings.poll_interval,
                });
                let id = Arc::clone(provider.shared_id());
                self.joined.insert(id, provider.downgrade());
            }
        }
        self.pending.confirm();
        let contents = Contents::read(entries, &self.settings.names, prepared.at);
        self.contents = Some(contents.into());
        for (trial, is_granted) in prepared.trials.iter().zip(granted) {
            let (provider, report) = &prepared.reports[*trial];
            let known = known(&mut self.known, provider);
            if *is_granted {
                let until = after(prepared.at, self.settings.trial_lease);
                known.trial.granted(report.epoch, prepared.at, until);
                provider.trial_lease_granted(report.epoch, until);
            } else {
                known.trial.denied();
            }
        }
        for (provider, report) in &prepared.reports {
            self.apply_one(provider, report, prepared.at);
        }
    }

    fn apply_one(&mut self, provider: &Provider, report: &Report, now: Instant) {
        let (id, contents) = (provider.shared_id(), &*self.contents());
        if !contents.mentions(id) && !self.known.contains_key(id) {
            return;
        }
        let known = known(&mut self.known, provider);
        if self.settings.shares_overrides {
            let shared = contents.forced.get(id);
            known
                .forced
                .apply(provider, shared, contents, &mut self.pending);
        }
        let share = self.settings.share;
        // Before the outages: the results are older.
        if let Some(check) = contents.checks.get(id) {
            let trusts_one = share == Share::Trust;
            known.checks.apply(provider, report, check, trusts_one);
        }
        if !report.observes_only {
            // Leaves time for a success, after a random error or on a replica that the provider serves.
            let patience = self.settings.poll_interval.mul_f64(POLLS_OF_PATIENCE);
            let rules = Rules {
                react: |outage, warned_for| match share {
                    Share::Trust => Reaction::Open,
                    Share::Quorum if warned_for > patience && contents.has_quorum(outage) => {
                        Reaction::Open
                    }
                    Share::Advise | Share::Quorum => Reaction::Warn,
                },
                patience,
                trusts_one: share == Share::Trust,
            };
            known
                .failures
                .apply(provider, report, contents, now, &rules);
            // A throttle needs no confirmation: the provider itself has asked for the pause.
            let rules = Rules {
                react: |_, _| Reaction::Open,
                patience,
                trusts_one: true,
            };
            known
                .throttles
                .apply(provider, report, contents, now, &rules);
        }
        if known.is_idle() {
            self.known.remove(id);
        }
    }

    /// The last exchange has failed, so the row may not have arrived.
    pub(super) fn failed(&mut self) {
        self.row = None;
    }

    /// Lets the breakers go on without the store.
    pub(super) fn disconnect(&mut self) {
        self.contents = None;
        self.row = None;
        for (_, joined) in self.joined.drain() {
            if let Some(provider) = joined.upgrade() {
                provider.leave_fleet();
            }
        }
        for known in self.known.values_mut() {
            known.failures.disconnect();
            known.throttles.disconnect();
            known.trial = Trial::default();
        }
    }

    /// Leaves the fleet. Returns the last request, which has the last changes and gives back the leases for trials.
    pub(super) fn leave(&mut self, cache: Option<&HealthCache>) -> Request {
        let last = cache.map(|cache| self.prepare(cache, Instant::now()).request);
        let mut request = Request {
            leases: Vec::new(),
            ..last.unwrap_or_default()
        };
        request.writes.push(contents::no_row(&self.settings.names));
        let held = self.known.iter().filter(|(_, known)| known.trial.is_held());
        let held = held.map(|(id, _)| self.trial_lease(id));
        request.releases.extend(held);
        self.disconnect();
        request
    }
}

impl Known {
    fn of(provider: &Provider) -> Self {
        Self {
            provider: provider.downgrade(),
            failures: Outage::of(Evidence::Failures),
            throttles: Outage::of(Evidence::Throttles),
            forced: Forced::default(),
            trial: Trial::default(),
            checks: Checks::default(),
        }
    }

    /// The breaker admits every call, so its phase is no evidence, and its trials need no lease.
    fn observe_only(&mut self) {
        self.failures = Outage::of(Evidence::Failures);
        self.throttles = Outage::of(Evidence::Throttles);
        self.trial = Trial::default();
    }

    fn is_idle(&self) -> bool {
        self.failures.is_idle()
            && self.throttles.is_idle()
            && self.forced.is_idle()
            && self.trial.is_idle()
            && self.checks.is_idle()
    }
}

fn known<'a>(all: &'a mut HashMap<Arc<str>, Known>, provider: &Provider) -> &'a mut Known {
    let id = Arc::clone(provider.shared_id());
    let known = all.entry(id).or_insert_with(|| Known::of(provider));
    if !known.provider.is_of(provider) {
        *known = Known::of(provider);
    }
    known
}
