//! What the errors of hyper, and of hyper-util's legacy client, show. Feature `hyper`.
//!
//! Texts are read only beneath an error of a type that is known, and where there is nothing else. Should
//! one be worded otherwise some day, then the kind is a broader one, or none.

use std::{error::Error, io};

use hyper_util::client::legacy;

use super::{bounded_text::beginning_of, kind::Kind};
use crate::util::errors::by_value_or_pointer;

/// What one error shows, without those beneath it; those around it have shown `known`.
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
    // First: a request that waits for a connection which goes away is canceled.
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
        None => of_http2(&beginning_of(error)),
    }
}

/// By the text: hyper does not name `h2` as what is beneath it, and may replace it.
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
    // What hyper makes of a request body's error.
    } else if begins("stream error sent by user") {
        Some(Kind::Request)
    } else {
        None
    }
}

fn of_client(error: &legacy::Error) -> Option<Kind> {
    if error.is_connect() {
        Some(Kind::Connect)
    // `UserUnsupportedVersion` and its like, for which there is no method.
    } else if beginning_of(error).starts_with("client error (User") {
        Some(Kind::Request)
    } else {
        None
    }
}

/// By the text: the error of an `HttpConnector` is of a private type.
fn of_connector(error: &(dyn Error + 'static)) -> Option<Kind> {
    match &*beginning_of(error) {
        "dns error" => Some(Kind::Dns),
        text if text.starts_with("invalid URL, ") => Some(Kind::Request),
        _ => None,
    }
}
