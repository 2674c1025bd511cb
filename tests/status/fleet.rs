//! The fleet on the page, in its JSON and in the events.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;
use tower_health::{
    BoxError,
    fleet::{Fleet, FleetHandle, MemoryStore, Reply, Request, Store},
    status::StatusService,
};

use crate::{cache, events::Reader, get, json, status_of};

/// Has the shared health of two replicas, of which the other has an open breaker.
async fn service() -> (StatusService, [FleetHandle; 2]) {
    let store = MemoryStore::default();
    let (cache, other) = (cache(), cache());
    let _ = cache.provider("search");
    other.provider("search").mark_unhealthy("timeout");
    let fleet = |cache: &_, name| {
        let fleet = Fleet::new(cache, store.clone()).replica(name);
        fleet.share_health(true).spawn()
    };
    let fleets = [fleet(&cache, "one"), fleet(&other, "other")];
    sleep(Duration::from_secs(3)).await;
    // Kept alive, so that its task goes on.
    tokio::spawn(async move {
        let _other = other;
        std::future::pending::<()>().await;
    });
    (StatusService::new(&cache).fleet(&fleets[0]), fleets)
}

#[tokio::test(start_paused = true)]
async fn json_has_the_windows_and_the_replicas() {
    let (service, _fleets) = service().await;
    let fleet = json(get(&service, "/fleet.json").await).await;
    assert_eq!(fleet["version"], 1);
    assert_eq!(fleet["replica"], "one");
    assert_eq!(fleet["connected"], true);
    assert_eq!(fleet["error"], serde_json::Value::Null);
    let window = &fleet["windows"][0];
    assert_eq!(window["provider"], "search");
    assert_eq!(window["cause"], "failures");
    assert_eq!(window["reason"], "timeout");
    let remaining = window["remaining_seconds"].as_f64().unwrap();
    assert!((5.0..10.0).contains(&remaining), "{remaining}");
    assert_eq!(fleet["replicas"]["one"], serde_json::json!([]));
    let row = &fleet["replicas"]["other"][0];
    assert_eq!(
        (&row["provider"], &row["state"]),
        (&"search".into(), &"open".into())
    );
}

#[tokio::test(start_paused = true)]
async fn events_have_the_same() {
    let (service, _fleets) = service().await;
    let frame = Reader::of(&service).await.next().await;
    let mut expected = json(get(&service, "/fleet.json").await).await;
    let mut sent = frame.data("fleet");
    for fleet in [&mut expected, &mut sent] {
        fleet["windows"][0]["remaining_seconds"] = 0.into();
    }
    assert_eq!(sent, expected);
}

#[tokio::test(start_paused = true)]
async fn service_without_a_fleet_has_neither() {
    let service = StatusService::new(&cache());
    assert_eq!(
        status_of(&service, "/fleet.json").await,
        StatusCode::NOT_FOUND
    );
    let frame = Reader::of(&service).await.next().await;
    assert!(!frame.text.contains("event: fleet"));
}

struct Refusing;

impl Store for Refusing {
    async fn exchange(&self, _: &Request) -> Result<Reply, BoxError> {
        Err("connection to 10.0.0.7 refused".into())
    }
}

#[tokio::test(start_paused = true)]
async fn error_of_the_store_is_shown_and_redacted() {
    let cache = cache();
    let fleet = Fleet::new(&cache, Refusing).spawn();
    sleep(Duration::from_secs(3)).await;
    let service = StatusService::new(&cache).fleet(&fleet);
    let shown = json(get(&service, "/fleet.json").await).await;
    assert_eq!(shown["connected"], false);
    assert_eq!(shown["error"], "connection to 10.0.0.7 refused");
    let redacted = json(get(&service.redact(true), "/fleet.json").await).await;
    assert_eq!(redacted["error"], "error");
}
