use std::{ops::RangeInclusive, time::Duration};

use crate::{serde::duration, view::Override};

const LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Override::LONGEST_FROM_OUTSIDE;

/// `90s`, `10m`, `1h 30m`, `2d`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |what: &str| {
        format!("`ttl` must be a time from 1s to 7d, such as 90s, 10m or 2h; {text:?} {what}")
    };
    let ttl = duration(text.trim()).map_err(|error| wrong(&format!("is none: {error}")))?;
    if LIMITS.contains(&ttl) {
        Ok(ttl)
    } else {
        Err(wrong("is not within that"))
    }
}
