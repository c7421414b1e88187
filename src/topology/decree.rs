//! Who leads by agreement, where that is not left to what is seen.

use std::collections::BTreeMap;

use super::NodeName;
use crate::pg::{Address, Timeline};

/// What the proxies of a cluster have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decree {
    /// Number of the leadership.
    pub term: u64,
    /// Whether its leader may be talked to.
    pub open: bool,
    /// The leader; while the term is not open, the last one.
    pub leader: NodeName,
    /// The timeline of its data.
    pub timeline: Timeline,
    /// `system_identifier` of the cluster.
    pub system_identifier: Option<u64>,
    /// The servers of the cluster, and where they are.
    pub members: BTreeMap<NodeName, Address>,
    /// Nodes that take no reads, whatever they seem to be, and why.
    pub barred: BTreeMap<NodeName, &'static str>,
}

/// Whose word counts on who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// What is seen does: somebody else promotes.
    Seen,
    /// The agreement's; `None` until it was heard.
    Agreed(Option<Decree>),
}

impl Authority {
    /// Returns what was agreed, if the agreement counts and was heard.
    pub(super) fn decree(&self) -> Option<&Decree> {
        match self {
            Authority::Seen | Authority::Agreed(None) => None,
            Authority::Agreed(decree) => decree.as_ref(),
        }
    }
}
