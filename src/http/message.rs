//! The requests and responses that layers accept: those of `http`, and those of reqwest.

use ::http::{Method, Request, Response};
use http_body::Body;

use super::peek::PeekBody;

pub(super) mod sealed {
    pub trait Sealed {}
}

/// A request that [`Peek`](super::Peek) sends: [`http::Request`](::http::Request) or, with feature `reqwest`,
/// `reqwest::Request`.
///
/// Sealed: public only so that bounds can name it.
pub trait HttpRequest: sealed::Sealed {
    /// Returns the method.
    fn method(&self) -> &Method;
}

/// A response that [`Peek`](super::Peek) and [`ReadErrors`](super::ReadErrors) hold back:
/// [`http::Response`](::http::Response) or, with feature `reqwest`, `reqwest::Response`.
///
/// Sealed: public only so that bounds can name it.
pub trait HttpResponse: sealed::Sealed {
    /// The body.
    type Body: Body;
    /// The response that is returned. Its body is a [`PeekBody`].
    type Peeked;

    /// Converts into a response of `http`.
    fn into_http(self) -> Response<Self::Body>;

    /// Converts back.
    fn peeked(response: Response<PeekBody<Self::Body>>) -> Self::Peeked;
}

impl<B> sealed::Sealed for Request<B> {}

impl<B> HttpRequest for Request<B> {
    fn method(&self) -> &Method {
        self.method()
    }
}

impl<B> sealed::Sealed for Response<B> {}

impl<B: Body> HttpResponse for Response<B> {
    type Body = B;
    type Peeked = Response<PeekBody<B>>;

    fn into_http(self) -> Self {
        self
    }

    fn peeked(response: Response<PeekBody<B>>) -> Self::Peeked {
        response
    }
}
