//! What a coordinator hears and what it does.

use std::time::Duration;

use crate::cluster::facts::Report;
use crate::cluster::key::Key;
use crate::cluster::order::{Done, Order};
use crate::cluster::records::Record;
use crate::cluster::transaction::{CallId, Selector, Txn, TxnAnswer, View};
use crate::topology::NodeName;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing but time passed; also the first event.
    Tick,
    /// The store's watch rang: something may have changed.
    Nudged,
    /// A reading came back; `None` when it failed. Every [`Action::Read`] is answered once.
    StoreRead {
        /// Which one.
        call: CallId,
        /// What it found.
        view: Option<View>,
    },
    /// A transaction ended. Every [`Action::Commit`] is answered once.
    TxnAnswered {
        /// Which one.
        call: CallId,
        /// How.
        answer: TxnAnswer,
    },
    /// A probe came back. Every [`Action::Probe`] is answered once.
    Probed {
        /// Which one.
        call: CallId,
        /// What it brought.
        report: Report,
    },
    /// An order ended. Every [`Action::Order`] is answered once.
    NodeDone {
        /// Which one.
        call: CallId,
        /// How.
        done: Done,
    },
    /// The process is stopping: another coordinator need not wait until this one is silent.
    Goodbye,
}

/// What to do. Nothing of it may be begun before `step` returned; several things may be under way at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read from the store, linearizably.
    Read {
        /// Its number.
        call: CallId,
        /// What to read.
        selectors: Vec<Selector>,
    },
    /// Do a transaction.
    Commit {
        /// Its number.
        call: CallId,
        /// What.
        txn: Txn,
    },
    /// Ask a node for its facts. Needs no ownership.
    Probe {
        /// Its number.
        call: CallId,
        /// Whom.
        node: NodeName,
        /// Where it listens.
        address: String,
        /// Without an answer for so long it is [`Report::Silent`].
        within: Duration,
    },
    /// Command a node.
    Order(Order),
    /// Show a record for as long as this process lives (`store::records::present`); the newest one counts.
    Show(Key, Record),
    /// Tell people: a line for the log.
    Say(String),
    /// The goodbye is done.
    Left,
}
