//! Reload, shutdown, restart, and the views of operators.

mod rig;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use gateway::{
    Config, Gateway,
    demo::{Behavior, Upstream},
    serve,
};
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tower_health::BoxError;

use crate::rig::{CONFIG, Rig, addressed, request};

/// The token is the value of a variable that cargo sets.
const OPERATOR: (&str, &str) = ("authorization", "Bearer gateway");

fn config() -> String {
    CONFIG.replace("[server]", "[server]\nadmin_token_env = \"CARGO_PKG_NAME\"")
}

#[tokio::test]
async fn reload_keeps_state_and_ends_requests_on_the_old_chain() {
    let rig = Rig::from_file("reload", &config()).await;
    rig.alpha.now(Behavior::Fails(500, "server_error"));
    rig.stream("chat").await;
    rig.stream("chat").await;
    rig.beta.now(Behavior::FallsSilent);
    let began = rig
        .post("/v1/chat/completions")
        .body(request("chat", true).to_string());
    let began = began.send().await.unwrap();

    rig.write(&config().replace("chat = [", "renamed = ["));
    let reloaded = rig
        .post("/admin/reload")
        .header(OPERATOR.0, OPERATOR.1)
        .send()
        .await
        .unwrap();
    assert_eq!(reloaded.status(), 200);
    assert_eq!(rig.stream("chat").await.status, 404);
    rig.beta.now(Behavior::Serves);
    rig.stream("renamed")
        .await
        .assert("beta/large", 1, "Hello from beta");
    assert_eq!(
        rig.health("alpha/large").await["state"],
        "open",
        "it stays open"
    );
    let body = reqwest::Body::from(began)
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert!(
        std::str::from_utf8(&body).unwrap().contains("from "),
        "its chain is gone, but it is served"
    );
    let chains = rig.chains().await;
    let serving = |alias| chains.iter().find(|it| it["name"] == alias);
    assert_eq!(serving("renamed").unwrap()["serving"], "beta/large");
    assert_eq!(serving("chat"), None);
}

#[tokio::test]
async fn check_asks_the_provider_with_its_key() {
    let beta = "beta.base_url";
    let check = "beta.check = { path = \"/models\", interval = \"1h\" }";
    let key = "beta.key_env = \"CARGO_PKG_NAME\"";
    let rig = Rig::with(&CONFIG.replace(beta, &format!("{check}\n{key}\n{beta}"))).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while rig.beta.requests().is_empty() {
        assert!(Instant::now() < deadline, "no check");
        sleep(Duration::from_millis(10)).await;
    }
    let (headers, _) = &rig.beta.requests()[0];
    assert_eq!(headers[OPERATOR.0], OPERATOR.1);
}

#[tokio::test]
async fn limit_of_one_provider_is_read_over_the_limits_of_all() {
    let alpha = "alpha.base_url";
    let config = CONFIG.replace(alpha, &format!("alpha.limits.head = \"10ms\"\n{alpha}"));
    let rig = Rig::with(&config.replace("head = \"300ms\"", "head = \"1h\"")).await;
    rig.alpha.now(Behavior::Hangs);
    rig.stream("chat")
        .await
        .assert("beta/large", 2, "Hello from beta");
}

