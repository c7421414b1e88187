//! The clocks of the processes: each starts somewhere else and runs at a rate of its own.

use bellwether::cluster::Moment;

use super::random::Random;

/// Simulated time that nobody in the world can read: microseconds since its beginning.
pub type Time = u64;

/// One millisecond.
pub const MS: Time = 1000;
/// One second.
pub const SECOND: Time = 1_000_000;

/// What one process takes for the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: u64,
    error_ppm: i64,
    /// Time a broken clock has missed while the process was suspended.
    missed: u64,
}

impl Clock {
    /// Draws a clock whose rate is off by up to `most_ppm`, more often than not by nearly as much.
    pub fn draw(random: &mut Random, most_ppm: u32) -> Self {
        let most = i64::from(most_ppm);
        let error_ppm = random.pick(&[0, most, most, most, -most, -most, -most, most / 3]);
        Clock { offset: random.between(SECOND..500 * SECOND), error_ppm, missed: 0 }
    }

    /// Returns what the clock shows at `time`.
    pub fn read(&self, time: Time) -> Moment {
        let skew = i128::from(time) * i128::from(self.error_ppm) / 1_000_000;
        let shown = i128::from(time) + skew + i128::from(self.offset) - i128::from(self.missed);
        Moment(u64::try_from(shown).unwrap_or(0))
    }

    /// Returns when the clock shows `moment`, rounded up: reading it then gives `moment` or later.
    pub fn when(&self, moment: Moment) -> Time {
        let run = i128::from(moment.0) - i128::from(self.offset) + i128::from(self.missed);
        let time = run * 1_000_000 / (1_000_000 + i128::from(self.error_ppm));
        let mut time = u64::try_from(time).unwrap_or(0);
        while self.read(time) < moment {
            time += 1;
        }
        time
    }

    /// Stands still for `length`, as CLOCK_MONOTONIC does while a machine is suspended. A planted bug.
    pub fn miss(&mut self, length: Time) {
        self.missed += length;
    }
}
