//! A transaction: if every compare holds, everything is written; otherwise nothing is.

use super::{Failure, Reading, Revision};

/// A condition on one key. A deleted key and one that never was are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key's value was last put at this revision: nobody wrote it since.
    Modified(String, Revision),
    /// The key was created at this revision: it was not deleted since.
    Created(String, Revision),
}

impl Compare {
    /// The key that is looked at.
    pub fn key(&self) -> &str {
        match self {
            Compare::Absent(key) | Compare::Modified(key, _) | Compare::Created(key, _) => key,
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key's value, and creates it if need be.
    Put(String, Vec<u8>),
    /// Removes a key; one that does not exist is no error.
    Delete(String),
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Write::Put(key, _) | Write::Delete(key) => key,
        }
    }
}

/// Compares and writes that happen as one. No key may be written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// All are done, or none.
    pub writes: Vec<Write>,
}

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Txn::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// Returns a key that is written more than once. etcd refuses such a transaction, so every store does.
    pub fn written_twice(&self) -> Option<&str> {
        let mut keys: Vec<&str> = self.writes.iter().map(Write::key).collect();
        keys.sort_unstable();
        keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Every compare held, and every write is done, at this revision.
    Applied(Revision),
    /// A compare did not hold, and nothing is written. Brings what the compared keys held at that moment.
    ///
    /// A transaction that follows an `Unknown` one may meet its own success here: look at the values.
    Conflict(Reading),
    /// It never reached the store, or the store refused it: nothing is written.
    NotApplied(Failure),
    /// It was sent and no answer came: it may have been applied, may be applied yet, or may never be.
    /// Only a later reading tells.
    Unknown(Failure),
}
