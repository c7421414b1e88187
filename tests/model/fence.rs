//! Whoever moves the lead, and the store: rule C4 in as few words as possible.

use bellwether::cluster::Phase;

/// What the store holds. Keys count their own writings, so that what one proxy writes is no difference to the other.
#[derive(Clone, Debug, Hash)]
pub struct Store {
    /// How often the term was written, its number and phase.
    pub term: (u64, u64, Phase),
    /// How often each proxy's grant was written; 0 while it has none.
    pub grants: [u64; 2],
    /// Who has acknowledged the term since it was written.
    pub acks: [bool; 2],
}

/// How far the lead has moved from the first node to the second.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Fence {
    Open,
    /// Since then, on the clock of whoever moves it.
    Frozen(u64),
    /// Nobody hears the first node any more.
    Complete,
    Opened,
}

impl Store {
    pub fn write_term(&mut self, number: u64, phase: Phase) {
        self.term = (self.term.0 + 1, number, phase);
        self.acks = [false; 2];
    }

    /// Whether every proxy with a grant has acknowledged the term.
    pub fn is_acknowledged(&self) -> bool {
        (0..2).all(|proxy| self.grants[proxy] == 0 || self.acks[proxy])
    }
}
