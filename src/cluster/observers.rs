//! Which of the observers whose reports stand in the store are still there.

use std::collections::BTreeMap;

use super::key::ProxyName;
use super::moment::Moment;
use super::settings::Timings;
use super::transaction::View;

/// The observers heard of.
#[derive(Debug, Default)]
pub(super) struct Observers(BTreeMap<ProxyName, Heard>);

#[derive(Debug)]
struct Heard {
    word: (u64, u64),
    /// When the word was last seen to change; `None` when it never did, as what is found once may be old.
    changed_at: Option<Moment>,
    /// Since when nothing changed.
    quiet_since: Moment,
}

impl Observers {
    /// Takes a reading of the store.
    pub(super) fn hear(&mut self, now: Moment, view: &View) {
        for (name, observation) in view.observations() {
            let word = (observation.incarnation, observation.count);
            match self.0.get_mut(name) {
                None => {
                    self.0.insert(name.clone(), Heard { word, changed_at: None, quiet_since: now });
                }
                Some(heard) if heard.word != word => {
                    *heard = Heard { word, changed_at: Some(now), quiet_since: now };
                }
                Some(_) => {}
            }
        }
        // A proxy that holds a grant and shows nothing is quiet from now on.
        for (name, _) in view.grants() {
            let quiet = Heard { word: (0, 0), changed_at: None, quiet_since: now };
            self.0.entry(name.clone()).or_insert(quiet);
        }
    }

    /// Whether the observer spoke lately.
    pub(super) fn is_fresh(&self, name: &ProxyName, now: Moment, timings: &Timings) -> bool {
        let heard = self.0.get(name).and_then(|heard| heard.changed_at);
        heard.is_some_and(|at| now.since(at) < timings.observe_stale)
    }

    /// Whether it has been quiet for so long that its grant is taken away.
    pub(super) fn is_lost(&self, name: &ProxyName, now: Moment, timings: &Timings) -> bool {
        self.0.get(name).is_some_and(|heard| now.since(heard.quiet_since) >= timings.evict)
    }
}
