//! Who reaches whom, one way at a time.

use std::collections::BTreeMap;

use super::clock::{MS, Time};
use super::random::Random;

/// Whoever sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The agreement store.
    Store,
    /// A proxy and the coordinator in it.
    Process(usize),
    /// A PostgreSQL server.
    Node(usize),
}

/// The lines between the parties.
pub struct Network {
    /// How many faults cut each line.
    cuts: BTreeMap<(Party, Party), u32>,
    /// Added to each message, drawn up to this.
    slow: BTreeMap<Party, Time>,
    usual: Time,
}

impl Network {
    /// Draws how fast messages are in this world.
    pub fn new(random: &mut Random) -> Self {
        let usual = random.pick(&[200, MS, MS, 4 * MS]);
        Network { cuts: BTreeMap::new(), slow: BTreeMap::new(), usual }
    }

    /// Cuts the line one way, or mends one of its cuts.
    pub fn cut(&mut self, from: Party, to: Party, cut: bool) {
        let count = self.cuts.entry((from, to)).or_default();
        *count = if cut { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Makes messages to and from a party take up to this much longer; 0 mends it.
    pub fn slow_down(&mut self, party: Party, by: Time) {
        if by == 0 {
            self.slow.remove(&party);
        } else {
            self.slow.insert(party, by);
        }
    }

    /// Whether a message would get there.
    pub fn reaches(&self, from: Party, to: Party) -> bool {
        self.cuts.is_empty() || self.cuts.get(&(from, to)).is_none_or(|count| *count == 0)
    }

    /// Draws how long a message takes.
    pub fn latency(&self, random: &mut Random, from: Party, to: Party) -> Time {
        let mut latency = self.usual / 4 + random.between(0..self.usual + 1);
        if random.chance(1) {
            latency += random.between(0..20 * MS);
        }
        for party in [from, to] {
            if let Some(&most) = self.slow.get(&party) {
                latency += random.between(0..most);
            }
        }
        latency
    }
}
