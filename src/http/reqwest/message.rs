use ::http::{Method, Response, response};
use ::reqwest::{Body, Request, ResponseBuilderExt};

use crate::{
    http::{
        authority::{PerAuthority, with_id},
        message::{HttpRequest, HttpResponse, sealed::Sealed},
        peek::PeekBody,
    },
    layer::Key,
};

impl Sealed for Request {}

impl HttpRequest for Request {
    fn method(&self) -> &Method {
        self.method()
    }
}

impl Key<Request> for PerAuthority {
    fn with_key<R>(&self, request: &Request, look_up: impl FnOnce(&str) -> R) -> R {
        let url = request.url();
        let host = url.host_str().unwrap_or_default();
        with_id(Some(url.scheme()), host, url.port(), look_up)
    }
}

impl Sealed for ::reqwest::Response {}

impl HttpResponse for ::reqwest::Response {
    type Body = Body;
    type Peeked = Self;

    /// Reqwest's own conversion, and the URL, which reqwest restores from an extension.
    fn into_http(self) -> Response<Body> {
        let url = self.url().clone();
        let mut response = Response::from(self);
        if let Some(with_url) = response::Builder::new().url(url).extensions_mut() {
            response.extensions_mut().extend(std::mem::take(with_url));
        }
        response
    }

    fn peeked(response: Response<PeekBody<Body>>) -> Self {
        response.map(Body::wrap).into()
    }
}
