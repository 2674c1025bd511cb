use std::fmt;

use ::http::{StatusCode, header::ALLOW};
use serde::Serialize;

use crate::status::answer::{Answer, json, with};

/// An error response: `{"error":"…"}`.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    error: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl fmt::Display) -> Self {
        let error = error.to_string();
        Self { status, error }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let answer = json(refusal.status, &refusal);
        if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
            with(answer, ALLOW, "POST")
        } else {
            answer
        }
    }
}
