use std::fmt;

use ::http::{Method, Request, StatusCode, Uri, header::CONTENT_TYPE};

use super::{action::Action, refusal::Refusal};
use crate::cache::{HealthCache, Provider};

/// A parsed path: `/providers/{id}/{action}` or `/providers/{action}?id={id}`.
pub(super) struct Route {
    id: String,
    pub(super) action: Action,
}

impl Route {
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let Some((id, action)) = parts(request.uri()) else {
            return Err(not_found(
                "unknown path: must be /providers/{id}/{action} or /providers/{action}?id={id}, \
                 with action force-open, force-closed, release or reset",
            ));
        };
        if request.method() != Method::POST {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed: use POST",
            ));
        }
        let content_type = request.headers().get(CONTENT_TYPE);
        if !content_type.is_some_and(|it| is_json(it.as_bytes())) {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content type must be application/json",
            ));
        }
        let id = decoded(id).ok_or_else(|| {
            let message = format!("provider id `{id}` is not percent-encoded UTF-8");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })?;
        Ok(Self { id, action })
    }

    /// Finds the provider. An unknown one is not created.
    pub(super) fn provider(&self, cache: &HealthCache) -> Result<Provider, Refusal> {
        let unknown = || not_found(format_args!("unknown provider `{}`", self.id));
        cache.get(&self.id).ok_or_else(unknown)
    }
}

/// Splits a path into the id, still percent-encoded, and the action.
fn parts(uri: &Uri) -> Option<(&str, Action)> {
    let rest = uri.path().strip_prefix("/providers/")?;
    let (id, action) = match rest.rsplit_once('/') {
        Some(parts) => parts,
        None => (id_of_query(uri.query()?)?, rest),
    };
    Some((id, Action::named(action)?))
}

/// Returns the id in the query. Several are ambiguous and count as none.
fn id_of_query(query: &str) -> Option<&str> {
    let mut ids = query.split('&').filter_map(|it| it.strip_prefix("id="));
    ids.next().filter(|_| ids.next().is_none())
}

fn not_found(message: impl fmt::Display) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, message)
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next();
    essence.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

/// Decodes percent-encoding (RFC 3986 §2.1).
fn decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}
