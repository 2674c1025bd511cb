use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::providers::Providers;
use crate::util::panics::with_safe_waker;

/// Pause before waiting again, after another caller took the trial. Prevents a busy loop if the service asks a different breaker
/// from the one that this wait observes.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Resolves to an entry that would admit a call, or to `None` if none did in time.
pub(super) type Admission = Pin<Box<dyn Future<Output = Option<usize>> + Send>>;

/// Waits until `until` for the first entry whose providers would admit a call.
pub(super) fn first_to_admit(
    refused: Vec<(usize, Providers)>,
    until: Instant,
    is_retry: bool,
) -> Admission {
    Box::pin(with_safe_waker(async move {
        let first = async {
            if is_retry {
                sleep(RETRY_PAUSE).await;
            }
            first_of(refused).await
        };
        timeout_at(until, first).await.ok()
    }))
}

async fn first_of(refused: Vec<(usize, Providers)>) -> usize {
    let mut admissions: Vec<_> = refused.into_iter().map(admits).map(Box::pin).collect();
    poll_fn(|cx| {
        let first = admissions
            .iter_mut()
            .find_map(|admission| match admission.as_mut().poll(cx) {
                Poll::Ready(entry) => Some(entry),
                Poll::Pending => None,
            });
        first.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

async fn admits((entry, providers): (usize, Providers)) -> usize {
    providers.until_admit().await;
    entry
}
