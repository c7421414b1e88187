//! Figures in words: sizes, ages, times.

use std::borrow::Cow;

/// Writes a number of bytes with PostgreSQL's units, to two figures or more: `0 B`, `1.5 MB`, `24 MB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    let whole = unit == 0 || value >= 9.95 || value.fract() == 0.0;
    if whole { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Writes a time span to its two largest units: `0.3s`, `12s`, `4m 3s`, `3d 4h`.
pub fn age(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1}s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    let two = |large: u64, one: &str, small: u64, other: &str| match small {
        0 => format!("{large}{one}"),
        _ => format!("{large}{one} {small}{other}"),
    };
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => two(whole / 60, "m", whole % 60, "s"),
        3600..86_400 => two(whole / 3600, "h", whole % 3600 / 60, "m"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// Writes an RFC 3339 time as people read it.
pub fn when(time: &str) -> String {
    time.replacen('T', " ", 1)
}

/// Writes what is known; a dash for what is not.
pub fn or_dash<T: ToString>(known: Option<T>) -> String {
    known.map_or_else(|| "-".to_owned(), |known| known.to_string())
}

/// Takes out what could steer the terminal: texts come from servers and from other people.
pub fn clean(text: &str) -> Cow<'_, str> {
    match text.chars().any(char::is_control) {
        false => Cow::Borrowed(text),
        true => {
            Cow::Owned(text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_suits() {
        let sizes = [0, 1023, 1024, 1536, 10 << 10, 1024 * 1023 + 600, 24 << 20, 3 << 40, u64::MAX];
        assert_eq!(
            sizes.map(bytes),
            ["0 B", "1023 B", "1 kB", "1.5 kB", "10 kB", "1.0 MB", "24 MB", "3 TB", "16384 PB"]
        );
    }

    #[test]
    fn ages_have_two_units() {
        let ages = [-1.0, 0.0, 0.34, 9.96, 59.6, 61.0, 3600.0, 7500.0, 86_400.0 * 3.0 + 14_500.0];
        assert_eq!(ages.map(age), ["0.0s", "0.0s", "0.3s", "10s", "1m", "1m 1s", "1h", "2h 5m", "3d 4h"]);
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean("a\x1b[31m\nb"), "a [31m b");
    }
}
