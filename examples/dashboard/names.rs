//! Answers to its own names alone: a site that has its name lead here would pass for it in a browser.

use axum::{
    extract::Request,
    http::{StatusCode, header::HOST},
    middleware::Next,
    response::Response,
};

pub(crate) async fn only_own(
    port: u16,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let host = request.headers().get(HOST);
    let own = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}"));
    if host.is_some_and(|host| own.iter().any(|own| host == own)) {
        Ok(next.run(request).await)
    } else {
        Err(StatusCode::MISDIRECTED_REQUEST)
    }
}
