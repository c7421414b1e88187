//! What the core asks of the store, as data: reads, and writes that compare first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::{Key, Kind, ProxyName};
use super::records::{
    Ack, Beat, Config, Epoch, Grant, Identity, Member, Observation, Operation, Record, Request, Sync, Term,
};
use crate::topology::NodeName;

/// A revision of the store. Grows with each write; 0 is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// The number of a question, by which its answer is told apart. Unique within one machine's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// One part of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// This key, if it exists.
    One(Key),
    /// Every key of this sort.
    Every(Kind),
}

/// A transaction: when every comparison holds, all writes happen at one revision; otherwise nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Must all hold.
    pub compares: Vec<Compare>,
    /// Happen together. No key stands here twice.
    pub writes: Vec<Write>,
}

/// Holds when `key` was last written at `modified`; [`Revision(0)`](Revision) stands for "does not exist".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key looked at.
    pub key: Key,
    /// Its `mod_revision`.
    pub modified: Revision,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces.
    Put(Key, Record),
    /// Removes; nothing happens if it does not exist.
    Delete(Key),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnAnswer {
    /// The writes happened, at this revision.
    Applied(Revision),
    /// A comparison failed. (A store client that sends again after a lost answer may say this of a
    /// transaction that happened, so the core reads again in any case.)
    Refused,
    /// No answer, or one that says neither: it may have happened, may happen later, or never.
    Unknown,
}

/// A record and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub record: Arc<Record>,
    /// Last write (`mod_revision`).
    pub modified: Revision,
}

/// What a linearizable read found: all of it at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The store's revision at the read.
    pub revision: Revision,
    /// The keys that exist among those asked for.
    pub entries: BTreeMap<Key, Entry>,
}

impl Txn {
    /// Starts an empty transaction.
    pub fn new() -> Self {
        Txn::default()
    }

    /// Adds a comparison.
    #[must_use]
    pub fn if_at(mut self, key: Key, modified: Revision) -> Self {
        self.compares.push(Compare { key, modified });
        self
    }

    /// Adds a write of `record` to `key`.
    #[must_use]
    pub fn put(mut self, key: Key, record: Record) -> Self {
        self.writes.push(Write::Put(key, record));
        self
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }
}

/// Readers of the single records: `None` when the key does not exist or holds another sort of record.
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident: $record:ident at $key:ident;)*) => {
        impl View { $($(#[$doc])* pub fn $name(&self) -> Option<&$record> {
            match self.record(&Key::$key)? { Record::$record(record) => Some(record), _ => None }
        })* }
    };
}

readers! {
    /// The cluster's identity.
    identity: Identity at Identity;
    /// Who is active.
    epoch: Epoch at Epoch;
    /// The last sign of life.
    beat: Beat at Beat;
    /// Who leads.
    term: Term at Term;
    /// Who may hold acknowledged commits.
    sync: Sync at Sync;
    /// The operation.
    operation: Operation at Op;
    /// Settings of the cluster.
    config: Config at Config;
}

/// Readers of the records of which there are several.
macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident: $key:ident($by:ty) => $record:ident;)*) => {
        impl View { $($(#[$doc])* pub fn $name(&self) -> impl Iterator<Item = (&$by, &$record)> {
            self.entries.iter().filter_map(|(key, entry)| match (key, &*entry.record) {
                (Key::$key(name), Record::$record(record)) => Some((name, record)),
                _ => None,
            })
        })* }
    };
}

lists! {
    /// All grants.
    grants: Grant(ProxyName) => Grant;
    /// All acknowledgements.
    acks: Ack(ProxyName) => Ack;
    /// All members.
    members: Node(NodeName) => Member;
    /// What the observers see.
    observations: Observe(ProxyName) => Observation;
    /// What operators ask for.
    requests: Request(String) => Request;
}

impl View {
    /// Returns the record under `key`.
    pub fn record(&self, key: &Key) -> Option<&Record> {
        self.entries.get(key).map(|entry| &*entry.record)
    }

    /// Returns when `key` was last written; [`Revision(0)`](Revision) when it does not exist.
    pub fn modified(&self, key: &Key) -> Revision {
        self.entries.get(key).map_or(Revision(0), |entry| entry.modified)
    }

    /// Returns the grant of `proxy`.
    pub fn grant(&self, proxy: &ProxyName) -> Option<&Grant> {
        match self.record(&Key::Grant(proxy.clone()))? {
            Record::Grant(grant) => Some(grant),
            _ => None,
        }
    }

    /// Returns the acknowledgement of `proxy`.
    pub fn ack(&self, proxy: &ProxyName) -> Option<&Ack> {
        match self.record(&Key::Ack(proxy.clone()))? {
            Record::Ack(ack) => Some(ack),
            _ => None,
        }
    }
}
