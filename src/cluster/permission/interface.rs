//! What a proxy's permission hears and says.

use crate::cluster::lineage::Lineage;
use crate::cluster::moment::Moment;
use crate::cluster::transaction::{CallId, Revision, Selector, Txn, TxnAnswer, View};
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
    /// Every connection asked about by [`Action::CloseServers`] is closed, its socket shut.
    ServersClosed {
        /// Which closing.
        closing: CallId,
    },
    /// Nothing is under way on the primary any more since the gate went to [`Gate::Hold`].
    Drained {
        /// Which hold, as the gate told it.
        hold: Revision,
    },
    /// The proxy is stopping: it gives its permission back.
    Goodbye,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read from the store, linearizably. Must not be sent before `step` returned.
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
    /// The gate to the primary changed. It begins closed.
    Gate(Gate),
    /// Close every connection to the node, whatever it is used for: shut the socket, a Terminate message is not
    /// enough. Then say [`Event::ServersClosed`].
    CloseServers {
        /// Its number.
        closing: CallId,
        /// The leader that was.
        node: NodeName,
    },
    /// The goodbye is in the store: nobody waits for this proxy any more.
    Left,
}

/// What clients may do with the primary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Nothing goes to it, nothing from it is delivered. What clients ask of it is held.
    Closed,
    /// What is under way goes on; nothing begins. Say [`Event::Drained`] once nothing is under way.
    Hold {
        /// Who leads.
        lead: Lead,
        /// The number of this hold.
        hold: Revision,
    },
    /// Everything goes.
    Open(Lead),
}

/// Whom to talk to as the primary. A connection counts only once it was verified against this (rule P2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// The term.
    pub term: u64,
    /// The node.
    pub leader: NodeName,
    /// The history its data must have; its own may only be longer by later WAL, not by another branch.
    pub lineage: Lineage,
    /// `pg_postmaster_start_time()` it must show, in microseconds; `None` when any run will do. A primary that
    /// crashed shows commits its followers may not have, so with synchronous commit the next run waits for a
    /// term of its own.
    pub run: Option<u64>,
}

/// The permission as two numbers, for a cell that is read without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The term connections must have been opened under.
    pub term: u64,
    /// Nothing is sent or delivered at this moment or later.
    pub until: Moment,
    /// Whether something new may begin.
    pub open: bool,
}
