//! The `openai` client for Python.

use serde_json::Value;

use crate::{Proxy, environment::Python};

const CLIENT: &str = include_str!("client.py");

/// The answer as the caller sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    /// The error's class, and its status if it has one.
    pub error: Option<String>,
}

impl Python {
    /// Streams one chat completion through the proxy.
    pub async fn stream(&self, proxy: &Proxy) -> Answer {
        let (python, base_url) = (self.clone(), proxy.base_url.clone());
        let output = tokio::task::spawn_blocking(move || python.run(["-c", CLIENT, &base_url]));
        let output = output
            .await
            .expect("no panic")
            .expect("the client ends well");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Answer {
            text: text(&answer["text"]).expect("a text"),
            error: text(&answer["error"]),
        }
    }
}
