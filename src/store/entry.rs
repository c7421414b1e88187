//! What a read asks for and what it brings back: values with the revisions that compares are made with.

use std::collections::BTreeMap;

/// A place in the store's history: it grows by one with every transaction that changes something.
///
/// Only compares for equality carry safety; the order tells which of two readings is the later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What to read. Keys are relative to the cluster's own place in the store: `term`, `grants/proxy-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// One key.
    Key(String),
    /// Every key that begins so.
    Prefix(String),
}

impl Wanted {
    /// One key.
    pub fn key(key: impl Into<String>) -> Self {
        Wanted::Key(key.into())
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Wanted::Prefix(prefix.into())
    }
}

/// A value, and when it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes last put.
    pub value: Vec<u8>,
    /// When the key was created; another one after it was deleted and created again.
    pub created: Revision,
    /// When the value was put, be it the same as before.
    pub modified: Revision,
}

/// What several keys held at one and the same moment, between the sending of the question and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The store's revision at that moment.
    pub revision: Revision,
    /// Every key found, in order. A key that was asked for and is missing here does not exist.
    pub entries: BTreeMap<String, Entry>,
}

impl Reading {
    /// Returns the entry of `key`; `None` when the key does not exist (or was not asked for).
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Goes through the entries whose keys begin with `prefix`, in order of their keys.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let from =
            self.entries.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, entry)| (key.as_str(), entry))
    }
}
