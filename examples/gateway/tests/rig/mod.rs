//! A gateway on loopback, in front of providers with configurable failures.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod clients;
pub mod redis;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use gateway::{
    Config, Gateway,
    demo::{Upstream, start},
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub const CONFIG: &str = r#"
    [server]
    listen = "127.0.0.1:0"
    shutdown_limit = "30s"
    longest_retry_after = "1s"

    [limits]
    head = "300ms"
    first_token = "300ms"
    idle = "300ms"
    answer = "600ms"

    [policy]
    backoff.constant = "3s"
    throttle.jitter = 0.0

    [providers]
    alpha.base_url = "http://alpha"
    beta.base_url = "http://beta"

    [aliases]
    chat = [{ provider = "alpha", model = "large" }, { provider = "beta", model = "large" }]
    alone = [{ provider = "alpha", model = "large" }]
    sister = [{ provider = "alpha", model = "small" }]
"#;

pub struct Rig {
    pub alpha: Upstream,
    pub beta: Upstream,
    pub gateway: Arc<Gateway>,
    pub url: String,
    path: Option<PathBuf>,
    client: Client,
}

/// An answer as the client sees it.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub served_by: String,
    pub attempts: String,
    /// The value of `retry-after`, `retry-after-ms` and `x-should-retry`.
    pub retry: [Option<String>; 3],
    pub body: String,
    pub after: Duration,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(CONFIG).await
    }

    /// Starts a gateway that reads its configuration from a file of this name.
    pub async fn from_file(name: &str, config: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
        Self::new(config, Some(path)).await
    }

    /// Replaces the names of the providers in the configuration by their addresses.
    pub async fn with(config: &str) -> Self {
        Self::new(config, None).await
    }

    async fn new(config: &str, path: Option<PathBuf>) -> Self {
        let alpha = Upstream::start("alpha").await.unwrap();
        let beta = Upstream::start("beta").await.unwrap();
        let config = addressed(config, [&alpha, &beta]);
        if let Some(path) = &path {
            fs::write(path, &config).unwrap();
        }
        let gateway = Gateway::new(&config.parse::<Config>().unwrap(), path.clone()).unwrap();
        let url = start(&gateway).await.unwrap();
        Self {
            alpha,
            beta,
            gateway,
            url,
            path,
            client: Client::new(),
        }
    }

    /// Replaces the file of the configuration.
    pub fn write(&self, config: &str) {
        let config = addressed(config, [&self.alpha, &self.beta]);
        fs::write(self.path.as_ref().unwrap(), config).unwrap();
    }

    /// The ids of all providers in `health.json`.
    pub async fn ids(&self) -> Vec<String> {
        let rows = self.rows().await.into_iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn rows(&self) -> Vec<Value> {
        self.list("health.json", "providers").await
    }

    /// The chains in `chains.json`.
    pub async fn chains(&self) -> Vec<Value> {
        self.list("chains.json", "chains").await
    }

    async fn list(&self, file: &str, list: &str) -> Vec<Value> {
        let answer = self.get(&format!("/admin/status/{file}"));
        let bytes = answer.send().await.unwrap().bytes().await.unwrap();
        let whole: Value = serde_json::from_slice(&bytes).unwrap();
        whole[list].as_array().unwrap().clone()
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub async fn ask(&self, alias: &str, is_stream: bool) -> Answer {
        self.ask_with(&request(alias, is_stream)).await
    }

    pub async fn ask_with(&self, request: &Value) -> Answer {
        let began = Instant::now();
        let request = self.post("/v1/chat/completions").body(request.to_string());
        let response = request.send().await.unwrap();
        Answer::of(response, began).await
    }

    /// Streams an answer.
    pub async fn stream(&self, alias: &str) -> Answer {
        self.ask(alias, true).await
    }

    /// The row of a provider in `health.json`.
    pub async fn health(&self, id: &str) -> Value {
        let mut rows = self.rows().await.into_iter();
        rows.find(|row| row["id"] == id)
            .unwrap_or_else(|| panic!("no row of {id}"))
    }

    /// State, cause, failures in a row and last error of a provider.
    pub async fn recorded(&self, id: &str) -> Value {
        let row = self.health(id).await;
        json!([
            row["state"],
            row["cause"],
            row["consecutive_failures"],
            row["last_error"]
        ])
    }

    /// Waits until the breaker of a provider is in this state.
    pub async fn until_state(&self, id: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.health(id).await["state"] != state {
            assert!(Instant::now() < deadline, "{id} is not {state}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the breaker of a provider has recorded this.
    pub async fn until_recorded(&self, id: &str, expected: Value) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let recorded = self.recorded(id).await;
            if recorded == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{id}: {recorded}, not {expected}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

pub fn addressed(config: &str, upstreams: [&Upstream; 2]) -> String {
    upstreams
        .iter()
        .fold(config.to_owned(), |config, upstream| {
            config.replace(&format!("http://{}", upstream.name()), &upstream.base_url())
        })
}

pub fn request(alias: &str, is_stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    json!({"model": alias, "stream": is_stream, "messages": messages})
}

impl Answer {
    pub async fn of(response: Response, began: Instant) -> Self {
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Self {
            status: response.status(),
            served_by: header("x-served-by").unwrap_or_default(),
            attempts: header("x-attempts").unwrap_or_default(),
            retry: ["retry-after", "retry-after-ms", "x-should-retry"].map(header),
            body: response.text().await.unwrap(),
            after: began.elapsed(),
        }
    }

    /// The text of a streamed or complete answer, with the codes of errors in brackets.
    pub fn text(&self) -> String {
        let data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let mut parts: Vec<&str> = data.collect();
        if parts.is_empty() {
            parts.push(&self.body);
        }
        let part = |data: &str| {
            let value: Value = serde_json::from_str(data).unwrap_or_default();
            if let Some(code) = value["error"]["code"].as_str() {
                return format!("[{code}]");
            }
            let choice = &value["choices"][0];
            let text = choice["delta"]["content"]
                .as_str()
                .or(choice["message"]["content"].as_str());
            text.unwrap_or_default().to_owned()
        };
        parts.into_iter().map(part).collect()
    }

    #[track_caller]
    pub fn assert(&self, served_by: &str, attempts: usize, text: &str) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let attempts = attempts.to_string();
        assert_eq!(
            (&*self.served_by, &*self.attempts, &*self.text()),
            (served_by, &*attempts, text)
        );
    }

    /// Asserts that the answer contains nothing about the provider.
    #[track_caller]
    pub fn assert_discreet(&self) {
        assert!(!self.body.contains("org-secret"), "{}", self.body);
        assert!(!self.body.contains("127.0.0.1"), "{}", self.body);
    }
}
