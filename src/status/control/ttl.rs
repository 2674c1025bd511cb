use std::{ops::RangeInclusive, time::Duration};

use crate::{serde::duration, view::Override};

const LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Override::LONGEST_FROM_OUTSIDE;

/// Parses a duration such as `90s`, `10m`, `1h 30m` or `2d`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let must = "`ttl` must be a duration from 1s to 7d, such as 90s, 10m or 2h";
    let ttl = duration(text.trim()).map_err(|error| format!("{must}, got {text:?}: {error}"))?;
    if LIMITS.contains(&ttl) {
        Ok(ttl)
    } else {
        Err(format!("{must}, got {text:?}"))
    }
}