#[tokio::test]
async fn wrong_file_is_refused_by_the_name_of_the_setting_and_changes_nothing() {
    let rig = Rig::from_file("wrong", &config()).await;
    for (right, wrong, said) in [
        (
            "idle = \"300ms\"",
            "idle = \"0s\"",
            "limits: must be longer than zero, with a unit, such as \"60s\", got \"0s\"\nin `idle`",
        ),
        (
            "model = \"small\"",
            "model = \"small\", longest = 5",
            "unknown field `longest`",
        ),
        (
            "provider = \"alpha\", model = \"small\"",
            "provider = \"gamma\", model = \"small\"",
            "aliases.sister: unknown provider `gamma`",
        ),
        (
            "beta.base_url = \"",
            "beta.key_env = \"NOT_SET\"\nbeta.base_url = \"",
            "NOT_SET must be set, to visible ASCII",
        ),
        (
            "beta.base_url = \"http",
            "beta.base_url = \"htt p",
            "beta.base_url = \"htt p",
        ),
        (
            "sister = [{ provider = \"alpha\", model = \"small\" }]",
            "sister = []",
            "aliases.sister: needs a target",
        ),
        (
            "beta.base_url = \"http://",
            "beta.base_url = \"localhost:80/",
            "must begin with http:// or https://",
        ),
        (
            "beta.base_url = \"",
            "beta.policy.trip.consecutive = 0\nbeta.base_url = \"",
            "providers.beta.policy: trip.consecutive: must be at least 1, got 0",
        ),
        (
            "beta.base_url = \"",
            "beta.classifier.failure_on = [5]\nbeta.base_url = \"",
            "providers.beta.classifier: failure_on: HTTP status must be between 100 and 999, got 5",
        ),
        (
            "[policy]",
            "[policy]\ntrials.at_once = 0",
            "trials.at_once: must be at least 1, got 0",
        ),
    ] {
        rig.write(
            &config()
                .replace(right, wrong)
                .replace("chat = [", "renamed = ["),
        );
        let refused = rig
            .post("/admin/reload")
            .header(OPERATOR.0, OPERATOR.1)
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), 400, "{wrong}");
        let text = refused.text().await.unwrap();
        assert!(text.contains(said), "{wrong}: {text}");
        rig.stream("chat")
            .await
            .assert("alpha/large", 1, "Hello from alpha");
    }
}

#[tokio::test]
async fn provider_that_leaves_the_file_leaves_the_status_page() {
    let rig = Rig::from_file("leaves", &config()).await;
    assert_eq!(
        rig.ids().await,
        ["alpha", "alpha/large", "alpha/small", "beta", "beta/large"]
    );
    rig.write(&config().replace(", { provider = \"beta\", model = \"large\" }", ""));
    rig.gateway.reload().unwrap();
    assert_eq!(
        rig.ids().await,
        ["alpha", "alpha/large", "alpha/small", "beta"]
    );
}

