//! What happened, for people: written down only when somebody wants to read it.

use super::clock::Time;

/// The lines of one run, and a fingerprint of all that happened in it.
pub struct Story {
    wanted: bool,
    lines: Vec<String>,
    fingerprint: u64,
}

impl Story {
    /// Begins; `wanted` when the lines will be read.
    pub fn new(wanted: bool) -> Self {
        Story { wanted, lines: Vec::new(), fingerprint: 0xCBF2_9CE4_8422_2325 }
    }

    /// Adds a line.
    pub fn tell(&mut self, now: Time, line: impl FnOnce() -> String) {
        if self.wanted {
            self.lines.push(format!("{:>10.3}  {}", now as f64 / 1_000_000.0, line()));
        }
    }

    /// Mixes numbers into the fingerprint.
    pub fn mark(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.fingerprint = (self.fingerprint ^ number).wrapping_mul(0x100_0000_01B3).rotate_left(23);
        }
    }

    /// Returns the lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Returns the fingerprint.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
