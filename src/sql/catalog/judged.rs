//! Remembers what the latest catalogs have said of a text, beside the text itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sql::NeedsPrimary;

/// Some answers, each with the catalog and the search path it was given for. Not part of what a text is: two are
/// always equal.
#[derive(Debug, Default)]
pub(in crate::sql) struct Judged {
    /// Generation of the catalog (32 bits), number of the path (24), answer (8; 0 for none).
    slots: [AtomicU64; 4],
}

impl Judged {
    /// Returns the answer for this catalog and path, from memory or by `judge`.
    pub fn get_or(
        &self,
        generation: u32,
        path: u32,
        judge: impl FnOnce() -> Result<(), NeedsPrimary>,
    ) -> Result<(), NeedsPrimary> {
        // Paths beyond the last number are not told apart.
        if path == 0 || path >= 1 << 24 {
            return judge();
        }
        let key = u64::from(generation) << 32 | u64::from(path) << 8;
        let slot = &self.slots[(generation ^ path) as usize % self.slots.len()];
        // A slot is whole in itself, so no order with other memory is needed.
        let known = slot.load(Ordering::Relaxed);
        if known & !0xff == key
            && let Some(answer) = decoded(known as u8)
        {
            return answer;
        }
        let answer = judge();
        slot.store(key | u64::from(encoded(answer)), Ordering::Relaxed);
        answer
    }
}

fn encoded(answer: Result<(), NeedsPrimary>) -> u8 {
    answer.map_or_else(|reason| reason as u8 + 2, |()| 1)
}

fn decoded(byte: u8) -> Option<Result<(), NeedsPrimary>> {
    match byte {
        0 => None,
        1 => Some(Ok(())),
        reason => NeedsPrimary::ALL.get(usize::from(reason) - 2).map(|reason| Err(*reason)),
    }
}

impl Clone for Judged {
    fn clone(&self) -> Judged {
        Judged::default()
    }
}

impl PartialEq for Judged {
    fn eq(&self, _: &Judged) -> bool {
        true
    }
}

impl Eq for Judged {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_their_catalog_and_path() {
        let judged = Judged::default();
        let asked = |generation, path, answer| judged.get_or(generation, path, || answer);
        for (at, reason) in (1u32..).zip(NeedsPrimary::ALL) {
            assert_eq!(asked(at, 1, Err(reason)), Err(reason));
            assert_eq!(asked(at, 1, Ok(())), Err(reason), "known");
        }
        assert_eq!(asked(1000, 1, Ok(())), Ok(()));
        assert_eq!(asked(1000, 2, Err(NeedsPrimary::Function)), Err(NeedsPrimary::Function));
        assert_eq!(asked(1001, 1, Err(NeedsPrimary::Function)), Err(NeedsPrimary::Function));
        assert_eq!(judged.get_or(1000, 1, || unreachable!("known")), Ok(()));
        assert_eq!(asked(1000, 0, Err(NeedsPrimary::Type)), Err(NeedsPrimary::Type));
        assert_eq!(asked(1000, 0, Ok(())), Ok(()), "not known");
    }
}
