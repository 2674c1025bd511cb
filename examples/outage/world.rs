//! What is called: a provider with an outage, and another that has none.

use std::{convert::Infallible, future::pending, ops::Range, time::Duration};

use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder};
use tower_health::BoxError;

pub(crate) const OUTAGE: Range<Duration> = Duration::from_secs(135)..Duration::from_secs(315);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWERS_AFTER: Duration = Duration::from_millis(1500);

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Provider,
    Standby,
}

/// Something that can be called by many at once.
pub(crate) trait Client:
    Service<(), Response = Source, Error: Send, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Client for S where
    S: Service<(), Response = Source, Error: Send, Future: Send> + Clone + Send + Sync + 'static
{
}

/// A client without a breaker, but with a timeout. Time counts from when it is made.
///
/// Whoever calls the provider in its outage is never answered, not even when that is over.
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
