//! A client that streams a chat completion.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tower_health::{
    BoxError,
    http::{
        llm::ApiError,
        sse::{Parser, SseEvent},
    },
};

/// The answer as a client sees it.
#[derive(Debug, Default)]
pub struct Answer {
    /// The text, or the status and the code of an error.
    pub text: String,
    /// The value of `x-served-by`, or empty.
    pub served_by: String,
    /// Time until the end of the answer.
    pub after: Duration,
}

/// Streams an answer.
///
/// # Errors
///
/// If the connection fails. Errors of the API are answers.
pub async fn ask(url: &str, alias: &str) -> Result<Answer, BoxError> {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let body = json!({"model": alias, "stream": true, "messages": messages});
    let start = Instant::now();
    let request = Client::new().post(format!("{url}/v1/chat/completions"));
    let response = request.body(body.to_string()).send().await?;
    let served_by = response.headers().get("x-served-by");
    let served_by = served_by
        .map_or("", |it| it.to_str().unwrap_or_default())
        .to_owned();
    let text = read(response).await?;
    Ok(Answer {
        text,
        served_by,
        after: start.elapsed(),
    })
}

async fn read(response: Response) -> Result<String, BoxError> {
    let status = response.status();
    let wait = response.headers().get("retry-after-ms").cloned();
    let body = reqwest::Body::from(response).collect().await?.to_bytes();
    if !status.is_success() {
        let error = ApiError::in_body(std::str::from_utf8(&body)?);
        let code = error.as_ref().and_then(ApiError::code).unwrap_or("?");
        let wait = wait
            .as_ref()
            .map_or("-", |it| it.to_str().unwrap_or_default());
        return Ok(format!("{} {code}, retry in {wait} ms", status.as_u16()));
    }
    let (mut parser, mut unread, mut text) = (Parser::new(), &body[..], String::new());
    while let Some(event) = parser.read(&mut unread) {
        text += &told(&event);
    }
    Ok(text)
}

fn told(event: &SseEvent<'_>) -> String {
    if let Some(error) = ApiError::in_event(event) {
        return format!("[{}]", error.code().unwrap_or("?"));
    }
    let chunk: Value = serde_json::from_str(event.data).unwrap_or_default();
    chunk["choices"][0]["delta"]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
