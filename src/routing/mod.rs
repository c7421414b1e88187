//! Where a statement goes, and why.
//!
//! Absent on purpose: asking for a server. The reason is a value, and is counted.
#![deny(clippy::disallowed_methods)]

mod decision;
mod route;

pub use decision::{Need, NoNode, Reason, Target, choose, of_text};
pub use route::Route;
