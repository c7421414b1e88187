//! Where a statement goes, and why.
//!
//! Absent on purpose: asking for a server. The reason is a value, and is counted.
#![deny(clippy::disallowed_methods)]

mod decision;
mod quantity;
mod route;
mod wishes;

pub use decision::{Need, NoNode, Reason, Target, choose, of_text};
pub use route::Route;
pub use wishes::{BadValue, Consistency, OWN_PREFIX, OnStale, OwnSetting, ParseTokenError, Token, Wishes};
