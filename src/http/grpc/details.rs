//! Reads the retry delay from `google.rpc.RetryInfo` in `grpc-status-details-bin`, nested in three protobuf messages.
//!
//! Parsed by hand: a protobuf library would add a compiler and generated types for these few fields.

use std::{iter, time::Duration};

use ::http::HeaderMap;
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode::Indifferent, GeneralPurpose, GeneralPurposeConfig},
};

const RETRY_INFO: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";

/// gRPC sends binary fields without padding, and accepts either.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent),
);

/// The longest [`retry_delay`] in the details, unless it is zero.
///
/// [`retry_delay`]: https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
pub(super) fn retry_delay(fields: &HeaderMap) -> Option<Duration> {
    let encoded = fields.get("grpc-status-details-bin")?;
    let status = BASE64.decode(encoded).ok()?;
    let details = messages(&status, 3);
    details.filter_map(delay_of_detail).max()
}

/// Parses a `google.protobuf.Any`.
fn delay_of_detail(any: &[u8]) -> Option<Duration> {
    let type_url = messages(any, 1).last()?;
    let retry_info = messages(any, 2).last()?;
    let delay = messages(retry_info, 1).last()?;
    if type_url == RETRY_INFO {
        duration(delay)
    } else {
        None
    }
}

/// Parses a `google.protobuf.Duration`. `None` if it is negative or zero.
fn duration(message: &[u8]) -> Option<Duration> {
    let number = |field| numbers(message, field).last().unwrap_or(0);
    // Negative numbers are encoded as the largest `u64`s.
    let seconds = number(1).try_into().ok().filter(|it: &i64| *it >= 0)?;
    let nanos = u32::try_from(number(2)).ok()?.min(999_999_999);
    let duration = Duration::new(seconds.unsigned_abs(), nanos);
    (!duration.is_zero()).then_some(duration)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn messages(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    })
}

fn numbers(message: &[u8], field: u64) -> impl Iterator<Item = u64> {
    fields(message).filter_map(move |(number, value)| match value {
        Value::Number(value) if number == field => Some(value),
        _ => None,
    })
}

/// The fields of a message, up to the first malformed one.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    iter::from_fn(move || next_field(&mut message))
}

fn next_field<'a>(message: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(message)?;
    let value = match key & 7 {
        0 => Value::Number(varint(message)?),
        1 => Value::Bytes(take(message, 8)?),
        2 => {
            let length = varint(message)?;
            Value::Bytes(take(message, length)?)
        }
        5 => Value::Bytes(take(message, 4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(usize::try_from(length).ok()?)?;
    *message = rest;
    Some(taken)
}
