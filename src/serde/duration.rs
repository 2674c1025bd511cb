use std::time::Duration;

use humantime::{DurationError, parse_duration};

/// Parses durations such as `90s` and `1h 30m`.
///
/// Each part is passed to [`humantime`] alone, because it panics when the sum of several parts overflows.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    let mut sum = Duration::ZERO;
    let mut start = 0;
    for end in ends(text) {
        let part = match &text[start..end] {
            // Only a whole text of `0` needs no unit, not a last part of it.
            "0" if start > 0 => "0 ",
            part => part,
        };
        let part = parse_duration(part).map_err(|error| shifted(error, start))?;
        sum = sum.checked_add(part).ok_or(DurationError::NumberOverflow)?;
        start = end;
    }
    Ok(sum)
}

/// Returns the end of each part. A part is a number and its unit.
fn ends(text: &str) -> impl Iterator<Item = usize> {
    let mut has_unit = false;
    let starts = text.char_indices().filter_map(move |(at, char)| {
        let is_digit = char.is_ascii_digit();
        let starts_part = is_digit && has_unit;
        has_unit = !is_digit && (has_unit || !(char.is_whitespace() || char == '.'));
        starts_part.then_some(at)
    });
    starts.chain([text.len()])
}

/// Shifts the position in an error to that in the whole text.
fn shifted(error: DurationError, start: usize) -> DurationError {
    match error {
        DurationError::InvalidCharacter(at) => DurationError::InvalidCharacter(start + at),
        DurationError::NumberExpected(at) => DurationError::NumberExpected(start + at),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_needs_a_unit_after_other_parts() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(duration("1s0").is_err());
    }

    proptest! {
        #[test]
        fn durations_and_errors_are_those_of_humantime(
            text in "([0-9 ]{1,4}(\\.[0-9]{1,2})?(ns|us|µs|ms|s|m|h|days|w|y|x|-|)( )?){0,4}\\PC{0,1}",
        ) {
            let expected = parse_duration(&text).map_err(|error| error.to_string());
            let read = duration(&text).map_err(|error| error.to_string());
            prop_assert_eq!(read, expected);
        }
    }
}
