use std::fmt;

/// The kind of an error, with a stable label for metrics.
///
/// | kind | label | errors |
/// |---|---|---|
/// | [`Dns`](Self::Dns) | `dns` | † `dns error` beneath a connect error of the client |
/// | [`Connect`](Self::Connect) | `connect` | `io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, NetworkDown, AddrNotAvailable}`; † any other connect error of the client; `ConnectError` of tonic, with feature `tonic` |
/// | [`Tls`](Self::Tls) | `tls` | † `io::ErrorKind::InvalidData` beneath a connect error of the client: rustls; with others it is `connect` |
/// | [`Timeout`](Self::Timeout) | `timeout` | `io::ErrorKind::TimedOut`, when connecting too; `Elapsed` of tokio and of tower; `TimedOut` of reqwest; `TimeoutExpired` of tonic; `TimeoutError` of tower-http; `http::IdleBody`, `http::PeekError::TimedOut`; † `is_timeout` |
/// | [`Reset`](Self::Reset) | `reset` | `io::ErrorKind::{ConnectionReset, ConnectionAborted, BrokenPipe}`; † an HTTP/2 stream that the provider reset |
/// | [`Closed`](Self::Closed) | `closed` | † `is_closed`, `is_canceled`; an HTTP/2 connection that the provider closed for an error (`GOAWAY`) |
/// | [`Incomplete`](Self::Incomplete) | `incomplete` | `io::ErrorKind::UnexpectedEof`; `http::PeekError::{Ended, Incomplete}`; † `is_incomplete_message` |
/// | [`Protocol`](Self::Protocol) | `protocol` | † `is_parse`; a body in bad chunks; an error of HTTP/2 that the client detected |
/// | [`NoHealthyProvider`](Self::NoHealthyProvider) | `no healthy provider` | [`error::NoHealthyProvider`](crate::error::NoHealthyProvider), unless its last error has a kind that is not local |
/// | [`CircuitOpen`](Self::CircuitOpen) | `circuit open` | [`error::CircuitOpen`](crate::error::CircuitOpen); `NoHealthyProvider` where breakers refused and no provider was called |
/// | [`Released`](Self::Released) | `released` | [`error::CircuitOpen`](crate::error::CircuitOpen) that [is released](crate::error::CircuitOpen::is_released) |
/// | [`Overloaded`](Self::Overloaded) | `overloaded` | `Overloaded` of tower's `LoadShed` |
/// | [`Request`](Self::Request) | `request` | `http::ReplayError`; `NoHealthyProvider` where no entry takes the request; a builder error of reqwest; † `is_user`, an HTTP/2 stream that this side reset; a method, version or URI that the client refuses |
/// | [`TooManyPings`](Self::TooManyPings) | `too many pings` | † `GOAWAY` with `ENHANCE_YOUR_CALM` and the debug data `too_many_pings` ([gRFC A8]) |
/// | [`Unprocessed`](Self::Unprocessed) | `unprocessed` | † an HTTP/2 stream after the last of a `GOAWAY` with `NO_ERROR`, or reset with `REFUSED_STREAM` ([RFC 9113 §8.7]) |
///
/// † With feature `hyper`, which `reqwest` turns on: `hyper::Error`, and the error of hyper-util's legacy client, which reqwest uses too.
///
/// For an error with sources, the innermost kind counts, with two exceptions. An error while connecting is always one of the
/// first four kinds, `dns` to `timeout`. A [neutral](Self::is_neutral) kind stays neutral: a request whose body breaks off is a `request`, although
/// the source is a `reset`.
///
/// Tower and tower-http are not dependencies of this crate, nor are reqwest and tonic without their features. Their errors are
/// recognized by the texts of both `Debug` and `Display`, which are the same in tower 0.4 and 0.5, reqwest 0.12 and 0.13,
/// tower-http 0.6 and tonic 0.14. An error with only the same `Display` text is not recognized.
///
/// [gRFC A8]: https://github.com/grpc/proposal/blob/master/A8-client-side-keepalive.md
/// [RFC 9113 §8.7]: https://www.rfc-editor.org/rfc/rfc9113#section-8.7
///
/// ```
/// use std::io;
/// use tower_health::{BoxError, error::Kind};
///
/// let refused: BoxError = io::Error::from(io::ErrorKind::ConnectionRefused).into();
/// let shed: BoxError = tower::load_shed::error::Overloaded::new().into();
/// let unknown: BoxError = "timeout".into();
///
/// assert_eq!(Kind::of(&*refused), Some(Kind::Connect));
/// assert!(Kind::of(&*shed).is_some_and(Kind::is_local));
/// assert_eq!(Kind::of(&*unknown), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The provider's name could not be resolved.
    Dns,
    /// No connection could be made.
    Connect,
    /// The connection was made, but the TLS handshake failed.
    Tls,
    /// A timeout elapsed.
    Timeout,
    /// The provider reset the connection or the stream.
    Reset,
    /// The connection was closed before the request was sent.
    Closed,
    /// The connection was closed before the response, or in the middle of a message.
    Incomplete,
    /// The response is not valid HTTP.
    Protocol,
    /// No provider of a chain served the request, and at least one was called.
    NoHealthyProvider,
    /// A breaker refused the call, or every breaker of a chain did.
    CircuitOpen,
    /// A breaker [released](crate::Policy::release_on_open) the call when it opened. The provider may have processed the request.
    Released,
    /// The local stack shed the call because it was full.
    Overloaded,
    /// The request is at fault: its body broke off, is too large, or cannot be sent.
    Request,
    /// The provider closed the connection because the client sends keep-alive pings too often, which is a client setting.
    TooManyPings,
    /// The provider reported that it did not process the request: it shuts down the connection gracefully, or refused the
    /// stream. The request can be sent again.
    Unprocessed,
}

impl Kind {
    /// Returns whether the error arose in the client, so that it is [neutral](Self::is_neutral).
    #[must_use]
    pub fn is_local(self) -> bool {
        match self {
            Self::CircuitOpen
            | Self::Released
            | Self::Overloaded
            | Self::Request
            | Self::TooManyPings => true,
            Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Timeout
            | Self::Reset
            | Self::Closed
            | Self::Incomplete
            | Self::Protocol
            | Self::NoHealthyProvider
            | Self::Unprocessed => false,
        }
    }

    /// Returns whether the error proves nothing about the provider's health: it is [local](Self::is_local), or the provider
    /// [did not process](Self::Unprocessed) the request. By default such a call is [`Outcome::Neutral`](crate::Outcome::Neutral).
    #[must_use]
    pub fn is_neutral(self) -> bool {
        self.is_local() || self == Self::Unprocessed
    }

    /// Returns the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Incomplete => "incomplete",
            Self::Protocol => "protocol",
            Self::NoHealthyProvider => "no healthy provider",
            Self::CircuitOpen => "circuit open",
            Self::Released => "released",
            Self::Overloaded => "overloaded",
            Self::Request => "request",
            Self::TooManyPings => "too many pings",
            Self::Unprocessed => "unprocessed",
        }
    }

    /// Returns whether this kind replaces `known`, the kind of an error around it.
    pub(crate) fn adds_to(self, known: Option<Self>) -> bool {
        match known {
            Some(Self::Dns) => self.is_neutral(),
            // A refusal at the end of a chain does not cancel an earlier failure.
            Some(Self::NoHealthyProvider) => !self.is_neutral(),
            Some(Self::Connect) => {
                self.is_neutral() || matches!(self, Self::Dns | Self::Tls | Self::Timeout)
            }
            _ => true,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
