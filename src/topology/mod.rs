//! Who is who: the nodes we know by name and one immutable view of their roles and positions.
//!
//! [`Observer`] turns what single nodes report into a [`Snapshot`]: who is primary, who takes reads.
//!
//! Absent on purpose: probing, clocks, and deciding who *should* lead. The coordinator feeds the observer and
//! publishes its snapshots; everyone else only reads them.
#![deny(clippy::disallowed_methods)]

mod change;
mod decree;
mod node;
mod observe;
mod report;
mod snapshot;

pub use change::Change;
pub use decree::Decree;
pub use node::{Node, NodeId, NodeName, SPARE_SEATS};
pub use observe::{LagLimits, Observer, Pace, Thresholds};
pub use report::{Facts, Report, Standing};
pub use snapshot::{NodeView, Role, Snapshot, Standby};
