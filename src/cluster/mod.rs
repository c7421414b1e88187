//! Who leads: permission of the proxies, the verdict on a primary, failover and switchover.
//!
//! State machines of the form `step(now, event) -> actions`. The store's records ([`Record`] under [`Key`]) are
//! all that coordinators share; whoever takes over from a dead one goes on from what is written there.
//!
//! Absent on purpose: sockets, clocks, tasks, randomness, logging, SQL. The shells feed events in, carry
//! actions out and have no opinions. The rules cited (P1, C4, S1 and so on) are in ARCHITECTURE.md.
#![deny(clippy::disallowed_methods)]

mod adopt;
mod claim;
pub mod decide;
mod election;
mod encode;
mod explain;
mod facts;
mod failover;
mod fencing;
mod keeping;
mod key;
mod known;
mod lineage;
mod memory;
mod moment;
mod mutation;
mod observers;
mod order;
pub mod permission;
mod promotion;
mod records;
mod requests;
mod settings;
mod situation;
mod switchover;
mod sync_names;
mod sync_set;
mod transaction;
mod verdict;
mod wait;

pub use encode::DecodeError;
pub use explain::Explanation;
pub use facts::{Facts, Receiver, Report, Standby, Standing, Upstream};
pub use key::{Key, Kind, ProxyName};
pub use lineage::{Branch, Kinship, Lineage};
pub use moment::Moment;
pub use mutation::{Mutated, Mutation};
pub use order::{Command, Done, Order};
pub use records::{
    Ack, AckKind, Answer, Asked, Beat, Config, Durability, Epoch, Grant, History, Identity, Member,
    Observation, Operation, OperationKind, Opinion, Phase, Record, Request, Rule, Status, Step, Sync, Term,
};
pub use settings::{Limits, Mode, Settings, TimingError, Timings};
pub use sync_names::SyncNames;
pub use transaction::{CallId, Compare, Entry, Revision, Selector, Txn, TxnAnswer, View, Write};
pub use wait::Wait;
