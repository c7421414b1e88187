//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A WAL position (`pg_lsn`): a byte offset since the cluster was created.
///
/// Positions of different timelines must not be compared; carry the [`Timeline`](super::Timeline) along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Returns how many bytes of WAL lie between `earlier` and `self`; 0 when `self` is not ahead.
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    /// Writes the form of `pg_lsn`: two hexadecimal halves, `16/B374D848`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is not a WAL position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid WAL position \"{0}\": expected two hexadecimal numbers, such as 16/B374D848")]
pub struct ParseLsnError(pub String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |part: &str| {
            let plain = (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let parsed = text.split_once('/').and_then(|(high, low)| Some(half(high)? << 32 | half(low)?));
        parsed.map(Lsn).ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_text_form_of_pg_lsn() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/3176B38"] {
            assert_eq!(text.parse::<Lsn>().map(|lsn| lsn.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "/", "1/", "/1", "1/123456789", "g/0", "1/0/2", "+1/0", "1/-1"] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn distance_is_never_negative() {
        assert_eq!(Lsn(10).bytes_since(Lsn(4)), 6);
        assert_eq!(Lsn(4).bytes_since(Lsn(10)), 0);
    }
}
