use std::time::Duration;

const FORM: &[u8] = b"0000-00-00T00:00:00";

/// Parses a time of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339#section-5.6) as time since the Unix epoch. `None`
/// if it is before.
pub(super) fn since_epoch(text: &str) -> Option<Duration> {
    let (date_and_time, rest) = text.trim().split_at_checked(FORM.len())?;
    if !has_form(date_and_time, FORM) {
        return None;
    }
    let part = |start, len| date_and_time[start..start + len].parse::<i64>().ok();
    let days = days_since_epoch(part(0, 4)?, part(5, 2)?, part(8, 2)?)?;
    let (hour, minute, second) = (part(11, 2)?, part(14, 2)?, part(17, 2)?);
    // 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let local = days * 86_400 + hour * 3_600 + minute * 60 + second;
    let seconds = u64::try_from(local - offset(zone)?).ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Returns whether the text matches the form: a digit for each `0`, otherwise the same character.
fn has_form(text: &str, form: &[u8]) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, expected)| {
            byte.eq_ignore_ascii_case(expected) || (*expected == b'0' && byte.is_ascii_digit())
        })
}

/// The days of whole years, including leap days, of whole months, and of this month, in the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = 28 + i64::from(is_leap);
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month - 1).ok()?;
    if !(1..=*lengths.get(before)?).contains(&day) {
        return None;
    }
    let leap_years = |year| year / 4 - year / 100 + year / 400;
    let of_years = 365 * (year - 1970) + leap_years(year - 1) - leap_years(1969);
    Some(of_years + lengths[..before].iter().sum::<i64>() + day - 1)
}

/// The nanoseconds of an optional fraction, and the text after it.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let nine = format!("{digits:0<9}");
    let nanos = (!digits.is_empty()).then(|| nine[..9].parse().ok())??;
    Some((nanos, rest))
}

/// The offset in seconds, positive east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, time) = zone.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    if !has_form(time, b"00:00") {
        return None;
    }
    let (hours, minutes): (i64, i64) = (time[..2].parse().ok()?, time[3..].parse().ok()?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_of_any_zone_and_fraction() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("1970-01-01t00:00:01.5z", 1_500_000_000),
            ("1970-01-01T01:00:01+01:00", 1_000_000_000),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1994-11-06T08:49:37Z", 784_111_777_000_000_000),
            ("2000-02-29T12:00:00Z", 951_825_600_000_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
            ("2026-03-01T00:00:00.1234567899Z", 1_772_323_200_123_456_789),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000_000),
        ] {
            let read = since_epoch(text).map(|time| time.as_nanos());
            assert_eq!(read, Some(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_absent() {
        for text in [
            "",
            "1969-12-31T23:59:59Z",
            "1994-11-06",
            "1994-11-06T08:49:37",
            "1994-11-06 08:49:37Z",
            "1994-11-06T08:49:37.Z",
            "1994-11-06T08:49:37.5",
            "1994-11-06T08:49:37+0100",
            "1994-11-06T08:49:37+24:00",
            "1994-11-06T08:49:37é",
            "1994-11-06T24:00:00Z",
            "1994-11-06T08:60:00Z",
            "1994-11-06T08:49:61Z",
            "1994-00-06T08:49:37Z",
            "1994-13-06T08:49:37Z",
            "1994-11-00T08:49:37Z",
            "1994-11-31T08:49:37Z",
            "1900-02-29T08:49:37Z",
            "+994-11-06T08:49:37Z",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(since_epoch(text), None, "{text:?}");
        }
    }
}
