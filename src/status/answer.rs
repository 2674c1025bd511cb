use ::http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};

use serde::Serialize;

use super::body::StatusBody;

pub(super) type Answer = Response<StatusBody>;

const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// Headers of every answer: never cached, never sniffed or framed, readable from its own origin only.
const ALWAYS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

pub(super) fn answer(status: StatusCode, content_type: &'static str, body: StatusBody) -> Answer {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    response
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Answer {
    answer(status, TEXT, StatusBody::whole(text))
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let json = serde_json::to_vec(value).expect("status JSON has only string keys");
    answer(status, JSON, StatusBody::whole(json))
}

pub(super) fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    let value = HeaderValue::from_static(value);
    answer.headers_mut().insert(name, value);
    answer
}

pub(super) fn read_only() -> Answer {
    let message = "method not allowed: use GET or HEAD\n";
    let refusal = text(StatusCode::METHOD_NOT_ALLOWED, message);
    with(refusal, ALLOW, "GET, HEAD")
}
