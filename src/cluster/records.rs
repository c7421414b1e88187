//! The records the coordinators and proxies of one cluster agree on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::key::ProxyName;
use super::lineage::Lineage;
use crate::pg::Lsn;
use crate::topology::NodeName;

/// Any record, as the store keeps it under its [`Key`](super::Key).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the record of its name")]
pub enum Record {
    Identity(Identity),
    Epoch(Epoch),
    Beat(Beat),
    Term(Term),
    Sync(Sync),
    Operation(Operation),
    Config(Config),
    Grant(Grant),
    Ack(Ack),
    Member(Member),
    Status(Status),
    Observation(Observation),
    Request(Request),
    History(History),
    Answer(Answer),
}

/// Which PostgreSQL cluster this is. Written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The `system_identifier` of every member.
    pub system_identifier: u64,
}

/// Which coordinator is active. Every write of a coordinator compares this key's revision (rule C1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Grows by one each time it changes hands.
    pub number: u64,
    /// Who is active.
    pub coordinator: ProxyName,
    /// Which run of it.
    pub incarnation: u64,
}

/// The active coordinator's sign of life. It stands apart from [`Epoch`] so that a beat does not disturb
/// the comparison every other write makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The epoch it belongs to.
    pub epoch: u64,
    /// Any other value than before.
    pub count: u64,
}

/// Whether the proxies may talk to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// They may.
    Open,
    /// They may finish what is under way, and begin nothing (switchover).
    Hold,
    /// They may not. `leader` and `lineage` are those of the last open term.
    Frozen,
}

/// Who leads. `number` never falls, and grows with each freeze.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// The number of the leadership.
    pub number: u64,
    /// Whether it may be talked to.
    pub phase: Phase,
    /// The primary; while frozen, the last one.
    pub leader: NodeName,
    /// The history of its data. What a node holds of the last branch is what it is worth.
    pub lineage: Lineage,
    /// `pg_postmaster_start_time()` of the leader this term is for, in microseconds; `None` when any run will do.
    pub run: Option<u64>,
    /// The longest permission a proxy may hold, in microseconds. Proxies use the shorter of this and their own
    /// setting; a freeze waits for this one.
    pub permission_us: u64,
    /// The highest timeline any promotion so far may have chosen, be it known or not. A later promotion
    /// that does not exceed it may share its number with a history we never saw.
    pub highest_timeline: u32,
    /// Nodes whose data may be of another history that looks like this one, and the first timeline of which that
    /// is true: with data of that timeline or a later one they need a new copy before they may follow or be read.
    pub suspects: BTreeMap<NodeName, u32>,
}

/// A rule of synchronous commit: a commit is acknowledged when `k` of `voters` have flushed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Who counts.
    pub voters: BTreeSet<NodeName>,
    /// How many must have it; 0 when commits wait for nobody.
    pub k: u32,
}

/// Who may hold acknowledged commits of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// Whose commits; always the leader of the last open term.
    pub leader: NodeName,
    /// The rule that holds.
    pub rule: Rule,
    /// The rule being changed to. A promotion must satisfy both (rule C12).
    pub next: Option<Rule>,
    /// The rule of the candidate under way, in force when its term opens. It binds no other promotion: a term
    /// that never opened acknowledged nothing.
    pub heir: Option<Rule>,
}

/// Who asked for something, and why, in their own words. Empty where nobody did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Such as `ops@bastion`.
    pub by: Option<String>,
    /// Such as `kernel patch`.
    pub why: Option<String>,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// The leader was judged dead.
    Failover,
    /// An operator moves the lead away from a leader that is well.
    Switchover,
    /// An operator wants another leader, whatever the verdict is.
    Forced,
}

/// The last step written down; each is written before it is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The proxies were asked to finish what is under way.
    Held,
    /// No proxy gets a new permission.
    Frozen,
    /// The candidate is chosen: nobody else is promoted in this term.
    Chosen,
    /// The term is open; the followers are being pointed at the leader.
    Open,
    /// Done.
    Settled,
}

/// The operation under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What for.
    pub kind: OperationKind,
    /// The term it works for.
    pub term: u64,
    /// How far it is.
    pub step: Step,
    /// Why it began.
    pub reason: String,
    /// Who wanted it. Records of earlier releases have none.
    #[serde(default)]
    pub asked: Asked,
    /// The node asked for, if one was.
    pub wanted: Option<NodeName>,
    /// The operator accepts lost commits.
    pub accept_loss: bool,
    /// Who leads when it ends, once chosen.
    pub candidate: Option<NodeName>,
    /// Chosen earlier in this operation and given up. Each may have been promoted.
    pub given_up: BTreeSet<NodeName>,
    /// Every permission of the last open term has ended (rule C4).
    pub fenced: bool,
    /// The furthest position the old leader is known to have reached.
    pub known_end: Lsn,
    /// The candidate must not leave the old branch before this position.
    pub required: Lsn,
}

