//! Amounts with a unit, written as PostgreSQL writes them in its settings.

/// What an amount counts when no unit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Milliseconds,
}

impl Unit {
    /// The units that may be written, each with how many of the basic one it is, the largest first.
    fn written(self) -> &'static [(&'static str, u64)] {
        match self {
            Unit::Bytes => &[("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)],
            Unit::Milliseconds => {
                &[("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)]
            }
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Unit::Bytes => "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".",
            Unit::Milliseconds => {
                "Valid units for this parameter are \"ms\", \"s\", \"min\", \"h\", and \"d\"."
            }
        }
    }
}

/// Most that a setting may be: more than anybody means, and far from any overflow.
const MOST: u64 = 1 << 50;

/// Reads a whole number, blanks, and a unit, which may be missing. The error says what is understood.
pub(super) fn read(text: &str, unit: Unit) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let suffix = suffix.trim_start();
    let factor = match suffix {
        "" => Some(1),
        _ => unit.written().iter().find(|(name, _)| *name == suffix).map(|(_, factor)| *factor),
    };
    let amount =
        digits.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    amount.filter(|amount| *amount <= MOST).ok_or_else(|| unit.hint().to_owned())
}

/// Writes an amount in the largest unit of which it is a whole number, as SHOW does.
pub(super) fn show(amount: u64, unit: Unit) -> String {
    let fits = unit.written().iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    match fits {
        Some((name, factor)) if amount > 0 => format!("{}{name}", amount / factor),
        _ => amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown() {
        for (text, amount, shown) in [
            ("0", 0, "0"),
            ("1", 1, "1B"),
            ("16MB", 16 << 20, "16MB"),
            (" 2048 kB ", 2 << 20, "2MB"),
            ("1500B", 1500, "1500B"),
        ] {
            assert_eq!(
                read(text, Unit::Bytes).map(|it| (it, show(it, Unit::Bytes))),
                Ok((amount, shown.into()))
            );
        }
        assert_eq!(read("90s", Unit::Milliseconds).map(|it| show(it, Unit::Milliseconds)), Ok("90s".into()));
        assert_eq!(show(120_000, Unit::Milliseconds), "2min");
        for bad in ["", "MB", "-1", "1.5MB", "1mb", "1 M B", "99999999999999999999", "9999999TB"] {
            assert_eq!(read(bad, Unit::Bytes), Err(Unit::Bytes.hint().to_owned()), "{bad}");
        }
    }
}