#[tokio::test]
async fn reloads_under_load_lose_no_request() {
    let rig = Arc::new(Rig::from_file("load", &config()).await);
    let asking = (0..8).map(|_| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            for _ in 0..40 {
                rig.stream("chat")
                    .await
                    .assert("alpha/large", 1, "Hello from alpha");
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    while asking.iter().any(|it| !it.is_finished()) {
        rig.gateway.reload().unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    for asked in asking {
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn only_operators_override_and_reload() {
    let rig = Rig::from_file("operators", &config()).await;
    let force = || {
        let body = json!({"ttl": "1m", "reason": "maintenance"}).to_string();
        let path = "/admin/control/providers/alpha/large/force-open";
        rig.post(path)
            .header("content-type", "application/json")
            .body(body)
    };
    for given in ["", "Bearer ", "Bearer wrong", "gateway"] {
        let refused = force().header("authorization", given).send().await.unwrap();
        assert_eq!(refused.status(), 401);
        let refused = rig.post("/admin/reload").header("authorization", given);
        assert_eq!(refused.send().await.unwrap().status(), 401);
    }
    assert_eq!(force().send().await.unwrap().status(), 401);
    assert_eq!(
        force()
            .header(OPERATOR.0, OPERATOR.1)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    rig.stream("chat")
        .await
        .assert("beta/large", 1, "Hello from beta");

    let nobody = Rig::start().await;
    let refused = nobody
        .post("/admin/reload")
        .header("authorization", "")
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused.status(),
        401,
        "without a token, nobody is an operator"
    );
}

#[tokio::test]
async fn metrics_and_status_page_are_there() {
    let rig = Rig::start().await;
    let page = rig.get("/admin/status").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(rig.get("/metrics").send().await.unwrap().status(), 200);
}

/// A gateway that stops on demand.
struct Stopping {
    url: String,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), BoxError>>,
}

impl Stopping {
    async fn start(config: &str) -> Self {
        let gateway = Gateway::new(&config.parse::<Config>().unwrap(), None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let stopped = async { drop(stopped.await) };
        let ended = tokio::spawn(serve(gateway, listener, metrics, stopped));
        Self { url, stop, ended }
    }

    async fn stream(&self) -> reqwest::Response {
        let request = Client::new().post(format!("{}/v1/chat/completions", self.url));
        let request = request.body(request_of_chat());
        request.send().await.unwrap()
    }

    async fn health(&self) -> Value {
        let url = format!("{}/admin/status/health.json", self.url);
        let health = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&health).unwrap()
    }
}

fn request_of_chat() -> String {
    request("chat", true).to_string()
}

async fn upstreams() -> [Upstream; 2] {
    [
        Upstream::start("alpha").await.unwrap(),
        Upstream::start("beta").await.unwrap(),
    ]
}

#[tokio::test]
async fn shutdown_lets_streams_end_within_its_limit() {
    let [alpha, beta] = upstreams().await;
    let config = CONFIG.replace("shutdown_limit = \"30s\"", "shutdown_limit = \"2s\"");
    let config = addressed(&config, [&alpha, &beta]);
    let gateway = Stopping::start(&config).await;
    let stream = gateway.stream().await;
    gateway.stop.send(()).unwrap();
    let text = stream.text().await.unwrap();
    assert!(text.contains("[DONE]"), "{text}");
    gateway.ended.await.unwrap().unwrap();

    let limited = config
        .replace("2s", "100ms")
        .replace("idle = \"300ms\"", "idle = \"1m\"");
    let gateway = Stopping::start(&limited).await;
    alpha.now(Behavior::FallsSilent);
    let stream = gateway.stream().await;
    let began = Instant::now();
    gateway.stop.send(()).unwrap();
    timeout(Duration::from_secs(2), gateway.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    drop(stream);
}

#[tokio::test]
async fn what_is_open_stays_open_across_a_restart() {
    let [alpha, beta] = upstreams().await;
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("state.json");
    let _ = fs::remove_file(&file);
    let setting = format!("[server]\nstate_file = {file:?}");
    let config = addressed(&CONFIG.replace("[server]", &setting), [&alpha, &beta]);
    let gateway = Stopping::start(&config).await;
    alpha.now(Behavior::Throttles(40));
    assert_eq!(gateway.stream().await.status(), 200);
    gateway.stop.send(()).unwrap();
    gateway.ended.await.unwrap().unwrap();

    let gateway = Stopping::start(&config).await;
    let health = gateway.health().await;
    let row = health["providers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["id"] == "alpha/large");
    let row = row.unwrap();
    assert_eq!(
        (&row["state"], &row["cause"]),
        (&json!("open"), &json!("throttled"))
    );
    assert_eq!(
        gateway.stream().await.headers()["x-served-by"],
        "beta/large"
    );
    assert_eq!(alpha.requests().len(), 1);

    fs::write(&file, "damaged").unwrap();
    let gateway = Stopping::start(&config).await;
    assert_eq!(
        gateway.stream().await.status(),
        200,
        "a damaged state is no reason not to start"
    );
}

#[tokio::test]
async fn replicas_share_an_outage_through_redis() {
    let Some((_redis, url)) = rig::redis::start().await else {
        return;
    };
    let config = |replica: &str| {
        let fleet =
            format!("[fleet]\nurl = \"{url}\"\nreplica = \"{replica}\"\nshare = \"trust\"\n");
        format!("{CONFIG}\n{fleet}")
    };
    let [one, other] = [
        Rig::with(&config("one")).await,
        Rig::with(&config("other")).await,
    ];
    one.alpha.now(Behavior::Fails(500, "server_error"));
    one.stream("chat").await;
    one.stream("chat").await;
    let opened = timeout(Duration::from_secs(10), async {
        while other.health("alpha/large").await["state"] != "open" {
            sleep(Duration::from_millis(50)).await;
        }
    });
    opened.await.expect("the other replica opens");
    assert_eq!(other.health("alpha/large").await["cause"], "peer");
    let shown = other.get("/admin/status/fleet.json").send().await.unwrap();
    let fleet: Value = serde_json::from_str(&shown.text().await.unwrap()).unwrap();
    assert_eq!(fleet["connected"], true);
    assert_eq!(fleet["replicas"]["one"][0]["provider"], "alpha/large");
}

#[tokio::test]
async fn wrong_url_of_the_fleet_is_named_without_its_password() {
    let config = format!("{CONFIG}\n[fleet]\nurl = \"redis://:hunter2@[\"\n");
    let config: Config = config.parse().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = Gateway::new(&config, None).unwrap_err().to_string();
    assert!(error.starts_with("fleet.url: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}
