//! Starts ten calls a second, whether or not earlier ones have ended.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::{task::JoinSet, time::interval};
use tower::{Service, ServiceExt};
use tower_health::BoxError;

use crate::HttpRequest;

pub(crate) async fn generate<S, B>(chain: S)
where
    S: Service<HttpRequest, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let mut ticks = interval(Duration::from_millis(100));
    let mut running = JoinSet::new();
    loop {
        ticks.tick().await;
        let call = chain.clone().oneshot(HttpRequest::default());
        running.spawn(async move {
            // A call succeeds at the end of its body. The page shows the results.
            if let Ok(response) = call.await {
                let _ = response.into_body().collect().await;
            }
        });
        while running.try_join_next().is_some() {}
    }
}
