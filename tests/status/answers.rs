//! The response of each path to each method.

use http::{
    StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::json;
use tower_health::{
    Override,
    status::{StatusService, UnhealthyWhen},
};

use crate::{HOUR, ask, cache, get, json, status_of, text};

const PATHS: [&str; 4] = ["/", "/health.json", "/healthz", "/events"];

#[tokio::test(start_paused = true)]
async fn each_path_has_its_content_type() {
    let service = StatusService::new(&cache());
    let types = [
        "text/html; charset=utf-8",
        "application/json",
        "text/plain; charset=utf-8",
        "text/event-stream",
    ];
    for (path, content_type) in PATHS.into_iter().zip(types) {
        let answer = get(&service, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()[CONTENT_TYPE], content_type);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn head_matches_get_without_the_body() {
    let service = StatusService::new(&cache()).max_subscribers(0);
    for path in ["/", "/health.json", "/healthz"] {
        let (head, whole) = (ask(&service, "HEAD", path).await, get(&service, path).await);
        assert_eq!(head.headers(), whole.headers());
        assert_eq!(text(head).await, "");
        let length = whole.headers()[CONTENT_LENGTH].to_str().unwrap().to_owned();
        assert_eq!(length, text(whole).await.len().to_string());
    }
    // A `HEAD` takes no subscriber slot.
    let head = ask(&service, "HEAD", "/events").await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()[CONTENT_TYPE], "text/event-stream");
    assert_eq!(head.headers().get(CONTENT_LENGTH), None);
    assert_eq!(text(head).await, "");
}

#[tokio::test(start_paused = true)]
async fn other_methods_than_get_and_head_are_refused() {
    let service = StatusService::new(&cache());
    for path in PATHS {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = ask(&service, method, path).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()[ALLOW], "GET, HEAD");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn other_paths_are_not_found() {
    let service = StatusService::new(&cache());
    for path in [
        "/x",
        "/health.json/",
        "/health",
        "//",
        "/providers/groq/reset",
        "/..%2f",
    ] {
        assert_eq!(
            status_of(&service, path).await,
            StatusCode::NOT_FOUND,
            "{path}"
        );
        assert_eq!(
            ask(&service, "POST", path).await.status(),
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test(start_paused = true)]
async fn health_json_is_a_snapshot() {
    let cache = cache();
    let service = StatusService::new(&cache);
    assert_eq!(
        json(get(&service, "/health.json").await).await,
        json!({ "version": 1, "providers": [] })
    );

    cache.provider("groq").mark_unhealthy("timeout");
    let written = serde_json::to_value(cache.snapshot()).unwrap();
    assert_eq!(json(get(&service, "/health.json").await).await, written);
    assert_eq!(written["providers"][0]["retry_in_seconds"], 10.0);
}

#[tokio::test(start_paused = true)]
async fn expected_providers_have_a_row_but_are_not_created() {
    let cache = cache();
    let service = StatusService::new(&cache).expected(["openai", "groq"]);
    cache.provider("groq").mark_unhealthy("timeout");
    let health = json(get(&service, "/health.json").await).await;
    assert_eq!(health["providers"][0]["id"], "groq");
    assert_eq!(health["providers"][0]["state"], "open");
    assert_eq!(health["providers"][1]["id"], "openai");
    assert_eq!(health["providers"][1]["state"], "closed");
    assert!(cache.get("openai").is_none());
}

#[tokio::test(start_paused = true)]
async fn health_status_follows_the_rule() {
    use UnhealthyWhen::{AllDown, AnyDown, Never};
    let (ok, unhealthy) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
    let cache = cache();
    let (first, second) = (cache.provider("first"), cache.provider("second"));

    let by_default = StatusService::new(&cache);
    let services = [
        by_default.clone(),
        by_default.clone().unhealthy_when(Never),
        by_default.clone().unhealthy_when(AnyDown),
        by_default.unhealthy_when(AllDown),
    ];
    let assert_all = async |expected: [StatusCode; 4]| {
        for (service, expected) in services.iter().zip(expected) {
            let answer = get(service, "/healthz").await;
            assert_eq!(answer.status(), expected);
            let is_ok = expected == StatusCode::OK;
            assert_eq!(
                text(answer).await,
                if is_ok { "ok\n" } else { "unhealthy\n" }
            );
            // Both statuses have the full snapshot.
            let answer = get(service, "/health.json").await;
            assert_eq!(answer.status(), expected);
            let health = json(answer).await;
            assert_eq!(health["providers"].as_array().unwrap().len(), 2);
        }
    };

    assert_all([ok, ok, ok, ok]).await;
    first.mark_unhealthy("503");
    assert_all([ok, ok, unhealthy, ok]).await;
    second.mark_unhealthy("503");
    assert_all([ok, ok, unhealthy, unhealthy]).await;
    // A half-open breaker needs a call, which a process out of service does not get.
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_all([ok, ok, ok, ok]).await;
    let trial = first.admit().unwrap();
    assert!(!first.is_healthy());
    assert_all([ok, ok, ok, ok]).await;
    trial.failure("503");
    assert_all([ok, ok, unhealthy, ok]).await;
    first.mark_healthy();
    first.force(Override::Open, HOUR, "maintenance");
    assert_all([ok, ok, unhealthy, ok]).await;
}

#[tokio::test(start_paused = true)]
async fn no_providers_are_not_all_down() {
    let service = StatusService::new(&cache()).unhealthy_when(UnhealthyWhen::AllDown);
    assert_eq!(status_of(&service, "/healthz").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn expected_providers_without_calls_are_up() {
    let cache = cache();
    let service = StatusService::new(&cache)
        .expected(["standby"])
        .unhealthy_when(UnhealthyWhen::AllDown);
    cache.provider("first").mark_unhealthy("503");
    assert_eq!(status_of(&service, "/healthz").await, StatusCode::OK);
}
