//! The kinds of errors of other crates.

use std::{any::Any, error::Error, io};

use tokio::time::error::Elapsed;

#[cfg(feature = "hyper")]
use super::kind_hyper::by_hyper;
use super::{bounded_text::beginning_of, kind::Kind};
use crate::util::errors::{BoxError, by_value_or_pointer};

/// What one error of another crate shows, without those beneath it; those around it have shown `known`.
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
        // Elsewhere it is anything that cannot be parsed.
        io::ErrorKind::InvalidData if known == Some(Kind::Connect) => Some(Kind::Tls),
        _ => None,
    }
}

/// By all that can be seen of errors whose types cannot be named here.
fn by_prints(error: &(dyn Error + 'static)) -> Option<Kind> {
    let text = beginning_of(error);
    let (debug, kind) = match &*text {
        "request timed out" => ("Elapsed(())", Kind::Timeout),
        "operation timed out" => ("TimedOut", Kind::Timeout),
        "Timeout expired" => ("TimeoutExpired(())", Kind::Timeout),
        "data was not received within the designated timeout" => {
            ("TimeoutError(())", Kind::Timeout)
        }
        "service overloaded" => ("Overloaded", Kind::Overloaded),
        // Its URL and source follow.
        _ if text.starts_with("builder error") => ("reqwest::Error { kind: Builder", Kind::Request),
        _ => return None,
    };
    let printed = beginning_of(format_args!("{error:?}"));
    let rest = printed.strip_prefix(debug)?;
    (rest.is_empty() || rest.starts_with([',', ' '])).then_some(kind)
}

/// The error of a service, which may be in a box or of a type of its own, of which only these are
/// known to be errors: of the others there is nothing but their text.
pub(crate) fn as_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    let boxed = error.downcast_ref::<BoxError>();
    let known = boxed
        .map(|error| &**error as _)
        .or_else(|| as_known::<io::Error>(error))
        .or_else(|| Kind::own_error(error))
        .or_else(|| as_known::<Elapsed>(error));
    #[cfg(feature = "hyper")]
    let known = known
        .or_else(|| as_known::<hyper::Error>(error))
        .or_else(|| as_known::<hyper_util::client::legacy::Error>(error));
    known
}

pub(crate) fn as_known<T: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    error.downcast_ref::<T>().map(|error| error as _)
}
