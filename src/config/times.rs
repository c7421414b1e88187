//! Points in time as RFC 3339 has them, in UTC, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes `at` to the second, such as `2026-11-19T04:12:07Z`. Times before 1970 become its beginning.
pub fn display_time(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads an RFC 3339 time, with `Z` or an offset. Parts of a second are dropped.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse_time(text: &str) -> Result<SystemTime, String> {
    let wrong = || format!("\"{text}\" is no time such as 2026-11-19T04:12:07Z");
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators: Option<Vec<u8>> =
        [4, 7, 10, 13, 16].into_iter().map(|at| text.as_bytes().get(at).copied()).collect();
    match separators.as_deref() {
        Some([b'-', b'-', b'T' | b't' | b' ', b':', b':']) => {}
        _ => return Err(wrong()),
    }
    let fields = [number(0..4), number(5..7), number(8..10), number(11..13), number(14..16), number(17..19)];
    let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = fields else {
        return Err(wrong());
    };
    let holds = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let offset = text.get(19..).and_then(offset).filter(|_| holds).ok_or_else(wrong)?;
    let total = days_before(year, month, day) * DAY as i64 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(total).map(|total| UNIX_EPOCH + Duration::from_secs(total)).map_err(|_| wrong())
}

const DAY: u64 = 86_400;

/// Returns the offset from UTC in seconds, behind parts of a second if there are any.
fn offset(rest: &str) -> Option<i64> {
    let rest = match rest.strip_prefix('.') {
        Some(parts) if parts.starts_with(|letter: char| letter.is_ascii_digit()) => {
            parts.trim_start_matches(|letter: char| letter.is_ascii_digit())
        }
        Some(_) => return None,
        None => rest,
    };
    if matches!(rest, "Z" | "z") {
        return Some(0);
    }
    let sign = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = rest.get(1..)?.split_once(':')?;
    let field = |digits: &str, below: i64| {
        let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<i64>().ok().filter(|value| plain && *value < below)
    };
    Some(sign * (field(hours, 24)? * 3600 + field(minutes, 60)? * 60))
}

/// Returns the date `days` after 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        (days, year) = (days - length, year + 1);
    }
    let mut month = 1;
    while days >= days_in(year as i64, month) as u64 {
        (days, month) = (days - days_in(year as i64, month) as u64, month + 1);
    }
    (year, month as u64, days + 1)
}

/// Returns the days from 1970-01-01 to a date after it.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|year| if is_leap(year as u64) { 366 } else { 365 }).sum();
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year as u64) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_write_alike() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-19T04:12:07Z", 1_795_061_527),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!((display_time(at).as_str(), parse_time(text)), (text, Ok(at)));
        }
        let at = parse_time("2026-11-19T04:12:07Z");
        for same in ["2026-11-19 06:12:07.5+02:00", "2026-11-18t23:42:07-04:30"] {
            assert_eq!(parse_time(same), at, "{same}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "tomorrow",
            "2026-11-19",
            "2026-11-19T04:12:07",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-19T24:00:00Z",
            "2026-11-19T04:12:07.Z",
            "2026-11-19T04:12:07+2:00",
            "2026-11-19T04:12:07+02:0é",
            "1969-12-31T23:59:59Z",
            "+026-11-19T04:12:07Z",
        ] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
