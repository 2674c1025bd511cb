use std::fmt;

/// What kind of error a call ended with: a word or two that stay as they are, fit for a metric's label.
///
/// | kind | label | shown by |
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
/// | [`Overloaded`](Self::Overloaded) | `overloaded` | `Overloaded` of tower's `LoadShed` |
/// | [`Request`](Self::Request) | `request` | `http::ReplayError`; `NoHealthyProvider` where no entry takes the request; a builder error of reqwest; † `is_user`, an HTTP/2 stream that this side reset; a method, version or URI that the client refuses |
/// | [`TooManyPings`](Self::TooManyPings) | `too many pings` | † `GOAWAY` with `ENHANCE_YOUR_CALM` and the debug data `too_many_pings` ([gRFC A8]) |
/// | [`Unprocessed`](Self::Unprocessed) | `unprocessed` | † an HTTP/2 stream after the last of a `GOAWAY` with `NO_ERROR`, or reset with `REFUSED_STREAM` ([RFC 9113 §8.7]) |
///
/// † With feature `hyper`: of `hyper::Error`, and of the error of hyper-util's legacy client, which is also
/// reqwest's.
///
/// Of errors around each other the innermost tells most, save that whatever goes wrong while connecting
/// is one of the first four, and that what is [neutral](Self::is_neutral) stays so: a request whose body
/// breaks off is a `request`, though the error of that body is a `reset`.
///
/// Tower, tower-http and reqwest are no dependencies of this crate, nor is tonic without its feature, so that their types
/// cannot be named. They are known by what both `Debug` and `Display` print of them, the same in tower 0.4 and 0.5, in reqwest
/// 0.12 and 0.13, in tower-http 0.6 and in tonic 0.14; an error that only reads the same is not taken for them.
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
    /// A connection was made, but not a secure one.
    Tls,
    /// The time ran out.
    Timeout,
    /// The provider broke the connection, or the stream, off.
    Reset,
    /// The connection was closed before the request was sent.
    Closed,
    /// The connection was closed in the midst of a message, or before the response.
    Incomplete,
    /// What came was no HTTP.
    Protocol,
    /// A chain came to its end, and called a provider on its way.
    NoHealthyProvider,
    /// Refused on this side, by a breaker, or by every breaker of a chain.
    CircuitOpen,
    /// Refused on this side, by a stack that is full.
    Overloaded,
    /// The request is at fault: its body broke off or is too large, or it cannot be sent at all.
    Request,
    /// The provider closed the connection because this side sends keep-alive pings too often: the client's own setting.
    TooManyPings,
    /// The provider did not process the request, and says so: it shuts the connection down gracefully, or refused the
    /// stream. The request can be sent again.
    Unprocessed,
}

impl Kind {
    /// Whether the error arose on this side, so that it is [neutral](Self::is_neutral).
    #[must_use]
    pub fn is_local(self) -> bool {
        match self {
            Self::CircuitOpen | Self::Overloaded | Self::Request | Self::TooManyPings => true,
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

    /// Whether the error says nothing about the provider's health: it is [local](Self::is_local), or
    /// [the provider did not process the request](Self::Unprocessed). [`Outcome::Neutral`](crate::Outcome::Neutral) by
    /// default.
    #[must_use]
    pub fn is_neutral(self) -> bool {
        self.is_local() || self == Self::Unprocessed
    }

    /// The word.
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
            Self::Overloaded => "overloaded",
            Self::Request => "request",
            Self::TooManyPings => "too many pings",
            Self::Unprocessed => "unprocessed",
        }
    }

    /// Whether it tells more than the kind of an error around it.
    pub(crate) fn adds_to(self, known: Option<Self>) -> bool {
        match known {
            Some(Self::Dns) => self.is_neutral(),
            // What refused last does not undo the call that failed before.
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
