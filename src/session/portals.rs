//! Portals whose statement does more than return rows, and what was bound last.

use std::sync::Arc;

use crate::sql::{Classified, SettingChange};

/// The portals of one session, by name.
#[derive(Debug, Default)]
pub struct Portals {
    open: Vec<(Box<[u8]>, Portal)>,
    last: LastBound,
}

/// The client's names in its last Bind of a named statement; the memory is used again and again.
#[derive(Debug, Default)]
struct LastBound {
    portal: Vec<u8>,
    /// Empty when there is none.
    name: Vec<u8>,
    /// Number of the shared statement that the name stood for.
    statement: u64,
    round: u64,
}

/// What executing a portal does.
#[derive(Clone, Debug)]
pub struct Portal {
    /// What its statement is.
    pub class: Arc<Classified>,
    /// Settings changed by values bound.
    pub bound: Box<[SettingChange]>,
    /// Which of the client's rounds it was bound in (see [`Entry`](super::pipeline::Entry)).
    pub round: u64,
}

impl Portals {
    /// Notes what `name` stands for now.
    pub fn set(&mut self, name: &[u8], portal: Option<Portal>) {
        if !self.open.is_empty() {
            self.open.retain(|(known, _)| **known != *name);
        }
        if *self.last.portal == *name {
            self.last.name.clear();
        }
        if let Some(portal) = portal {
            self.open.push((name.into(), portal));
        }
    }

    /// Notes that `portal` was bound in `round` from the statement that the client calls `name`.
    pub fn bound(&mut self, portal: &[u8], name: &[u8], statement: u64, round: u64) {
        let last = &mut self.last;
        for (kept, new) in [(&mut last.portal, portal), (&mut last.name, name)] {
            kept.clear();
            kept.extend_from_slice(new);
        }
        (last.statement, last.round) = (statement, round);
    }

    /// Returns name and number of the named statement that `portal` was bound from, if that was the last Bind, in this
    /// `round`: if it fails, what comes behind it in the round is skipped.
    pub fn last_bound(&self, portal: &[u8], round: u64) -> Option<(&[u8], u64)> {
        let last = &self.last;
        let found = !last.name.is_empty() && last.round == round && *last.portal == *portal;
        found.then_some((&last.name, last.statement))
    }

    /// Returns what executing `name` does, if that is more than rows.
    pub fn get(&self, name: &[u8]) -> Option<&Portal> {
        self.open.iter().find(|(known, _)| **known == *name).map(|(_, portal)| portal)
    }

    /// Notes that a transaction ended with `round`, and with it the portals bound up to then. Those of rounds that
    /// the client has sent meanwhile stay.
    pub fn end_round(&mut self, round: u64) {
        self.open.retain(|(_, portal)| portal.round > round);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}
