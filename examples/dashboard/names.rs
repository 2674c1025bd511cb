//! Refuses requests for other host names, against DNS rebinding: a foreign site whose name resolves to this address would count as
//! the same origin in a browser.

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
