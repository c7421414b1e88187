//! What an operator would want to hear when one snapshot replaces another.

use std::fmt;

use super::{NodeName, NodeView, Role, Snapshot};
use crate::pg::{Address, Timeline};

/// One difference between two snapshots, or a finding that belongs in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another node takes writes now, or none.
    Primary {
        /// Who took writes before.
        from: Option<NodeName>,
        /// Who takes them now.
        to: Option<NodeName>,
        /// Timeline of the new primary.
        timeline: Option<Timeline>,
        /// The term from now on.
        term: u64,
        /// Why.
        reason: String,
    },
    /// A node's role is another.
    Role {
        /// Which node.
        node: NodeName,
        /// `primary`, `standby` or `unknown`.
        from: &'static str,
        /// `primary`, `standby` or `unknown`.
        to: &'static str,
        /// For `unknown`: why.
        reason: Option<String>,
    },
    /// A node takes reads now, or no longer does.
    Reads {
        /// Which node.
        node: NodeName,
        /// Whether it takes them now.
        serves: bool,
        /// Why.
        reason: &'static str,
    },
    /// The cluster has a node more, or one less.
    Member {
        /// Which node.
        node: NodeName,
        /// Where it is; `None` when it is no member any more.
        at: Option<Address>,
    },
    /// More than one node accepts writes, or one that must not; the text names them.
    Conflict {
        /// What was found and what was done.
        text: String,
    },
}

impl Change {
    /// Whether an operator should look into it.
    pub fn is_alarming(&self) -> bool {
        matches!(self, Change::Conflict { .. } | Change::Primary { to: None, .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Primary { from, to, timeline, term, reason } => {
                write!(f, "primary {} -> {}", name_or_none(from), name_or_none(to))?;
                if let Some(timeline) = timeline {
                    write!(f, ", timeline {timeline}")?;
                }
                write!(f, ", term {term}: {reason}")
            }
            Change::Role { node, from, to, reason } => {
                write!(f, "node {node}: {from} -> {to}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Change::Reads { node, serves: true, reason } => write!(f, "node {node} takes reads: {reason}"),
            Change::Reads { node, serves: false, reason } => {
                write!(f, "node {node} takes no reads: {reason}")
            }
            Change::Member { node, at: Some(address) } => write!(f, "node {node} is a member, at {address}"),
            Change::Member { node, at: None } => write!(f, "node {node} is no member any more"),
            Change::Conflict { text } => f.write_str(text),
        }
    }
}

impl Snapshot {
    /// Whether `other` would route every statement as `self` does: same primary, term, timelines, roles and
    /// readable standbys. Positions and the words of a reason may differ.
    pub fn routes_like(&self, other: &Snapshot) -> bool {
        let same_node = |(a, b): (&NodeView, &NodeView)| {
            a.role.word() == b.role.word()
                && a.timeline == b.timeline
                && a.serves_reads == b.serves_reads
                && a.server_version == b.server_version
                && is_streaming(&a.role) == is_streaming(&b.role)
                && (a.gone, &a.node.address) == (b.gone, &b.node.address)
        };
        self.primary == other.primary
            && self.term == other.term
            && self.system_identifier == other.system_identifier
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same_node)
    }
}

fn name_or_none(name: &Option<NodeName>) -> &str {
    name.as_ref().map_or("none", NodeName::as_str)
}

fn is_streaming(role: &Role) -> bool {
    matches!(role, Role::Standby(standby) if standby.streaming)
}
