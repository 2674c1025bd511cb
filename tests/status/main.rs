//! The status page, its JSON and events, and control, tested as an HTTP client sees them.
#![cfg(feature = "status")]

mod answers;
mod chains;
mod control;
mod events;
#[cfg(feature = "fleet")]
mod fleet;
mod mounted;
mod page;
mod redacted;

use std::{convert::Infallible, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde_json::Value;
use tower::{Service, ServiceExt};
use tower_health::{
    Backoff, HealthCache, Policy,
    status::{StatusBody, StatusService},
};

type Answer = Response<StatusBody>;

const HOUR: Duration = Duration::from_secs(3600);

async fn ask(service: &StatusService, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Empty::<&[u8]>::new()).unwrap();
    answer(service.clone(), request).await
}

async fn get(service: &StatusService, path: &str) -> Answer {
    ask(service, "GET", path).await
}

async fn answer<S, B>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Answer, Error = Infallible>,
{
    service.oneshot(request).await.unwrap()
}

async fn text(answer: Answer) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json(answer: Answer) -> Value {
    serde_json::from_str(&text(answer).await).unwrap()
}

async fn status_of(service: &StatusService, path: &str) -> StatusCode {
    get(service, path).await.status()
}

/// Opens for 10 s at the first failure.
fn cache() -> HealthCache {
    let trip = tower_health::Trip::consecutive(1);
    let backoff = Backoff::constant(Duration::from_secs(10));
    HealthCache::new(Policy::new().trip(trip).backoff(backoff))
}
