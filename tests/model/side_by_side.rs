//! Takes the crate and the model through the same steps, and compares them after each.

use std::{
    fmt::Debug,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::Builder,
    sync::watch,
    task::unconstrained,
    time::{Instant, advance},
};
use tower_health::{
    Check, HealthCache, HealthProbe, Outcome, Permit, Provider, ProviderHealth, Transitions,
};

use super::{
    operation::{Operation, Pause, Step, Verdict, View},
    reference::{self, Call, Change, Health, Model},
    rules::Rules,
};

const ID: &str = "a";
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A century before the end of the crate's clock.
const END: Duration = YEAR.saturating_mul(480);

type Disagreement = String;

/// Runs the steps, and returns the first disagreement, if any.
pub(crate) fn run(steps: &[Step]) -> Result<(), Disagreement> {
    let paused = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    paused.expect("a runtime").block_on(async {
        let mut both = Both::new();
        for (number, step) in steps.iter().enumerate() {
            let agreed = both.step(step).await;
            agreed.map_err(|what| format!("step {number}, {step:?}: {what}\n{:?}", both.model))?;
        }
        Ok(())
    })
}

struct Both {
    cache: HealthCache,
    provider: Provider,
    transitions: Transitions,
    start: Instant,
    calls: Vec<(Permit, Call)>,
    checks: Vec<(Round, reference::Check)>,
    model: Model,
}

/// A round of a probe with one check.
struct Round {
    running: Pin<Box<dyn Future<Output = ()>>>,
    passes: watch::Sender<Option<bool>>,
}

