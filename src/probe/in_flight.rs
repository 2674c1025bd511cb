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

/// Checks that run, and those that wait for others to end.
///
/// Each runs in a task of its own, so that none delays or breaks another; its result is recorded
/// here and nowhere else, so that none is once this is dropped.
pub(super) struct InFlight<'a> {
    probe: &'a HealthProbe,
    waiting: VecDeque<Arc<str>>,
    running: JoinSet<CheckEnd>,
    started: HashMap<Id, Started>,
    /// Whoever waits or runs: nobody is checked twice at once.
    checked: HashSet<Arc<str>>,
}

struct Started {
    id: Arc<str>,
    /// Another may have its id when the check ends.
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
            checked: HashSet::new(),
        }
    }

    /// Checks this provider as soon as there is room, unless it is being checked.
    pub(super) fn push(&mut self, id: Arc<str>) {
        if self.checked.insert(Arc::clone(&id)) {
            self.waiting.push_back(id);
            self.fill();
        }
    }

    /// Records the next check that ends; `None`: none is running.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let ended = ready!(self.running.poll_join_next_with_id(cx));
        Poll::Ready(ended.map(|ended| {
            self.record(ended);
            self.fill();
        }))
    }

    /// Ends every running check, and waits until they have.
    pub(super) async fn shutdown(mut self) {
        self.running.abort_all();
        while let Some(ended) = self.running.join_next().await {
            // It may be a panic that panics again.
            drop_quietly(ended);
        }
    }

    fn fill(&mut self) {
        while self.running.len() < self.probe.concurrency {
            let Some(id) = self.waiting.pop_front() else {
                return;
            };
            self.start(id);
        }
    }

    fn start(&mut self, id: Arc<str>) {
        let (Some(provider), Some(check)) = (self.probe.provider(&id), self.probe.checks.get(&id))
        else {
            // Removed from the cache.
            self.checked.remove(&id);
            return;
        };
        let epoch = provider.breaker().look(|breaker, _| breaker.epoch());
        let limit = check.timeout.unwrap_or(self.probe.timeout);
        let check = check.clone();
        let task = self.running.spawn(async move {
            let deadline = after(Instant::now(), limit);
            // In the task from its first line on: making the future can panic too.
            let verdict = async { check.run(deadline).await };
            match timeout_at(deadline, unless_blocked(deadline, verdict)).await {
                Ok(Some(outcome)) => CheckEnd::Judged(outcome),
                Ok(None) | Err(_) => CheckEnd::TimedOut(limit),
            }
        });
        let started = Started {
            id,
            provider,
            epoch,
            at: Instant::now(),
        };
        self.started.insert(task.id(), started);
    }

    fn record(&mut self, ended: Result<(Id, CheckEnd), JoinError>) {
        let (task, end) = match ended {
            Ok((task, end)) => (task, Some(end)),
            Err(error) => (error.id(), panicked(error)),
        };
        let Some(Started {
            id,
            provider,
            epoch,
            at,
        }) = self.started.remove(&task)
        else {
            return;
        };
        self.checked.remove(&id);
        let known = self.probe.provider(&id);
        let known = known.filter(|known| Arc::ptr_eq(known.breaker(), provider.breaker()));
        if let (Some(provider), Some(check), Some(end)) = (known, self.probe.checks.get(&id), end) {
            provider
                .breaker()
                .hot_slot()
                .meters
                .checked(end.label(), at.elapsed());
            let is_untried = provider.breaker().update(|breaker, now| {
                breaker.check_ended(epoch, check.depth, end.into_outcome(), now);
                // This check is from before the window, whose end nobody was there to try.
                breaker.is_half_open() && epoch + 1 < breaker.epoch()
            });
            if is_untried {
                self.push(id);
            }
        }
    }
}

/// `None` where `verdict` blocks its thread past the deadline, so that no timer can cut it off.
async fn unless_blocked<F: Future>(deadline: Instant, verdict: F) -> Option<F::Output> {
    let mut verdict = pin!(verdict);
    poll_fn(|cx| {
        // Polled too late, it is not to blame: others may block the thread.
        let was_in_time = Instant::now() <= deadline;
        let polled = verdict.as_mut().poll(cx);
        if was_in_time && Instant::now() > deadline {
            return Poll::Ready(None);
        }
        polled.map(Some)
    })
    .await
}

/// `None`: the task was cancelled, as by a runtime that shuts down.
fn panicked(error: JoinError) -> Option<CheckEnd> {
    let said = error.try_into_panic().ok()?;
    let text = text_of(&*said).unwrap_or("no text").to_owned();
    drop_quietly(said);
    Some(CheckEnd::Panicked(text))
}

fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied())
}
