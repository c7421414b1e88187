//! What a coordinator asks of a node, and how it ended.

use std::collections::BTreeSet;

use super::sync_names::SyncNames;
use super::transaction::CallId;
use crate::topology::NodeName;

/// One command to one node.
///
/// The shell carries the orders of one node out one after the other, on one session that holds the cluster's
/// advisory lock on that node (rule C3). Before the first, and whenever it had to take the lock anew, it ends the
/// backend that held it, takes it, and then reads `epoch` from the store, linearizably: if that is not
/// [`epoch`](Self::epoch), it does nothing and answers [`Done::Deposed`]. An order that is given up is over for
/// certain before the next one begins: its session is closed and its backend ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number, for [`Event::NodeDone`](super::decide::Event).
    pub call: CallId,
    /// To whom.
    pub node: NodeName,
    /// Where it listens.
    pub address: String,
    /// On behalf of which epoch.
    pub epoch: u64,
    /// What to do.
    pub command: Command,
}

/// What to do on a node. Every one may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take the advisory lock as described at [`Order`], and nothing else.
    Own,
    /// Point `primary_conninfo` to nowhere with the token of `term` ([`Upstream::DeadEnd`](super::Upstream)), clear
    /// `restore_command`, reload (rule C5). On a standby only.
    Recruit {
        /// The token.
        term: u64,
    },
    /// Point `primary_conninfo` to `leader` with the token of `term` ([`Upstream::Leader`](super::Upstream)),
    /// `application_name` being the node's own name, give `restore_command` back its own value, reload. On a
    /// standby only.
    Follow {
        /// Whom to follow.
        leader: NodeName,
        /// Where it listens.
        address: String,
        /// The token.
        term: u64,
    },
    /// Set `synchronous_standby_names` and reload.
    SetSyncNames(SyncNames),
    /// Make the physical replication slots of ours on this node be those for the nodes named: create what is
    /// missing, drop what is too many. Slots of others stay.
    SetSlots(BTreeSet<NodeName>),
    /// End the sessions of clients: every one that is not ours and no walsender.
    TerminateSessions,
    /// Promote, if `primary_conninfo` carries [`Upstream::DeadEnd`](super::Upstream) of `term` in the very statement
    /// that promotes (rule C9). Does not wait until it is done; fails when the token is another one.
    Promote {
        /// The token.
        term: u64,
    },
    /// Commit one transactional logical message with `synchronous_commit = on`: done when the commit returned
    /// without the warning that its wait was cancelled (rule C10).
    ProbeCommit,
    /// Write a non-transactional logical message, so that followers hear something.
    Heartbeat,
    /// `CHECKPOINT`: on a standby a restartpoint.
    Checkpoint,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Done.
    Well,
    /// Not done, for certain; why, for people.
    Failed(String),
    /// No answer in time, or the session was lost: it may have been done, but it is not going on any more.
    Unknown,
    /// Another epoch is active: this coordinator is none any more.
    Deposed,
}
