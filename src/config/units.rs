//! Durations and sizes as people write them: `250ms`, `30s`, `10m`, `1h`, `2d`; `64kB`, `16MB`, `1GB`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration such as `30s`; at most ten years.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("\"{text}\" does not begin with a whole number"));
    }
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(format!("\"{text}\" has no unit"));
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("unknown unit \"{unit}\""));
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*millis));
    // A bound far below what Duration holds, so that adding one to the current time cannot overflow.
    match total {
        Some(total) if total <= MAX_MILLIS => Ok(Duration::from_millis(total)),
        _ => Err(format!("\"{text}\" is more than 3650 days")),
    }
}

const MAX_MILLIS: u64 = 3650 * 86_400_000;

/// Writes a duration in the largest unit that divides it, so that it reads back equal. Parts below a
/// millisecond, which no configuration has, are dropped.
pub(crate) fn display_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match UNITS.iter().find(|(_, unit)| millis != 0 && millis % unit == 0) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".to_owned(),
    }
}

const SIZES: [(&str, u64); 5] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// Reads a size such as `16MB`, with PostgreSQL's units.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit.trim()) else {
        return Err(format!("\"{text}\" is not a whole number with a unit"));
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    size.ok_or_else(|| format!("\"{text}\" is not a size"))
}

/// Writes a size in the largest unit that divides it, so that it reads back equal.
pub(crate) fn display_size(size: u64) -> String {
    let fits = SIZES.iter().find(|(_, factor)| size != 0 && size.is_multiple_of(*factor));
    fits.map_or_else(|| "0B".to_owned(), |(name, factor)| format!("{}{name}", size / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_alike() {
        for text in ["0s", "1ms", "250ms", "30s", "10m", "1h", "2d", "90s", "3650d"] {
            assert_eq!(parse_duration(text).map(display_duration), Ok(text.to_owned()));
        }
        assert_eq!(parse_duration(" 60 s ").map(display_duration), Ok("1m".to_owned()));
    }

    #[test]
    fn sizes_read_and_write_alike() {
        for text in ["0B", "1B", "64kB", "256MB", "1GB", "3TB", "1025kB"] {
            assert_eq!(parse_size(text).map(display_size), Ok(text.to_owned()));
        }
        for text in ["", "5", "MB", "5mb", "-1B", "99999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_duration() {
        for (text, expected) in [
            ("", "\"\" does not begin with a whole number"),
            ("s", "\"s\" does not begin with a whole number"),
            ("-5s", "\"-5s\" does not begin with a whole number"),
            ("5", "\"5\" has no unit"),
            ("5 parsecs", "unknown unit \"parsecs\""),
            ("1.5s", "unknown unit \".5s\""),
            ("3651d", "\"3651d\" is more than 3650 days"),
            ("99999999999999999999s", "\"99999999999999999999s\" is more than 3650 days"),
        ] {
            assert_eq!(parse_duration(text), Err(expected.to_owned()));
        }
    }
}
