//! The one source of chance: everything a run draws comes from its seed.

use std::ops::Range;

/// Draws from a seed. Two of the same seed draw alike.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Begins at `seed`. `purpose` keeps the draws of one part from shifting those of another.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(purpose);
        Random(fastrand::Rng::with_seed(mixed))
    }

    /// Returns true `percent` times out of a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(0..100) < percent
    }

    /// Returns a number of the range; its start if it is empty.
    pub fn between(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { self.0.u64(range) }
    }

    /// Returns a place in a list of `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.usize(0..len)
    }

    /// Returns one of `choices`.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())].clone()
    }
}
