//! Starts twenty calls a second, whether or not earlier ones have ended.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, interval},
};
use tower::{Service, ServiceExt};
use tower_health::{BoxError, ServedBy};

use crate::HttpRequest;

const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Load {
    calls: Calls,
    generator: JoinHandle<()>,
}

/// The finished calls, in the order in which they finished.
pub(crate) type Calls = Arc<Mutex<Vec<Call>>>;

#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) started: Instant,
    pub(crate) took: Duration,
    pub(crate) served_by: Result<Arc<str>, String>,
}

impl Load {
    pub(crate) fn start<S, B>(chain: S) -> Self
    where
        S: Service<HttpRequest, Response = Response<B>, Error = BoxError>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let calls = Calls::default();
        let generator = tokio::spawn(generate(chain, Arc::clone(&calls)));
        Self { calls, generator }
    }

    pub(crate) fn calls(&self) -> Calls {
        Arc::clone(&self.calls)
    }

    pub(crate) fn stop(self) -> Vec<Call> {
        self.generator.abort();
        self.calls.lock().unwrap().clone()
    }
}

async fn generate<S, B>(chain: S, calls: Calls)
where
    S: Service<HttpRequest, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let mut ticks = interval(PAUSE);
    let mut running = JoinSet::new();
    loop {
        ticks.tick().await;
        let (chain, calls) = (chain.clone(), Arc::clone(&calls));
        running.spawn(async move {
            let started = Instant::now();
            let served_by = call(chain).await.map_err(|error| error.to_string());
            let took = started.elapsed();
            calls.lock().unwrap().push(Call {
                started,
                took,
                served_by,
            });
        });
    }
}

async fn call<S, B>(chain: S) -> Result<Arc<str>, BoxError>
where
    S: Service<HttpRequest, Response = Response<B>, Error = BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    let response = chain.oneshot(HttpRequest::default()).await?;
    let (head, body) = response.into_parts();
    body.collect().await.map_err(Into::into)?;
    let served_by = head.extensions.get::<ServedBy>();
    served_by
        .map(|served_by| Arc::clone(&served_by.provider))
        .ok_or_else(|| "the response has no `ServedBy`".into())
}
