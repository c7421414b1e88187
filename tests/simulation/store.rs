//! The agreement store as it truly is: revisions, compares, and what was written when.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::cluster::{Entry, Key, Record, Revision, Selector, Txn, TxnAnswer, View, Write};

/// One change, for the checker.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    pub record: Option<Arc<Record>>,
}

/// A store that never loses what it applied. What gets lost is messages, on the way to it and back.
pub struct Store {
    revision: Revision,
    entries: BTreeMap<Key, Entry>,
}

impl Store {
    /// An empty one. Revision 0 stands for "never", so it begins at 1.
    pub fn new() -> Self {
        Store { revision: Revision(1), entries: BTreeMap::new() }
    }

    /// Answers a linearizable read.
    pub fn read(&self, selectors: &[Selector]) -> View {
        let mut view = View { revision: self.revision, entries: BTreeMap::new() };
        for selector in selectors {
            match selector {
                Selector::One(key) => {
                    if let Some(entry) = self.entries.get(key) {
                        view.entries.insert(key.clone(), entry.clone());
                    }
                }
                Selector::Every(kind) => {
                    let of_kind = self.entries.iter().filter(|(key, _)| key.kind() == *kind);
                    view.entries.extend(of_kind.map(|(key, entry)| (key.clone(), entry.clone())));
                }
            }
        }
        view
    }

    /// Returns what stands under a key.
    pub fn get(&self, key: &Key) -> Option<Arc<Record>> {
        self.entries.get(key).map(|entry| Arc::clone(&entry.record))
    }

    /// Does a transaction and says what changed.
    pub fn commit(&mut self, txn: &Txn) -> (TxnAnswer, Vec<Change>) {
        let modified = |key: &Key| self.entries.get(key).map_or(Revision(0), |entry: &Entry| entry.modified);
        if txn.compares.iter().any(|compare| modified(&compare.key) != compare.modified) {
            return (TxnAnswer::Refused, Vec::new());
        }
        self.revision = Revision(self.revision.0 + 1);
        let mut changes = Vec::new();
        for write in &txn.writes {
            let (key, record) = match write {
                Write::Put(key, record) => {
                    let record = Arc::new(record.clone());
                    let entry = Entry { record: Arc::clone(&record), modified: self.revision };
                    self.entries.insert(key.clone(), entry);
                    (key.clone(), Some(record))
                }
                Write::Delete(key) => {
                    self.entries.remove(key);
                    (key.clone(), None)
                }
            };
            changes.push(Change { key, record });
        }
        (TxnAnswer::Applied(self.revision), changes)
    }
}