impl Both {
    fn new() -> Self {
        let rules = Rules::first();
        let cache = HealthCache::new(rules.policy());
        Self {
            provider: cache.provider(ID),
            transitions: cache.subscribe(),
            cache,
            start: Instant::now(),
            calls: Vec::new(),
            checks: Vec::new(),
            model: Model::new(rules),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Disagreement> {
        self.pause(step.pause).await;
        self.operate(step.operation).await?;
        self.compare()
    }

    async fn pause(&mut self, pause: Pause) {
        let wait = self.model.retry_in().unwrap_or_default();
        let time = match pause {
            Pause::For(time) => time,
            Pause::AlmostUntilAdmitted => wait.saturating_sub(Duration::from_nanos(1)),
            Pause::UntilAdmitted => wait,
        };
        if time >= YEAR {
            if self.start.elapsed() + time > END {
                return;
            }
            // Cancels the checks, which would otherwise end at their timeouts.
            self.checks.clear();
        }
        if !time.is_zero() {
            advance(time).await;
            self.model.pass(time);
        }
    }

    async fn operate(&mut self, operation: Operation) -> Result<(), Disagreement> {
        match operation {
            Operation::Admit => {
                let admitted = self.admit()?;
                self.calls.extend(admitted);
            }
            Operation::Judge { which, verdict } => {
                if let Some(call) = take(&mut self.calls, which) {
                    self.judge(call, verdict);
                }
            }
            Operation::Drop { which } => {
                if let Some((permit, call)) = take(&mut self.calls, which) {
                    drop(permit);
                    self.model.drop(&call);
                }
            }
            Operation::ReleaseSlot { which } => {
                if let Some((mut permit, mut call)) = take(&mut self.calls, which) {
                    permit.release_slot();
                    self.model.release_slot(&mut call);
                    self.calls.push((permit, call));
                }
            }
            Operation::Burst { calls, verdict } => {
                for _ in 0..calls {
                    if let Some(call) = self.admit()? {
                        self.judge(call, verdict);
                    }
                }
            }
            Operation::BeginCheck { is_functional } => {
                let check = self.begin_check(is_functional);
                self.checks.push(check);
            }
            Operation::EndCheck { which, passes } => {
                if let Some(check) = take(&mut self.checks, which) {
                    self.end_check(check, passes).await;
                }
            }
            Operation::Check {
                is_functional,
                passes,
            } => {
                let check = self.begin_check(is_functional);
                self.end_check(check, passes).await;
            }
            Operation::MarkHealthy => {
                self.provider.mark_healthy();
                self.model.mark_healthy();
            }
            Operation::MarkUnhealthy => {
                self.provider.mark_unhealthy("marked");
                self.model.mark_unhealthy("marked".into());
            }
            Operation::GrantTrial => {
                let is_granted = self.provider.grant_trial();
                same("granted", &is_granted, &self.model.grant_trial())?;
            }
            Operation::Force { to, ttl } => {
                self.provider.force(to, ttl, "forced");
                self.model.force(to, ttl, "forced".into());
            }
            Operation::Unforce => {
                self.provider.unforce();
                self.model.unforce();
            }
            Operation::SetPolicy(rules) => {
                self.provider.set_policy(rules.policy());
                self.model.set_policy(rules);
            }
            Operation::Look(view) => {
                let healthy = match view {
                    View::Provider => self.provider.is_healthy(),
                    View::Cache => self.cache.is_healthy(ID),
                    View::Snapshot => self.cache.snapshot().get(ID).expect("a row").healthy,
                    View::SnapshotOf => {
                        self.cache.snapshot_of([ID]).get(ID).expect("a row").healthy
                    }
                };
                same("healthy", &healthy, &self.model.health().healthy)?;
            }
        }
        Ok(())
    }

    fn admit(&mut self) -> Result<Option<(Permit, Call)>, Disagreement> {
        let health = self.model.health();
        match (self.provider.admit(), self.model.admit()) {
            (Ok(permit), Some(call)) => {
                same("a trial", &permit.is_trial(), &call.is_trial)?;
                Ok(Some((permit, call)))
            }
            (Err(refusal), None) => {
                let told = (
                    refusal.state(),
                    refusal.cause(),
                    Some(refusal.retry_in()),
                    refusal.last_error().cloned(),
                );
                let expected = (
                    health.state,
                    health.cause,
                    health.retry_in,
                    health.last_error,
                );
                same("refusal", &told, &expected)?;
                Ok(None)
            }
            (admitted, expected) => Err(format!("admit: {admitted:?}, not {expected:?}")),
        }
    }

    fn judge(&mut self, (permit, call): (Permit, Call), verdict: Verdict) {
        let outcome = match verdict {
            Verdict::Success => Outcome::Success,
            Verdict::Failure { retry_after } => Outcome::Failure {
                reason: "down".into(),
                retry_after,
            },
            Verdict::Fatal => Outcome::fatal("revoked"),
            Verdict::Throttled { retry_after } => Outcome::throttled(retry_after, "slow down"),
            Verdict::Answered => Outcome::Answered,
            Verdict::Neutral => Outcome::Neutral,
        };
        permit.record(outcome.clone());
        self.model.record(&call, outcome);
    }

    fn begin_check(&self, is_functional: bool) -> (Round, reference::Check) {
        let passes = watch::Sender::new(None);
        let ended = passes.subscribe();
        let check = Check::new(move || {
            let mut ended = ended.clone();
            async move {
                matches!(
                    ended.wait_for(Option::is_some).await.as_deref(),
                    Ok(Some(true))
                )
            }
        });
        let check = if is_functional {
            check.functional()
        } else {
            check
        };
        let probe = HealthProbe::new(&self.cache)
            .timeout(YEAR)
            .check_with(ID, check);
        let mut running: Pin<Box<dyn Future<Output = ()>>> =
            Box::pin(async move { probe.round().await });
        assert!(poll(running.as_mut()).is_pending());
        (
            Round { running, passes },
            self.model.begin_check(is_functional),
        )
    }

    async fn end_check(&mut self, (round, check): (Round, reference::Check), passes: bool) {
        round.passes.send_replace(Some(passes));
        round.running.await;
        self.model.end_check(&check, passes);
    }

    /// Rule 7: compares every view, without and with a call. Rule 8: compares the announced transitions.
    fn compare(&mut self) -> Result<(), Disagreement> {
        let expected = self.model.health();
        same("provider", &self.provider.is_healthy(), &expected.healthy)?;
        same("cache", &self.cache.is_healthy(ID), &expected.healthy)?;
        let row = self.cache.snapshot().get(ID).cloned();
        same("snapshot", &self.shown(row.expect("a row")), &expected)?;
        same("health", &self.health(), &expected)?;
        if let Some(call) = self.admit()? {
            self.judge(call, Verdict::Neutral);
        }
        same("after a call", &self.health(), &self.model.health())?;
        same("changes", &self.received(), &self.model.changes())
    }

    fn health(&self) -> Health {
        self.shown(self.provider.health())
    }

    fn shown(&self, health: ProviderHealth) -> Health {
        Health {
            state: health.state,
            healthy: health.healthy,
            cause: health.cause,
            reason: health.reason,
            consecutive_failures: health.consecutive_failures,
            failed_trials: health.failed_trials,
            last_error: health.last_error,
            last_check: health.last_check.map(|at| at - self.start),
            since: health.since.map(|at| at - self.start),
            retry_in: health.retry_in,
            not_before: health.not_before,
            forced_for: health.forced_for,
        }
    }

    fn received(&mut self) -> Vec<Change> {
        let mut all = Vec::new();
        while let Poll::Ready(Some(next)) = poll(pin!(unconstrained(self.transitions.recv()))) {
            all.push(Change {
                from: next.from,
                to: next.to,
                cause: next.cause,
                reason: next.reason,
                at: next.at - self.start,
            });
        }
        all
    }
}

fn take<T>(all: &mut Vec<T>, which: u8) -> Option<T> {
    let index = usize::from(which).checked_rem(all.len())?;
    Some(all.swap_remove(index))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn same<T: Debug + PartialEq>(what: &str, crates: &T, models: &T) -> Result<(), Disagreement> {
    if crates == models {
        Ok(())
    } else {
        Err(format!("{what}:\n  crate {crates:?}\n  model {models:?}"))
    }
}
