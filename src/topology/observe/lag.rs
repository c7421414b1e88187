//! How far standbys are behind, by our own clock: when was the primary last where a standby is now?
//!
//! The age of the last replayed transaction, which a standby tells itself, will not do: after a quiet hour the first
//! write makes every standby an hour late for the moment it takes to replay it, and it compares two clocks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::pg::Lsn;

/// How far a standby may be behind before it takes no reads. It takes them again at half of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagLimits {
    /// WAL written and not replayed; `None` for no limit.
    pub bytes: Option<u64>,
    /// Time since the primary wrote what the standby has not replayed; `None` for no limit. Known to a probe's
    /// interval only, and never told shorter than it is.
    pub time: Option<Duration>,
}

/// How far a standby is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// Where the primary was, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    /// Oldest first. Another primary goes on where the one before was, or a little behind.
    /// The last place is the newest there is, the others lie at least a step apart.
    places: VecDeque<(Instant, Lsn)>,
}

/// Places a trail keeps: it reaches back twice the limit in steps of a sixteenth.
const PLACES: usize = 34;
const STEPS: u32 = 16;

impl LagLimits {
    /// Whether a standby that is `lag` behind lags too far; `lagging` says whether it did before.
    pub(super) fn exceeded(&self, lag: Lag, lagging: bool) -> bool {
        let (bytes, time) = match lagging {
            true => (lag.bytes.saturating_mul(2), lag.time.saturating_mul(2)),
            false => (lag.bytes, lag.time),
        };
        self.bytes.is_some_and(|limit| bytes > limit) || self.time.is_some_and(|limit| time > limit)
    }
}

impl Trail {
    /// Takes note that the primary was at `position` when it was asked `at`, unless that is no news.
    pub(super) fn note(&mut self, at: Instant, position: Lsn, limits: &LagLimits) {
        if self.places.back().is_some_and(|(newest, _)| *newest >= at) {
            return;
        }
        let step = limits.time.unwrap_or_default() / STEPS;
        let newest_but_one = self.places.len().checked_sub(2).and_then(|place| self.places.get(place));
        // The newest moves on until it is a step away from the one before.
        if newest_but_one.is_some_and(|(before, _)| at.saturating_duration_since(*before) < step) {
            self.places.pop_back();
        }
        self.places.push_back((at, position));
        if self.places.len() > PLACES {
            self.places.pop_front();
        }
    }

    /// Returns how far a standby was behind that had replayed up to `replayed` when it was asked `at`; `None` when the
    /// primary was not heard of before that. Where the trail does not reach back so far, its own word `age` counts.
    pub(super) fn lag(&self, at: Instant, replayed: Lsn, age: Option<Duration>) -> Option<Lag> {
        let earlier = || self.places.iter().filter(|(then, _)| *then <= at);
        let ((oldest, _), (_, newest)) = (earlier().next()?, earlier().next_back()?);
        let time = match earlier().rfind(|(_, position)| *position <= replayed) {
            _ if *newest <= replayed => Duration::ZERO,
            Some((since, _)) => at.saturating_duration_since(*since),
            None => at.saturating_duration_since(*oldest).max(age.unwrap_or_default()),
        };
        Some(Lag { bytes: newest.bytes_since(replayed), time })
    }
}

#[cfg(test)]
mod tests {
    // An Instant cannot be made otherwise; from the first one on the clock is driven by hand.
    #![allow(clippy::disallowed_methods)]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lag(bytes: u64, seconds: u32) -> Option<Lag> {
        Some(Lag { bytes, time: SECOND * seconds })
    }

    #[test]
    fn time_counts_from_when_the_primary_was_there() {
        let (begin, limits) = (Instant::now(), LagLimits { bytes: None, time: Some(SECOND * 16) });
        let mut trail = Trail::default();
        assert_eq!(trail.lag(begin, Lsn(5), None), None);
        // Quiet for an hour, then ten bytes a second.
        trail.note(begin, Lsn(100), &limits);
        let writes = begin + SECOND * 3600;
        for second in 0..100 {
            trail.note(writes + SECOND * second, Lsn(100 + 10 * u64::from(second)), &limits);
        }
        let now = writes + SECOND * 99;
        assert_eq!(trail.lag(now, Lsn(2000), None), lag(0, 0));
        assert_eq!(trail.lag(now, Lsn(1090), None), lag(0, 0));
        assert_eq!(trail.lag(now, Lsn(1085), None), lag(5, 1));
        assert_eq!(trail.lag(now, Lsn(995), None), lag(95, 10));
        assert_eq!(trail.lag(now, Lsn(0), None), lag(1090, 33), "as far as the trail goes");
        assert!(trail.places.len() <= PLACES);
        // What the primary wrote after the standby was asked is not held against it.
        assert_eq!(trail.lag(writes + SECOND * 90, Lsn(1000), None), lag(0, 0));
        assert_eq!(trail.lag(now, Lsn(0), Some(SECOND * 7000)), lag(1090, 7000));
        assert_eq!(trail.lag(now, Lsn(1085), Some(SECOND * 7000)), lag(5, 1));
    }

    #[test]
    fn frequent_probes_do_not_shorten_the_trail() {
        let (begin, limits) = (Instant::now(), LagLimits { bytes: None, time: Some(SECOND * 16) });
        let mut trail = Trail::default();
        for probe in 0..1000u32 {
            trail.note(begin + SECOND * probe / 10, Lsn(u64::from(probe)), &limits);
        }
        let now = begin + SECOND * 999 / 10;
        let found = trail.lag(now, Lsn(799), None).expect("it was heard of").time;
        assert!((SECOND * 20..=SECOND * 21).contains(&found), "{found:?}");
    }

    #[test]
    fn one_that_lagged_must_come_half_way() {
        let limits = LagLimits { bytes: Some(100), time: Some(SECOND * 10) };
        let exceeded =
            |bytes, seconds, lagging| limits.exceeded(Lag { bytes, time: SECOND * seconds }, lagging);
        assert!(!exceeded(100, 10, false) && exceeded(101, 0, false) && exceeded(0, 11, false));
        assert!(exceeded(51, 0, true) && exceeded(0, 6, true) && !exceeded(50, 5, true));
        let none = LagLimits::default();
        assert!(!none.exceeded(Lag { bytes: u64::MAX, time: Duration::MAX }, true));
    }
}
