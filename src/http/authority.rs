use std::{
    fmt::{self, Write},
    net::Ipv6Addr,
    str,
};

use ::http::{Request, uri::Authority};

use crate::{cache::LONGEST, layer::Key};

/// Keys providers by the scheme, host and port of the request's URI. The key of
/// [`HealthLayer::per_authority`](crate::HealthLayer::per_authority).
///
/// URIs with the same origin have the same id ([RFC 9110 §4.2.3], [RFC 3986 §6.2]):
///
/// | URI | id |
/// |---|---|
/// | `https://api.example.com/v1/models` | `https://api.example.com` |
/// | `HTTPS://user:secret@API.Example.com.:443/` | `https://api.example.com` |
/// | `http://10.0.0.1:8080` | `http://10.0.0.1:8080` |
/// | `http://[2001:DB8:0:0::1]:80/` | `http://[2001:db8::1]` |
/// | `api.example.com:443` (for `CONNECT`) | `api.example.com:443` |
/// | `/v1/models` | none: not guarded |
///
/// Omits the default ports of `http`, `https`, `ws` and `wss`. A request whose id would exceed 320 bytes is not guarded
/// either: no host name is that long ([RFC 1035 §2.3.4]).
///
/// The `Host` header is ignored: the caller may set it to anything. A request without an authority in its URI is not
/// guarded: it uses a connection that is already established.
///
/// [RFC 1035 §2.3.4]: https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
/// [RFC 3986 §6.2]: https://www.rfc-editor.org/rfc/rfc3986#section-6.2
/// [RFC 9110 §4.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-4.2.3
#[derive(Clone, Copy, Debug, Default)]
pub struct PerAuthority;

impl<B> Key<Request<B>> for PerAuthority {
    fn with_key<R>(&self, request: &Request<B>, look_up: impl FnOnce(&str) -> R) -> R {
        let uri = request.uri();
        let authority = uri.authority();
        with_id(
            uri.scheme_str(),
            authority.map_or("", Authority::host),
            authority.and_then(Authority::port_u16),
            look_up,
        )
    }
}

/// Calls `look_up` with the id of an origin, or with an empty id if there is no host or the id would be too long.
pub(super) fn with_id<R>(
    scheme: Option<&str>,
    host: &str,
    port: Option<u16>,
    look_up: impl FnOnce(&str) -> R,
) -> R {
    let mut id = Id::default();
    match id.write_origin(scheme, host, port) {
        Ok(()) => look_up(id.as_str()),
        Err(fmt::Error) => look_up(""),
    }
}

/// An id, built on the stack.
struct Id {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Id {
    /// Writes nothing if the host is empty. Fails if the id is too long.
    fn write_origin(&mut self, scheme: Option<&str>, host: &str, port: Option<u16>) -> fmt::Result {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() {
            return Ok(());
        }
        if let Some(scheme) = scheme {
            self.write_str(scheme)?;
            self.write_str("://")?;
        }
        match ipv6(host) {
            Some(address) => write!(self, "[{address}]")?,
            None => self.write_str(host)?,
        }
        self.bytes[..self.len].make_ascii_lowercase();
        match port {
            Some(port) if scheme.and_then(default_port) != Some(port) => write!(self, ":{port}"),
            _ => Ok(()),
        }
    }

    fn as_str(&self) -> &str {
        // Only whole strings were written.
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Default for Id {
    fn default() -> Self {
        Self {
            bytes: [0; LONGEST],
            len: 0,
        }
    }
}

impl Write for Id {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn ipv6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn default_port(scheme: &str) -> Option<u16> {
    let is_one_of = |schemes: [&str; 2]| schemes.iter().any(|one| scheme.eq_ignore_ascii_case(one));
    if is_one_of(["https", "wss"]) {
        Some(443)
    } else if is_one_of(["http", "ws"]) {
        Some(80)
    } else {
        None
    }
}
