//! The agreement store: what every proxy of a cluster must see alike.
//!
//! [`Store`] is the whole of what we ask of it: linearizable reads, compare-and-swap transactions, watches as
//! hints, and keys for display that go with whoever wrote them. [`etcd::Etcd`] is the real one; [`Memory`] keeps
//! everything in this process, for tests and for a demo without etcd. Keys are texts relative to one cluster's place; values are bytes.
//!
//! Safety rests on reads and transactions alone. Watches lose events, and leases outlive or underlive what they
//! promise (measured: never below 2 seconds, and renewed by leaders that are none any more), so nothing is
//! ever decided by either. Absent on purpose: what the keys mean.

mod background;
mod clock;
mod entry;
pub mod etcd;
mod failure;
mod memory;
pub mod records;
mod txn;

pub use background::{Presence, Watch};
pub use clock::moment;
pub use entry::{Entry, Reading, Revision, Wanted};
pub use failure::Failure;
pub use memory::{Memory, Reach};
pub use txn::{Compare, Outcome, Txn, Write};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// An answer on its way; boxed, so that a store is chosen at run time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A member of the store, and whether it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// Such as `etcd http://10.0.0.9:2379`.
    pub member: String,
    /// Whether it does.
    pub answers: bool,
}

/// A store of keys and values on which several processes agree.
///
/// Every method must be called within a tokio runtime.
pub trait Store: Send + Sync + 'static {
    /// Reads several keys at one moment, linearizably: whatever was applied before the call is seen.
    ///
    /// Asks the next member when one does not answer in time, and errs when none does; so it takes up to the
    /// timeout of one call for each member. Permission that rests on a reading counts from before this call.
    /// Cancel safe.
    fn read<'a>(&'a self, wanted: &'a [Wanted]) -> Answer<'a, Result<Reading, Failure>>;

    /// Does the writes if all compares hold.
    ///
    /// Sent once only: what was sent and not answered is [`Outcome::Unknown`], since a second try could meet
    /// the success of the first and call it a conflict. Dropping the future leaves the outcome unknown.
    fn commit(&self, txn: Txn) -> Answer<'_, Outcome>;

    /// Asks each member once whether it answers as a part of the whole. For people: what the store as a whole does, its
    /// calls tell. Takes up to the timeout of one call for each member.
    fn roll_call(&self) -> Answer<'_, Vec<Attendance>>;

    /// Rings when a key that begins with `prefix` may have changed. Finds its way back to the store by itself.
    fn watch(&self, prefix: &str) -> Watch;

    /// Shows `value` under `key` for as long as the handle lives, and up to about `lease` longer should this
    /// process die. `lease` is rounded up to whole seconds, 2 at the least.
    fn present(&self, key: &str, value: Vec<u8>, lease: Duration) -> Presence;
}
