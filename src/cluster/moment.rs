//! A moment on a clock that goes on while the machine sleeps.

use std::ops::Add;
use std::time::Duration;

/// Microseconds on this process's `CLOCK_BOOTTIME`.
///
/// `std::time::Instant` stands still while a machine is suspended, so a resumed process would believe in a
/// permission that ran out long ago. Moments of different processes must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Returns the time from `earlier` to `self`; zero when `self` is not later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, length: Duration) -> Moment {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(micros))
    }
}

/// The earlier of two moments of which either may be missing.
pub(crate) fn earliest(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
