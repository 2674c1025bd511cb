//! Kinds of the errors of hyper and of hyper-util's legacy client. Feature `hyper`.
//!
//! An error's text is read only if its type is private, and only beneath an error of a known type. If a text changes in a later
//! version, the kind becomes a broader one, or none.

use std::{error::Error, io};

use hyper_util::client::legacy;

use super::{bounded_text::Bounded, kind::Kind};
use crate::util::errors::by_value_or_pointer;

/// Returns the kind of one error, without its sources. `known` is the kind of the errors around it.
pub(crate) fn by_hyper(error: &(dyn Error + 'static), known: Option<Kind>) -> Option<Kind> {
    if let Some(error) = by_value_or_pointer::<hyper::Error>(error) {
        of_hyper(error)
    } else if let Some(error) = by_value_or_pointer::<legacy::Error>(error) {
        of_client(error)
    } else if known == Some(Kind::Connect) {
        of_connector(error)
    } else {
        None
    }
}

fn of_hyper(error: &hyper::Error) -> Option<Kind> {
    // Checked first: hyper cancels a request that waits for a connection which is shut down.
    let beneath = error.source().and_then(beneath_hyper);
    if beneath.is_some_and(Kind::is_neutral) {
        beneath
    } else if error.is_user() {
        Some(Kind::Request)
    } else if error.is_timeout() {
        Some(Kind::Timeout)
    } else if error.is_incomplete_message() {
        Some(Kind::Incomplete)
    } else if error.is_closed() || error.is_canceled() {
        Some(Kind::Closed)
    } else if error.is_parse() {
        Some(Kind::Protocol)
    } else {
        beneath
    }
}

fn beneath_hyper(error: &(dyn Error + 'static)) -> Option<Kind> {
    match error.downcast_ref().map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Some(Kind::Protocol),
        Some(_) => None,
        None => of_http2(&Bounded::of(error)),
    }
}

/// Recognizes errors by their text, because `h2` is not part of hyper's public API.
fn of_http2(text: &str) -> Option<Kind> {
    const REFUSED_STREAM: &str = "stream error received: refused stream";
    const GRACEFUL: &str = "connection error received: not a result of an error";
    const CALM: &str = "connection error received: detected excessive load generating behavior";
    let begins = |beginning| text.starts_with(beginning);
    // A graceful GOAWAY ends only the streams after the last that the provider processes.
    if begins(REFUSED_STREAM) || begins(GRACEFUL) {
        Some(Kind::Unprocessed)
    } else if begins(CALM) && text.ends_with("(b\"too_many_pings\")") {
        Some(Kind::TooManyPings)
    } else if begins("stream error received") {
        Some(Kind::Reset)
    } else if begins("connection error received") {
        Some(Kind::Closed)
    } else if begins("stream error detected") || begins("connection error detected") {
        Some(Kind::Protocol)
    // hyper resets the stream this way if the request body fails.
    } else if begins("stream error sent by user") {
        Some(Kind::Request)
    } else {
        None
    }
}

fn of_client(error: &legacy::Error) -> Option<Kind> {
    if error.is_connect() {
        Some(Kind::Connect)
    // `UserUnsupportedVersion` and similar, which have no method.
    } else if Bounded::of(error).starts_with("client error (User") {
        Some(Kind::Request)
    } else {
        None
    }
}

/// Recognizes errors by their text, because the error type of `HttpConnector` is private.
fn of_connector(error: &(dyn Error + 'static)) -> Option<Kind> {
    match &*Bounded::of(error) {
        "dns error" => Some(Kind::Dns),
        text if text.starts_with("invalid URL, ") => Some(Kind::Request),
        _ => None,
    }
}
