//! Kinds of errors of other crates.

use std::{any::Any, error::Error, io};

use tokio::time::error::Elapsed;

#[cfg(feature = "hyper")]
use super::kind_hyper::by_hyper;
use super::{bounded_text::Bounded, kind::Kind};
use crate::util::errors::{BoxError, by_value_or_pointer};

/// Returns the kind of one error, without its sources. `known` is the kind of the errors around it.
pub(crate) fn shown_by_others(error: &(dyn Error + 'static), known: Option<Kind>) -> Option<Kind> {
    let shown = by_io(error, known).or_else(|| is::<Elapsed>(error).then_some(Kind::Timeout));
    #[cfg(feature = "hyper")]
    let shown = shown.or_else(|| by_hyper(error, known));
    #[cfg(feature = "tonic")]
    let shown = shown.or_else(|| is::<tonic::ConnectError>(error).then_some(Kind::Connect));
    shown.or_else(|| by_prints(error))
}

fn is<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    by_value_or_pointer::<T>(error).is_some()
}

fn by_io(error: &(dyn Error + 'static), known: Option<Kind>) -> Option<Kind> {
    match by_value_or_pointer::<io::Error>(error)?.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => Some(Kind::Connect),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Some(Kind::Reset),
        io::ErrorKind::TimedOut => Some(Kind::Timeout),
        io::ErrorKind::UnexpectedEof => Some(Kind::Incomplete),
        // Without a connect error around it, this can be any parse error.
        io::ErrorKind::InvalidData if known == Some(Kind::Connect) => Some(Kind::Tls),
        _ => None,
    }
}

/// Recognizes errors by `Display` and `Debug`, because their crates are no dependencies.
fn by_prints(error: &(dyn Error + 'static)) -> Option<Kind> {
    let text = Bounded::of(error);
    let (debug, kind) = match &*text {
        "request timed out" => ("Elapsed(())", Kind::Timeout),
        "operation timed out" => ("TimedOut", Kind::Timeout),
        "Timeout expired" => ("TimeoutExpired(())", Kind::Timeout),
        "data was not received within the designated timeout" => {
            ("TimeoutError(())", Kind::Timeout)
        }
        "service overloaded" => ("Overloaded", Kind::Overloaded),
        // The text goes on with the URL and the source.
        _ if text.starts_with("builder error") => ("reqwest::Error { kind: Builder", Kind::Request),
        _ => return None,
    };
    let printed = Bounded::of(format_args!("{error:?}"));
    let rest = printed.strip_prefix(debug)?;
    (rest.is_empty() || rest.starts_with([',', ' '])).then_some(kind)
}

/// Returns a service's error as `dyn Error`, if it is boxed or of a known type. Of other types only the text can be used, because
/// a service's error type need not implement `Error`.
pub(crate) fn as_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    let boxed = error.downcast_ref::<BoxError>();
    let known = boxed
        .map(|error| &**error as _)
        .or_else(|| as_known::<io::Error>(error))
        .or_else(|| Kind::own_error(error))
        .or_else(|| as_known::<Elapsed>(error));
    #[cfg(feature = "reqwest")]
    let known = known.or_else(|| as_known::<reqwest::Error>(error));
    #[cfg(feature = "hyper")]
    let known = known
        .or_else(|| as_known::<hyper::Error>(error))
        .or_else(|| as_known::<hyper_util::client::legacy::Error>(error));
    known
}

pub(crate) fn as_known<T: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    error.downcast_ref::<T>().map(|error| error as _)
}
