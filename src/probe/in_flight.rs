use std::{
    any::Any,
    collections::{HashMap, HashSet, VecDeque},
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout_at},
};

use super::{end::CheckEnd, health_probe::HealthProbe};
use crate::{
    cache::Provider,
    util::{panics::drop_quietly, time::after},
};

/// The running checks, and those that wait for a free slot.
///
/// Each check runs in its own task, so that it cannot delay or break another. Results are recorded only here, so none is recorded
/// after this is dropped.
pub(super) struct InFlight<'a> {
    probe: &'a HealthProbe,
    waiting: VecDeque<(Arc<str>, Occasion)>,
    /// A check that another replica makes ends with `None`.
    running: JoinSet<Option<CheckEnd>>,
    started: HashMap<Id, Started>,
    /// Ids of all waiting and running checks, so that no provider is checked twice at once.
    ids: HashSet<Arc<str>>,
}

/// The reason for which a check is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    Turn,
    WindowEnd,
}

struct Started {
    id: Arc<str>,
    /// Kept because another provider may have the same id when the check ends.
    provider: Provider,
    epoch: u64,
    at: Instant,
}

impl<'a> InFlight<'a> {
    pub(super) fn new(probe: &'a HealthProbe) -> Self {
        Self {
            probe,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            started: HashMap::new(),
            ids: HashSet::new(),
        }
    }

    /// Checks this provider as soon as a slot is free, unless its check already waits or runs.
    pub(super) fn push(&mut self, id: Arc<str>, occasion: Occasion) {
        if self.ids.insert(Arc::clone(&id)) {
            self.waiting.push_back((id, occasion));
            self.fill();
        }
    }

    /// Records the next check that ends; `None` if no check is running.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let ended = ready!(self.running.poll_join_next_with_id(cx));
        Poll::Ready(ended.map(|ended| {
            self.record(ended);
            self.fill();
        }))
    }

    /// Cancels all running checks, and waits until they have ended.
    pub(super) async fn shutdown(mut self) {
        self.running.abort_all();
        while let Some(ended) = self.running.join_next().await {
            // The payload of a panic may panic again when dropped.
            drop_quietly(ended);
        }
    }

    fn fill(&mut self) {
        while self.running.len() < self.probe.concurrency {
            let Some((id, occasion)) = self.waiting.pop_front() else {
                return;
            };
            self.start(id, occasion);
        }
    }

    fn start(&mut self, id: Arc<str>, occasion: Occasion) {
        let (Some(provider), Some(check)) = (self.probe.provider(&id), self.probe.checks.get(&id))
        else {
            // Removed from the cache.
            self.ids.remove(&id);
            return;
        };
        let epoch = provider.epoch();
        let limit = check.timeout.unwrap_or(self.probe.timeout);
        let check = check.clone();
        let sharing = &self.probe.sharing;
        let may_check = sharing.may_check(self.probe, &id, check.depth, occasion);
        let task = self.running.spawn(async move {
            if !may_check.await {
                return None;
            }
            let deadline = after(Instant::now(), limit);
            // Called in the task, since creating the future can panic too.
            let verdict = async { check.run(deadline).await };
            let verdict = timeout_at(deadline, unless_blocked(deadline, verdict)).await;
            Some(match verdict {
                Ok(Some(outcome)) => CheckEnd::Judged(outcome),
                Ok(None) | Err(_) => CheckEnd::TimedOut(limit),
            })
        });
        let started = Started {
            id,
            provider,
            epoch,
            at: Instant::now(),
        };
        self.started.insert(task.id(), started);
    }

    fn record(&mut self, ended: Result<(Id, Option<CheckEnd>), JoinError>) {
        let (task, end) = ended.unwrap_or_else(|error| (error.id(), panicked(error)));
        let Some(Started {
            id,
            provider,
            epoch,
            at,
        }) = self.started.remove(&task)
        else {
            return;
        };
        self.ids.remove(&id);
        let current = self.probe.provider(&id);
        let current = current.filter(|current| current.is_same(&provider));
        if let (Some(provider), Some(check), Some(end)) = (current, self.probe.checks.get(&id), end)
        {
            let took = at.elapsed();
            provider.count_check(end.label(), took);
            let outcome = end.into_outcome();
            self.probe
                .sharing
                .publish(&provider, check.depth, &outcome, took);
            let needs_another = provider.check_ended(epoch, check.depth, outcome);
            if needs_another {
                self.push(id, Occasion::WindowEnd);
            }
        }
    }
}

/// Returns `None` if `verdict` blocks its thread past the deadline, where no timer can cancel it.
async fn unless_blocked<F: Future>(deadline: Instant, verdict: F) -> Option<F::Output> {
    let mut verdict = pin!(verdict);
    poll_fn(|cx| {
        // A check that is first polled after the deadline is not at fault: another task may have blocked the thread.
        let was_in_time = Instant::now() <= deadline;
        let polled = verdict.as_mut().poll(cx);
        if was_in_time && Instant::now() > deadline {
            return Poll::Ready(None);
        }
        polled.map(Some)
    })
    .await
}

/// Returns `None` if the task was cancelled, for example by a runtime that shuts down.
fn panicked(error: JoinError) -> Option<CheckEnd> {
    let payload = error.try_into_panic().ok()?;
    let text = text_of(&*payload).unwrap_or("no text").to_owned();
    drop_quietly(payload);
    Some(CheckEnd::Panicked(text))
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied())
}
