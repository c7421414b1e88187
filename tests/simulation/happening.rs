//! Everything that can happen in a world.

use std::sync::Arc;

use bellwether::cluster::{CallId, Key, Lineage, Record, Selector, Txn, TxnAnswer, View};

use super::command::{Answer, Ask};
use super::network::Party;
use super::wal::{Place, WriteId};

/// One event. A run number says which life of a server or process it belongs to; those of an earlier one are void.
#[derive(Clone, Debug)]
pub enum Happening {
    // PostgreSQL, inside and between servers.
    WalArrives {
        to: usize,
        run: u64,
        link: u64,
        from: Place,
    },
    FlushHeard {
        by: usize,
        run: u64,
        standby: usize,
        link: u64,
        end: u64,
    },
    Replays {
        node: usize,
        run: u64,
        end: u64,
    },
    Looks {
        node: usize,
        run: u64,
        look: u64,
    },
    ReceiverStarts {
        node: usize,
        run: u64,
        look: u64,
        sender: usize,
    },
    LinkChecked {
        node: usize,
        run: u64,
        link: u64,
    },
    LinkBreaks {
        node: usize,
        run: u64,
        link: u64,
    },
    NamesApply {
        node: usize,
        run: u64,
    },
    PromotionEnds {
        node: usize,
        run: u64,
    },
    Boots {
        node: usize,
        run: u64,
    },
    // Processes and the store.
    StoreAsked {
        process: usize,
        run: u64,
        call: Call,
        ask: Box<StoreAsk>,
    },
    StoreAnswers {
        process: usize,
        run: u64,
        call: Call,
        answer: StoreAnswer,
    },
    StoreTimesOut {
        process: usize,
        run: u64,
        call: Call,
    },
    // Coordinators and servers.
    NodeAsked {
        process: usize,
        run: u64,
        ask: u64,
        node: usize,
        what: Box<Ask>,
    },
    NodeAnswers {
        process: usize,
        run: u64,
        ask: u64,
        answer: Box<Answer>,
    },
    NodeTimesOut {
        process: usize,
        run: u64,
        ask: u64,
    },
    // Clients, and their connections through a proxy to a primary.
    ClientActs {
        process: usize,
        run: u64,
        client: usize,
    },
    Connects {
        node: usize,
        connection: u64,
    },
    Connected {
        process: usize,
        connection: u64,
        shown: Option<Box<Shown>>,
    },
    Executes {
        node: usize,
        run: u64,
        process: usize,
        connection: u64,
        statement: Statement,
    },
    Executed {
        process: usize,
        connection: u64,
        outcome: Outcome,
    },
    ConnectionChecked {
        process: usize,
        connection: u64,
    },
    ConnectionLost {
        process: usize,
        connection: u64,
    },
    ServersClosed {
        process: usize,
        run: u64,
        closing: CallId,
    },
    /// Somebody writes to every primary there is, past the proxies.
    WritesDirectly,
    // Processes themselves.
    Nudged {
        process: usize,
        run: u64,
    },
    Wakes {
        process: usize,
        run: u64,
        wake: u64,
    },
    Restarts {
        process: usize,
    },
    // Around them.
    FaultBegins {
        fault: usize,
    },
    FaultEnds {
        fault: usize,
    },
    OperatorLooks,
}

/// What a server shows a proxy that connects.
#[derive(Clone, Debug)]
pub struct Shown {
    pub run: u64,
    pub recovery: bool,
    pub lineage: Lineage,
}

/// Which machine of a process asked, and its number for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub machine: Machine,
    pub id: CallId,
}

/// The machines in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    Permission,
    Coordinator,
    /// The coordinator's shell, which reads the epoch after it took a node's lock.
    Desk,
}

/// What is asked of the store.
#[derive(Clone, Debug)]
pub enum StoreAsk {
    Read(Vec<Selector>),
    Commit(Txn),
    /// A record for display.
    Show(Key, Box<Record>),
}

/// What the store says.
#[derive(Clone, Debug)]
pub enum StoreAnswer {
    Found(Arc<View>),
    Ended(TxnAnswer),
}

/// What a client sends to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Something inside a transaction that does not end it.
    Begin,
    /// The commit of a write of so many bytes.
    Commit(u64),
    /// The newest write there is.
    Read,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Committed(WriteId),
    /// Committed, with the warning that nobody else is known to have it.
    Warned(WriteId),
    Found(Option<WriteId>),
    /// `25006`, or an error of a server that is going.
    Failed,
}

impl Happening {
    /// Returns who must be awake for it to happen.
    pub fn party(&self) -> Option<Party> {
        use Happening as H;
        match self {
            H::WalArrives { to, .. } => Some(Party::Node(*to)),
            H::FlushHeard { by, .. } => Some(Party::Node(*by)),
            H::Replays { node, .. }
            | H::Looks { node, .. }
            | H::ReceiverStarts { node, .. }
            | H::LinkChecked { node, .. }
            | H::LinkBreaks { node, .. }
            | H::NamesApply { node, .. }
            | H::PromotionEnds { node, .. }
            | H::Boots { node, .. }
            | H::NodeAsked { node, .. }
            | H::Connects { node, .. }
            | H::Executes { node, .. } => Some(Party::Node(*node)),
            H::StoreAnswers { process, .. }
            | H::StoreTimesOut { process, .. }
            | H::NodeAnswers { process, .. }
            | H::NodeTimesOut { process, .. }
            | H::ClientActs { process, .. }
            | H::Connected { process, .. }
            | H::Executed { process, .. }
            | H::ConnectionChecked { process, .. }
            | H::ConnectionLost { process, .. }
            | H::ServersClosed { process, .. }
            | H::Nudged { process, .. }
            | H::Wakes { process, .. } => Some(Party::Process(*process)),
            H::StoreAsked { .. }
            | H::Restarts { .. }
            | H::FaultBegins { .. }
            | H::FaultEnds { .. }
            | H::WritesDirectly
            | H::OperatorLooks => None,
        }
    }
}
