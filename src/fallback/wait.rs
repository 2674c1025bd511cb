use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::{cache::Provider, util::panics::with_safe_waker};

/// Before the next try of a caller whom another has overtaken. The breaker that its service asks may
/// not be the one that is waited for here, which would let it in at once, again and again.
const OVERTAKEN: Duration = Duration::from_millis(1);

/// The entry that would admit a call; `None`: none did in time.
pub(super) type Admission = Pin<Box<dyn Future<Output = Option<usize>> + Send>>;

/// Waits for the first of the entries whose provider would admit a call, but not beyond `until`.
pub(super) fn first_to_admit(
    refused: Vec<(usize, Provider)>,
    until: Instant,
    is_overtaken: bool,
) -> Admission {
    Box::pin(with_safe_waker(async move {
        let first = async {
            if is_overtaken {
                sleep(OVERTAKEN).await;
            }
            first_of(refused).await
        };
        timeout_at(until, first).await.ok()
    }))
}

async fn first_of(refused: Vec<(usize, Provider)>) -> usize {
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

async fn admits((entry, provider): (usize, Provider)) -> usize {
    provider.breaker().until_admits().await;
    entry
}
