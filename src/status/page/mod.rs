//! The page: one file with its style and its script in it, and nothing from elsewhere.

use ::http::{StatusCode, header::CONTENT_SECURITY_POLICY};
use bytes::Bytes;

use super::{
    answer::{Answer, answer, with},
    body::StatusBody,
    settings::Settings,
};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Only this very script runs, and only this very style is applied: a test knows the hashes.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
    connect-src 'self'; img-src data:; \
    script-src 'sha256-Fm9KMSPjGTCvu0OdKhmOx+HgisPWRJ/45TRn32C9pGY='; \
    style-src 'sha256-oMJ50FD+6DB8FsoIrUqn+IAkUDRAxn6+8GZk8Ocljgg='";

pub(super) fn page(settings: &Settings) -> Answer {
    let page = answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        StatusBody::whole(html(settings)),
    );
    with(page, CONTENT_SECURITY_POLICY, POLICY)
}

/// What does not come from this crate comes last, and is escaped.
fn html(settings: &Settings) -> Bytes {
    let control = settings.control_at.as_deref().unwrap_or_default();
    let refresh = settings.refresh.as_secs_f64().to_string();
    HTML.replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        .replace("{{refresh}}", &refresh)
        .replace("{{control}}", &escaped(control))
        .replace("{{title}}", &escaped(&settings.title))
        .into()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}
