//! What a coordinator waits for, with the numbers it rests on.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::key::ProxyName;
use super::lineage::Kinship;
use super::sync_names::SyncNames;
use crate::pg::Lsn;
use crate::topology::NodeName;

/// One thing that keeps a decision back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant reads as the sentence its Display writes")]
pub enum Wait {
    /// Permissions of proxies that have not acknowledged.
    Permissions { proxies: Vec<ProxyName>, left: Duration },
    /// Proxies on which transactions are still under way.
    Transactions { proxies: Vec<ProxyName>, left: Duration },
    /// A verdict that does not lead to anything, and why.
    Verdict { votes: String, because: &'static str },
    /// The leader is judged dead, and the last failover was a moment ago.
    TooSoon { left: Duration },
    /// A node does not answer.
    NoAnswer { node: NodeName, why: String },
    /// A node's walreceiver has not stopped yet.
    ReceiverRuns { node: NodeName },
    /// A node has not replayed all it has.
    Replaying { node: NodeName },
    /// A node is being made to stop following.
    Recruiting { node: NodeName },
    /// A node cannot lead or follow: its data is of another history.
    OtherHistory { node: NodeName, kinship: Kinship },
    /// A node's data may be of another history that looks like this one.
    Suspect { node: NodeName },
    /// A node is another PostgreSQL cluster.
    Stranger { node: NodeName, system_identifier: u64 },
    /// A node must not lead.
    NoFailover { node: NodeName },
    /// A node trails too far.
    Behind { node: NodeName, lag_bytes: u64, limit_bytes: u64 },
    /// A node was level with the leader too long ago.
    Old { node: NodeName, age: Duration, limit: Duration },
    /// Too few of the nodes that may hold acknowledged commits are at hand.
    Quorum { have: BTreeSet<NodeName>, missing: BTreeSet<NodeName>, need: usize },
    /// Commits wait for nobody at present, so only the leader is certain to have them all.
    OnlyLeader { leader: NodeName },
    /// A node may lack commits that another one holds.
    NotFurthest { node: NodeName, position: Lsn, furthest: Lsn },
    /// Another node was asked for.
    NotWanted { node: NodeName },
    /// No node is there that could lead.
    NoCandidate,
    /// The old leader is to stop committing.
    SoftFence { node: NodeName },
    /// A node must reach the old leader's end.
    CatchUp { node: NodeName, bytes: u64 },
    /// Names for synchronous commit are to come into force.
    Names { node: NodeName, names: SyncNames },
    /// A commit has to go through.
    ProbeCommit { node: NodeName },
    /// A promotion has to finish.
    Promotion { node: NodeName },
    /// Checkpoints before a switchover.
    Checkpoints { nodes: Vec<NodeName> },
    /// The leader that was answers, and will open again.
    Incumbent { node: NodeName, why: String },
    /// A node is to follow the leader.
    Following { node: NodeName },
    /// A server that is not the leader takes writes.
    Stray { node: NodeName },
    /// The store must be read.
    Store,
    /// Another coordinator must take over, as this one sees no node.
    Blind,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Permissions { proxies, left } => {
                write!(f, "permission of {} ends within {} ms", List(proxies), left.as_millis())
            }
            Wait::Transactions { proxies, left } => {
                write!(f, "transactions go on at {}; given up in {} ms", List(proxies), left.as_millis())
            }
            Wait::Verdict { votes, because } => write!(f, "nothing follows from {votes}: {because}"),
            Wait::TooSoon { left } => {
                write!(f, "the last failover was a moment ago; the next may begin in {} ms", left.as_millis())
            }
            Wait::NoAnswer { node, why } => write!(f, "{node} does not answer: {why}"),
            Wait::ReceiverRuns { node } => write!(f, "{node} still receives from the old leader"),
            Wait::Replaying { node } => write!(f, "{node} has not replayed all it received"),
            Wait::Recruiting { node } => write!(f, "{node} is to stop following the old leader"),
            Wait::OtherHistory { node, kinship: Kinship::Descendant(at) } => {
                write!(f, "{node} left this history at {at} by a promotion of its own")
            }
            Wait::OtherHistory { node, kinship } => {
                write!(f, "{node} has WAL after {} that this history does not have", kinship.shared())
            }
            Wait::Suspect { node } => {
                write!(f, "{node} may have followed a promotion that never led; it needs a new copy")
            }
            Wait::Stranger { node, system_identifier } => {
                write!(f, "{node} is another cluster, system identifier {system_identifier}")
            }
            Wait::NoFailover { node } => write!(f, "{node} is marked no_failover"),
            Wait::Behind { node, lag_bytes, limit_bytes } => {
                write!(f, "{node} lacks {lag_bytes} bytes of the leader's WAL; the limit is {limit_bytes}")
            }
            Wait::Old { node, age, limit } => write!(
                f,
                "{node} was last level with the leader {} ms ago; the limit is {} ms",
                age.as_millis(),
                limit.as_millis()
            ),
            Wait::Quorum { have, missing, need } => write!(
                f,
                "acknowledged commits are on {need} of {} at least; at hand: {}, missing: {}",
                List(have.union(missing)),
                List(have),
                List(missing)
            ),
            Wait::OnlyLeader { leader } => {
                write!(f, "commits waited for no follower, so only {leader} is certain to have them")
            }
            Wait::NotFurthest { node, position, furthest } => {
                write!(f, "{node} is at {position}, another one at {furthest}")
            }
            Wait::NotWanted { node } => write!(f, "{node} was not asked for"),
            Wait::NoCandidate => write!(f, "no other node answers as a standby"),
            Wait::SoftFence { node } => write!(f, "{node} is to stop committing"),
            Wait::CatchUp { node, bytes } => write!(f, "{node} has {bytes} bytes to replay"),
            Wait::Names { node, names } => {
                write!(f, "synchronous_standby_names of {node} to be '{names}'")
            }
            Wait::ProbeCommit { node } => write!(f, "a commit on {node} to go through"),
            Wait::Promotion { node } => write!(f, "{node} to be promoted"),
            Wait::Checkpoints { nodes } => write!(f, "checkpoints on {}", List(nodes)),
            Wait::Incumbent { node, why } => write!(f, "{node} to open again: {why}"),
            Wait::Following { node } => write!(f, "{node} to follow the leader"),
            Wait::Stray { node } => {
                write!(f, "{node} takes writes and does not lead; stop it and bring it back as a standby")
            }
            Wait::Store => write!(f, "the store to answer"),
            Wait::Blind => write!(f, "another proxy to decide: no node answers here"),
        }
    }
}

/// Names with commas, or "nobody".
struct List<I>(I);

impl<I> fmt::Display for List<I>
where
    I: IntoIterator + Clone,
    I::Item: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;
        for name in self.0.clone() {
            write!(f, "{}{name}", if any { ", " } else { "" })?;
            any = true;
        }
        if any { Ok(()) } else { f.write_str("nobody") }
    }
}
