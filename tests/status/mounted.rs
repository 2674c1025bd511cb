//! The services under any path of axum, and in hyper alone, over real sockets.

use std::net::SocketAddr;

use axum::{Router, extract::Request, http::StatusCode, middleware::from_fn};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{Duration, timeout},
};
use tower::{ServiceBuilder, ServiceExt};
use tower_health::status::{ControlService, StatusService};

use crate::cache;

const TYPES: [(&str, &str); 4] = [
    ("", "text/html; charset=utf-8"),
    ("health.json", "application/json"),
    ("healthz", "text/plain; charset=utf-8"),
    ("events", "text/event-stream"),
];

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn send(address: SocketAddr, method: &str, path: &str) -> http::Response<Incoming> {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from("{}"))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await.unwrap()
}

async fn assert_serves(address: SocketAddr, base: &str) {
    for (path, content_type) in TYPES {
        let mut answer = send(address, "GET", &format!("{base}{path}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{base}{path}");
        assert_eq!(answer.headers()["content-type"], content_type);
        assert!(answer.frame().await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn nested_in_axum() {
    let service = StatusService::new(&cache());
    let address = serve(Router::new().nest_service("/deep/status", service)).await;
    assert_serves(address, "/deep/status/").await;
    let page = send(address, "GET", "/deep/status").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
}

#[tokio::test]
async fn at_the_root_of_axum() {
    let service = StatusService::new(&cache());
    assert_serves(serve(Router::new().fallback_service(service)).await, "/").await;
}

#[tokio::test]
async fn in_hyper_alone() {
    let service = StatusService::new(&cache());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    assert_serves(address, "/").await;
}

#[tokio::test]
async fn control_has_its_own_authentication() {
    let cache = cache();
    let groq = cache.provider("groq/llama");
    let guard = from_fn(async |request: Request, next: axum::middleware::Next| {
        if request.headers().contains_key("x-operator") {
            Ok(next.run(request).await)
        } else {
            Err(StatusCode::UNAUTHORIZED)
        }
    });
    let control = ServiceBuilder::new()
        .layer(guard)
        .service(ControlService::new(&cache));
    let router = Router::new()
        .nest_service("/status", StatusService::new(&cache).control_at("control"))
        .nest_service("/status/control", control);

    for id in ["groq%2Fllama", "groq/llama"] {
        groq.mark_unhealthy("503");
        let path = format!("/status/control/providers/{id}/reset");
        let request = |is_operator: bool| {
            let mut request = Request::post(&path).header("content-type", "application/json");
            if is_operator {
                request = request.header("x-operator", "yes");
            }
            request.body(axum::body::Body::from("{}")).unwrap()
        };
        let refused = router.clone().oneshot(request(false)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert!(!groq.is_healthy());
        let done = router.clone().oneshot(request(true)).await.unwrap();
        assert_eq!(done.status(), StatusCode::OK);
        assert!(groq.is_healthy());
    }
    let shown = router.oneshot(
        Request::get("/status/")
            .body(axum::body::Body::empty())
            .unwrap(),
    );
    assert_eq!(shown.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn status_service_alone_has_no_control() {
    let cache = cache();
    let groq = cache.provider("groq");
    groq.mark_unhealthy("503");
    let address = serve(
        Router::new().nest_service("/status", StatusService::new(&cache).control_at("control")),
    )
    .await;
    for path in [
        "/status/control/providers/groq/reset",
        "/status/providers/groq/reset",
    ] {
        assert_eq!(
            send(address, "POST", path).await.status(),
            StatusCode::NOT_FOUND
        );
    }
    assert!(!groq.is_healthy());
}

#[tokio::test]
async fn close_lets_a_graceful_shutdown_end() {
    let service = StatusService::new(&cache());
    let router = Router::new().fallback_service(service.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .await
    });
    let mut events = send(address, "GET", "/events").await;
    assert!(events.frame().await.unwrap().is_ok());

    stop.send(()).unwrap();
    service.close();
    assert!(events.frame().await.is_none());
    let is_over = timeout(Duration::from_secs(30), serving).await;
    is_over.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn disconnected_subscriber_frees_its_slot() {
    let service = StatusService::new(&cache())
        .max_subscribers(1)
        .refresh(Duration::from_millis(1));
    let address = serve(Router::new().fallback_service(service)).await;
    let mut events = send(address, "GET", "/events").await;
    assert!(events.frame().await.unwrap().is_ok());
    let full = send(address, "GET", "/events").await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(events);
    // The server notices at its next write.
    let has_room = async {
        while send(address, "GET", "/events").await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), has_room)
        .await
        .expect("there is room");
}
