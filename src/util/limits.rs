//! Limits of settings. Each function returns a valid value unchanged. The error text follows the name of the setting: "must be
//! at least 1, got 0".

use std::{fmt, time::Duration};

const SHORTEST_WINDOW: Duration = Duration::from_millis(1);

pub(crate) fn positive(wait: Duration) -> Result<Duration, String> {
    must(
        !wait.is_zero(),
        wait,
        format_args!("longer than zero, got {wait:?}"),
    )
}

pub(crate) fn at_least_one<N>(count: N) -> Result<N, String>
where
    N: Copy + PartialOrd + From<u8> + fmt::Display,
{
    must(
        count >= N::from(1),
        count,
        format_args!("at least 1, got {count}"),
    )
}

pub(crate) fn ratio(ratio: f64) -> Result<f64, String> {
    must(
        ratio > 0.0 && ratio <= 1.0,
        ratio,
        format_args!("above 0 and at most 1, got {ratio}"),
    )
}

pub(crate) fn share(share: f64) -> Result<f64, String> {
    must(
        (0.0..=1.0).contains(&share),
        share,
        format_args!("at least 0 and at most 1, got {share}"),
    )
}

pub(crate) fn rate_window(window: Duration) -> Result<Duration, String> {
    must(
        window >= SHORTEST_WINDOW,
        window,
        format_args!("at least {SHORTEST_WINDOW:?}, got {window:?}"),
    )
}

pub(crate) fn max(max: Duration, first: Duration) -> Result<Duration, String> {
    must(
        max >= first,
        max,
        format_args!("at least first ({first:?}), got {max:?}"),
    )
}

pub(crate) fn factor(factor: f64) -> Result<f64, String> {
    must(
        factor.is_finite() && factor >= 1.0,
        factor,
        format_args!("at least 1 and finite, got {factor}"),
    )
}

fn must<T>(is_valid: bool, value: T, limit: fmt::Arguments<'_>) -> Result<T, String> {
    if is_valid {
        Ok(value)
    } else {
        Err(format!("must be {limit}"))
    }
}
