//! Counters that cost one relaxed addition: one flat array a worker, folded only when someone looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of one histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buckets {
    /// 50 µs to 10 s: a cached read over a local socket takes tens of microseconds.
    Statements,
    /// 1 ms doubling to about 65 s: what people wait for.
    Waits,
}

impl Buckets {
    /// Returns the bounds in nanoseconds, ascending; above the last one there is one bucket more.
    pub(super) fn bounds_ns(self) -> &'static [u64] {
        match self {
            Buckets::Statements => &STATEMENTS_NS,
            Buckets::Waits => &WAITS_NS,
        }
    }

    /// Returns how many cells a histogram takes: its buckets, the one above, and the sum in nanoseconds.
    pub(super) fn cells(self) -> usize {
        self.bounds_ns().len() + 2
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const STATEMENTS_NS: [u64; 16] = [
    50 * US,
    100 * US,
    250 * US,
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    1_000 * MS,
    2_500 * MS,
    10_000 * MS,
];
const WAITS_NS: [u64; 17] = {
    let mut bounds = [MS; 17];
    let mut i = 1;
    while i < bounds.len() {
        bounds[i] = bounds[i - 1] * 2;
        i += 1;
    }
    bounds
};

/// One cache line of counters, so that no two workers ever write to the same line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; 8]);

/// The counters of one worker. Any thread may add or read; it is cheap while one thread does the adding.
#[derive(Debug)]
pub(super) struct Cells(Box<[Line]>);

impl Cells {
    pub(super) fn new(count: usize) -> Self {
        Cells((0..count.div_ceil(8)).map(|_| Line::default()).collect())
    }

    /// Adds to one cell; does nothing for an index past the end.
    #[inline]
    pub(super) fn add(&self, index: usize, amount: u64) {
        if let Some(line) = self.0.get(index / 8) {
            line.0[index % 8].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Takes from one cell. A gauge may be raised through one worker and lowered through another: single
    /// cells then wrap around, their sum does not.
    #[inline]
    pub(super) fn sub(&self, index: usize, amount: u64) {
        self.add(index, amount.wrapping_neg());
    }

    /// Gives one cell a value, whoever added to it before.
    pub(super) fn set(&self, index: usize, value: u64) {
        if let Some(line) = self.0.get(index / 8) {
            line.0[index % 8].store(value, Ordering::Relaxed);
        }
    }

    /// Adds one observation to the histogram that begins at `start`.
    #[inline]
    pub(super) fn observe(&self, start: usize, buckets: Buckets, value: Duration) {
        let bounds = buckets.bounds_ns();
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.add(start + bounds.partition_point(|bound| *bound < ns), 1);
        self.add(start + bounds.len() + 1, ns);
    }

    /// Returns all cells as they are now.
    pub(super) fn read(&self) -> Vec<u64> {
        (0..self.0.len() * 8).map(|index| self.get(index)).collect()
    }

    pub(super) fn get(&self, index: usize) -> u64 {
        self.0.get(index / 8).map_or(0, |line| line.0[index % 8].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_bucket_that_still_holds_it() {
        let cells = Cells::new(Buckets::Statements.cells());
        for us in [1, 50, 51, 20_000_000] {
            cells.observe(0, Buckets::Statements, Duration::from_micros(us));
        }
        let found: Vec<_> = (0..18).map(|i| cells.get(i)).collect();
        assert_eq!(found, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 20_000_102_000]);
    }

    #[test]
    fn waits_double() {
        let bounds = Buckets::Waits.bounds_ns();
        assert_eq!((bounds[0], bounds[1], bounds[16]), (MS, 2 * MS, 65_536 * MS));
    }

    #[test]
    fn what_lies_outside_counts_nowhere() {
        let cells = Cells::new(8);
        cells.add(8, 1);
        assert_eq!((0..9).map(|i| cells.get(i)).sum::<u64>(), 0);
    }
}
