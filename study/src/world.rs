//! A provider with an outage, and a standby without one.

use std::{convert::Infallible, future::pending, ops::Range, time::Duration};

use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder};
use tower_health::BoxError;

pub(crate) const OUTAGE: Range<Duration> = Duration::from_secs(135)..Duration::from_secs(315);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWERS_AFTER: Duration = Duration::from_millis(1500);

/// The provider that answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Provider,
    Standby,
}

/// A client that many callers can share.
pub(crate) trait Client:
    Service<(), Response = Source, Error: Send, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Client for S where
    S: Service<(), Response = Source, Error: Send, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Returns a client with a timeout and without a breaker. The outage is timed from its creation.
///
/// A call that reaches the provider during the outage hangs, even after the outage.
pub(crate) fn client(of: Source) -> impl Client<Error = BoxError> {
    let start = Instant::now();
    ServiceBuilder::new()
        .timeout(TIMEOUT)
        .service_fn(move |()| async move {
            if of == Source::Provider && OUTAGE.contains(&start.elapsed()) {
                pending::<()>().await;
            }
            sleep(ANSWERS_AFTER).await;
            Ok::<_, Infallible>(of)
        })
}
