//! Portals whose statement does more than return rows.

use std::sync::Arc;

use crate::sql::{Classified, SettingChange};

/// The portals of one session, by name.
#[derive(Debug, Default)]
pub struct Portals {
    open: Vec<(Box<[u8]>, Portal)>,
}

/// What executing a portal does.
#[derive(Clone, Debug)]
pub struct Portal {
    /// What its statement is.
    pub class: Arc<Classified>,
    /// Settings changed by values bound.
    pub bound: Vec<SettingChange>,
    /// Which of the client's rounds it was bound in (see [`Entry`](super::pipeline::Entry)).
    pub round: u64,
}

impl Portals {
    /// Notes what `name` stands for now.
    pub fn set(&mut self, name: &[u8], portal: Option<Portal>) {
        if !self.open.is_empty() {
            self.open.retain(|(known, _)| **known != *name);
        }
        if let Some(portal) = portal {
            self.open.push((name.into(), portal));
        }
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
