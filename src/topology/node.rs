//! One PostgreSQL server we know by name.

use std::fmt;
use std::sync::Arc;

use crate::pg::Address;

/// The operator's name for a server, as in `[nodes]` of the configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Wraps a name. Names are not checked here; the configuration does that.
    pub fn new(name: &str) -> Self {
        NodeName(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A node's place in every [`Snapshot`](super::Snapshot) of this process: small, dense, never reused for
/// another node while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// Nodes that can be taken in while the process runs, beside those it starts with: whatever is kept of each node has
/// room for so many more.
pub const SPARE_SEATS: usize = 32;

/// A server as the operator describes it. What is observed about it stands in a `NodeView`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Place in the snapshot.
    pub id: NodeId,
    /// The operator's name for it.
    pub name: NodeName,
    /// Where it listens.
    pub address: Address,
    /// Share of reads relative to other standbys; 0 takes none.
    pub weight: u16,
    /// Whether it may serve reads while it is a standby.
    pub reads: bool,
    /// Where it stands, such as a data centre; `None` when the operator does not say.
    pub zone: Option<Arc<str>>,
}