/// Settings of the cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Nothing is decided without an operator.
    pub paused: bool,
    /// What an acknowledged commit is worth.
    pub durability: Durability,
}

/// What an acknowledged commit is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// The leader has it. A failover may lose as much as its limits say.
    Async,
    /// `k` followers have it as well. A failover loses nothing.
    Sync {
        /// How many followers.
        k: u32,
        /// With fewer followers than `k`: commits wait (strict), or `k` falls.
        strict: bool,
    },
}

/// A proxy that may hold permission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Which run of it.
    pub incarnation: u64,
    /// It is believed dead and about to be removed; its permission may still run.
    pub evicted: bool,
}

/// What a proxy acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AckKind {
    /// Nothing of it is under way in this held term.
    Held,
    /// Every connection to the leader of an earlier term is closed.
    Fenced,
}

/// How far a proxy followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The run of the proxy; another one's acknowledgement says nothing.
    pub incarnation: u64,
    /// The term.
    pub term: u64,
    /// What was done.
    pub kind: AckKind,
}

/// A PostgreSQL server that belongs to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port`, for shells and people.
    pub address: String,
    /// Never promoted on its own accord.
    pub no_failover: bool,
    /// Never counted for synchronous commit.
    pub no_sync: bool,
    /// Among nodes equally far, the higher one is promoted.
    pub priority: i32,
}

/// What an observer thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Opinion {
    /// It answers, or refuses as only a living server does.
    Alive,
    /// It did not answer several times.
    Silent,
    /// Its host says that nobody listens.
    Gone,
}

/// What one proxy sees of the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Which run of the proxy.
    pub incarnation: u64,
    /// Another value with each writing: whoever sees it change knows the observer lives.
    pub count: u64,
    /// One opinion for each node asked.
    pub nodes: BTreeMap<NodeName, Opinion>,
    /// The furthest flush position seen on the leader of `term`.
    pub leader_end: Lsn,
    /// The term that position belongs to.
    pub term: u64,
}

/// What the active coordinator makes of a node. For display only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// One word: `leader`, `follower`, `stray`, `diverged`, `suspect`, `lost`, `recruited`.
    pub role: String,
    /// More about it, for people; may be empty.
    pub note: String,
}

/// What an operator asks for. Removed by the transaction that begins or refuses it, which leaves an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Move the lead, to the best follower if no node is named.
    Switchover {
        /// Where to.
        to: Option<NodeName>,
        /// Who wants it.
        #[serde(default)]
        asked: Asked,
    },
    /// Replace the leader even if it seems well.
    Failover {
        /// By whom.
        to: Option<NodeName>,
        /// Whether commits may be lost.
        accept_loss: bool,
        /// Who wants it.
        #[serde(default)]
        asked: Asked,
    },
    /// Give up the switchover that waits for transactions to end.
    Cancel,
    /// The node's data was copied anew from the leader.
    Rebuilt {
        /// Which node.
        node: NodeName,
    },
    /// A server joins, or its description changes.
    Set {
        /// Which node.
        node: NodeName,
        /// What it is like.
        member: Member,
    },
    /// A server leaves. Not the leader.
    Remove {
        /// Which node.
        node: NodeName,
    },
    /// Change the settings of the cluster.
    Configure(Config),
}

/// What became of a request. Whoever asked removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// It was begun, or done; otherwise it was refused.
    pub accepted: bool,
    /// With the numbers it rests on.
    pub text: String,
}

/// How a term began. Written with the term's opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The leader.
    pub leader: NodeName,
    /// The leader before.
    pub before: Option<NodeName>,
    /// The history of its data.
    pub lineage: Lineage,
    /// What the operation was for when it ended; `None` for a cluster that was taken in, and in records of earlier releases.
    #[serde(default)]
    pub kind: Option<OperationKind>,
    /// Why.
    pub reason: String,
    /// Who wanted it. Records of earlier releases have none.
    #[serde(default)]
    pub asked: Asked,
    /// Bytes of the old leader's WAL, as far as it is known, that the new one does not have.
    pub lost_bytes: u64,
    /// When it was written, in milliseconds since 1970 on the wall clock of whoever wrote it: for people. The core has no
    /// clock and leaves it 0; the shell stamps it.
    #[serde(default)]
    pub at_ms: u64,
    /// How long each step took the coordinator that finished, in milliseconds; steps of one that died are missing.
    pub steps_ms: Vec<(Step, u64)>,
}
