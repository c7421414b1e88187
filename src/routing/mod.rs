//! Where a statement goes, and why.
//!
//! Absent on purpose: asking for a server. The reason is a value, and is counted.
#![deny(clippy::disallowed_methods)]

mod balance;
mod decision;
mod explain;
mod freshness;
mod loads;
mod quantity;
mod route;
mod wishes;

pub use balance::{Ask, Choice, Fallback, NoNode, NoStandby, Policy, choose};
pub use decision::{Asked, Need, Reason, Target, of_text};
pub use explain::Explanation;
pub use freshness::{Bounds, Carried, Sample, Seen, Ticket, carry, later};
pub use loads::{InFlight, Load, Loads};
pub use route::Route;
pub use wishes::{BadValue, Consistency, OnStale, OwnSetting, ParseTokenError, Token, Wishes};
