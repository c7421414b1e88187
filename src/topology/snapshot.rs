//! An immutable view of who is what, how far and how healthy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Node, NodeId, NodeName};
use crate::pg::{Lsn, Timeline};

/// What a standby said of its replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Whether its walreceiver is connected and streaming.
    pub streaming: bool,
    /// The last position replayed; queries on this node see everything up to here.
    pub replayed: Lsn,
    /// Bytes of WAL the primary had written and this node had not replayed; `None` when either side is unknown.
    pub lag_bytes: Option<u64>,
    /// Age of the last replayed transaction while there is WAL to replay; zero when all is replayed.
    pub lag_time: Option<Duration>,
}

/// What a node is, as far as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts writes, standing at this WAL insert position.
    Primary {
        /// `pg_current_wal_insert_lsn()` when it was probed.
        position: Lsn,
    },
    /// In recovery.
    Standby(Standby),
    /// Not reached, or not yet asked; the text says why, for people.
    Unknown {
        /// Why it is unknown, such as `connection refused`.
        reason: String,
    },
}

impl Role {
    /// Returns the role in one word: `primary`, `standby` or `unknown`.
    pub fn word(&self) -> &'static str {
        match self {
            Role::Primary { .. } => "primary",
            Role::Standby(_) => "standby",
            Role::Unknown { .. } => "unknown",
        }
    }
}

/// One node and what is observed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The operator's description.
    pub node: Arc<Node>,
    /// Observed role.
    pub role: Role,
    /// Timeline it is on; `None` while unknown.
    pub timeline: Option<Timeline>,
    /// `server_version_num`, such as 150020; `None` while unknown.
    pub server_version: Option<u32>,
    /// Whether reads may go to this node now: a healthy streaming standby of the current primary.
    pub serves_reads: bool,
    /// When it began to take reads beside others that were taking them already: its share grows from here. `None`
    /// while it takes none, and for those that were there when this process came.
    pub back_since: Option<Instant>,
    /// Whether it was taken out of the cluster: it keeps its place here, gets nothing, and is shown to nobody.
    pub gone: bool,
}

/// Who is what at one moment. Nodes stand at the index of their [`NodeId`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows by one with each snapshot that routes otherwise than the one before
    /// ([`routes_like`](Self::routes_like)). Positions move within one version, so that whoever waits for a
    /// version is woken only when there is something to decide anew.
    pub version: u64,
    /// Number of the leadership; grows whenever the primary or its timeline changes. 0 before the first primary.
    pub term: u64,
    /// The node that takes writes; `None` while there is none (statements are held meanwhile).
    pub primary: Option<NodeId>,
    /// All nodes, each at the index of its id.
    pub nodes: Vec<NodeView>,
    /// `system_identifier` all nodes share; `None` before the first probe succeeded.
    pub system_identifier: Option<u64>,
}

impl Snapshot {
    /// Returns the view of `id`, or `None` for an id of no node.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.get(usize::from(id.0))
    }

    /// Returns the nodes that belong to the cluster, in order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &NodeView> + Clone {
        self.nodes.iter().filter(|view| !view.gone)
    }

    /// Returns the view of the node called `name`, if it belongs to the cluster.
    pub fn by_name(&self, name: &NodeName) -> Option<&NodeView> {
        self.members().find(|view| view.node.name == *name)
    }

    /// Returns the primary's view.
    pub fn primary(&self) -> Option<&NodeView> {
        self.primary.and_then(|id| self.node(id))
    }

    /// Tells whether `id` has not been heard of for so long that it counts as gone.
    pub fn has_fallen_silent(&self, id: NodeId) -> bool {
        self.node(id).is_some_and(|view| matches!(view.role, Role::Unknown { .. }))
    }

    /// Returns the standbys that may serve reads now, in order of their ids.
    pub fn readable_standbys(&self) -> impl Iterator<Item = &NodeView> + Clone {
        self.nodes.iter().filter(|view| view.serves_reads)
    }
}
