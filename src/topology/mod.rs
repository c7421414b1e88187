//! Who is who: the nodes we know by name and one immutable view of their roles and positions.
//!
//! Absent on purpose: probing and deciding. A [`Snapshot`] is made by the coordinator and only read elsewhere.
#![deny(clippy::disallowed_methods)]

mod node;
mod snapshot;

pub use node::{Node, NodeId, NodeName};
pub use snapshot::{NodeView, Role, Snapshot, Standby};
