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
    future::{Order, refuse_long_ones},
    origin::refuse_strangers,
    refusal::Refusal,
    route::Route,
};
use super::body::StatusBody;
use crate::cache::HealthCache;

/// Overrules the breakers of a cache: what an operator presses.
///
/// **Put it behind your own authentication**: whoever reaches it can take providers out of service. It is apart from
/// [`StatusService`](super::StatusService) so that only it need be guarded; there is an example in [the module](super).
///
/// | `POST` | JSON | what it does |
/// |---|---|---|
/// | `/providers/{id}/force-open` | `{"ttl":"10m","reason":"maintenance"}` | [forces](crate::Provider::force) it open: no call is made |
/// | `/providers/{id}/force-closed` | the same | forces it closed: every call is made |
/// | `/providers/{id}/release` | `{}` | [ends](crate::Provider::unforce) what was forced |
/// | `/providers/{id}/reset` | `{}` | [forgets](crate::Provider::mark_healthy) what was heard against it, and closes it unless it is forced |
///
/// The id is percent-encoded; slashes in it may stay. It may also be in the query, as `/providers/force-open?id={id}`,
/// percent-encoded too: clients remove the ids `.` and `..` from a path, even where they are encoded. `ttl` is a time such as `90s`, `10m` or `1h 30m`, from `1s` to
/// `7d`; `reason` is of 1 to 200 bytes, and is shown to all who see the status. The answer is JSON: 200 with the provider's
/// new health, in the shape of `/health.json`, or what is wrong, as `{"error":"…"}`:
///
/// | status | |
/// |---|---|
/// | 400 | the body is no JSON object; or a field is missing, unknown or not within its limits |
/// | 403 | the request comes from a page of another origin |
/// | 404 | there is no such provider, and none is made; or no such action |
/// | 405 | it is not a `POST` |
/// | 413 | more than 4 KiB were sent, or announced by `Content-Length` |
/// | 415 | it is not `application/json` |
///
/// Pages of other origins cannot press its buttons through an operator's browser: `Sec-Fetch-Site`, or without it `Origin`
/// and `Host`, must tell of the same origin, where they are there; and no browser sends JSON to another site unasked. A
/// proxy that speaks plain HTTP to its users must pass `Host` on: there a browser sends no `Sec-Fetch-Site`.
///
/// That does not stop a page whose own name is made to lead to your address (DNS rebinding): to the browser it is of the same
/// origin. What stops it is a credential that the browser ties to your name, such as a cookie or a password. Who is let in by
/// address alone, as on loopback or in a private network, has to check `Host` too: `examples/dashboard` does.
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
    /// Controls all providers of `cache`.
    pub fn new(cache: &HealthCache) -> Self {
        Self {
            cache: cache.clone(),
        }
    }

    fn order<B: Body>(&self, request: &Request<B>) -> Result<Order, Refusal> {
        let route = Route::of(request)?;
        refuse_strangers(request.headers(), request.uri())?;
        refuse_long_ones(request)?;
        let provider = route.provider(&self.cache)?;
        Ok(Order {
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
        match self.order(&request) {
            Ok(order) => ControlFuture::reading(order, request.into_body()),
            Err(refusal) => ControlFuture::refused(refusal.into()),
        }
    }
}
