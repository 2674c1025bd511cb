mod action;
mod future;
mod origin;
mod refusal;
mod route;
mod ttl;

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use ::http::{Request, Response};
use http_body::Body;
use tower_service::Service;

pub use self::future::ControlFuture;
use self::{
    future::{Command, refuse_long_body},
    origin::refuse_cross_origin,
    refusal::Refusal,
    route::Route,
};
use super::body::StatusBody;
use crate::cache::HealthCache;

/// Overrides the health of a cache's providers over HTTP.
///
/// **Put it behind your own authentication**: anyone who can reach it can take providers out of service. It is separate from
/// [`StatusService`](super::StatusService), so that only control needs operator credentials; the [module](super) has an
/// example.
///
/// | `POST` | JSON body | effect |
/// |---|---|---|
/// | `/providers/{id}/force-open` | `{"ttl":"10m","reason":"maintenance"}` | [forces](crate::Provider::force) the breaker open: every call is refused |
/// | `/providers/{id}/force-closed` | the same | forces the breaker closed: every call is admitted |
/// | `/providers/{id}/release` | `{}` | [ends](crate::Provider::unforce) an override |
/// | `/providers/{id}/reset` | `{}` | [clears](crate::Provider::mark_healthy) recorded failures, and closes the breaker unless it is forced |
///
/// - The id is percent-encoded; slashes may stay as they are. It may also be in the query, as
///   `/providers/force-open?id={id}`. Use the query for the ids `.` and `..`: clients remove them from a path, even encoded.
/// - `ttl` is a duration from `1s` to `7d`, such as `90s`, `10m` or `1h 30m`.
/// - `reason` is 1 to 200 bytes, and is visible on the status page unless
///   [redacted](super::StatusService::redact).
///
/// A success returns 200 and the provider's new health, in the shape of `/health.json`. An error returns `{"error":"…"}`:
///
/// | status | cause |
/// |---|---|
/// | 400 | the body is not a JSON object, or a field is missing, unknown or out of range |
/// | 403 | cross-origin request |
/// | 404 | unknown provider (none is created) or unknown path |
/// | 405 | the method is not `POST` |
/// | 413 | the body, or its `Content-Length`, exceeds 4 KiB |
/// | 415 | the content type is not `application/json` |
///
/// # Cross-origin requests
///
/// A page of another origin cannot send requests through an operator's browser. `Sec-Fetch-Site`, if present, must be
/// `same-origin` or `none`; without it, `Origin`, if present, must match `Host`. Besides, a browser sends JSON across
/// origins only after a CORS preflight, which this service refuses. A proxy that serves its users over plain HTTP must
/// forward `Host`, because browsers send no `Sec-Fetch-Site` over plain HTTP.
///
/// These checks do not stop DNS rebinding: a page whose own name resolves to your address has the same origin. A credential
/// that the browser ties to your host name, such as a cookie or a password, does. If you admit requests by address alone, as
/// on loopback or in a private network, also check `Host`, as `examples/dashboard` does.
///
/// ```sh
/// curl --json '{"ttl":"10m","reason":"maintenance"}' https://gateway/status/control/providers/groq/force-open
/// ```
#[derive(Clone, Debug)]
#[must_use = "services do nothing unless they are called"]
pub struct ControlService {
    cache: HealthCache,
}

impl ControlService {
    /// Creates a service that controls all providers of `cache`.
    pub fn new(cache: &HealthCache) -> Self {
        Self {
            cache: cache.clone(),
        }
    }

    fn command<B: Body>(&self, request: &Request<B>) -> Result<Command, Refusal> {
        let route = Route::of(request)?;
        refuse_cross_origin(request.headers(), request.uri())?;
        refuse_long_body(request)?;
        let provider = route.provider(&self.cache)?;
        Ok(Command {
            provider,
            action: route.action,
        })
    }
}

impl<B: Body> Service<Request<B>> for ControlService {
    type Response = Response<StatusBody>;
    type Error = Infallible;
    type Future = ControlFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ControlFuture<B> {
        match self.command(&request) {
            Ok(command) => ControlFuture::reading(command, request.into_body()),
            Err(refusal) => ControlFuture::refused(refusal.into()),
        }
    }
}
