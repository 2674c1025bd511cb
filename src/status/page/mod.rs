//! The page: one HTML file with inline style and script, without external assets.

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

/// Allows only the page's own script and style. If one of them changes, the test in `tests/status/page.rs` prints its new hash.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
    connect-src 'self'; img-src data:; \
    script-src 'sha256-0aLSo/VARbauzfROuHCfIIB2sBD1yeAohJXJUMgGljo='; \
    style-src 'sha256-4KcY0FlGdWB9vMwxD0aY5iRBIwkvIUn1RxMuXZiBwDQ='";

pub(super) fn page(settings: &Settings) -> Answer {
    let page = answer(
        StatusCode::OK,
        "text/html; charset=utf-8",
        StatusBody::whole(html(settings)),
    );
    with(page, CONTENT_SECURITY_POLICY, POLICY)
}

/// Fills in the template. Text from the application is escaped, and comes last so that placeholders in it are not replaced.
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
