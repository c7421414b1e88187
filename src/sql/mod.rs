//! What a statement is: PostgreSQL's grammar reduced to flat effects.
//!
//! Absent on purpose: any type of the parser library outside `parse`, and any decision on where a statement
//! goes (`routing`).
#![deny(clippy::disallowed_methods)]

mod builtins;
mod cache;
mod catalog;
mod classify;
mod constants;
mod effects;
mod encoding;
pub mod exercise;
mod explain;
mod findings;
mod hint;
mod names;
mod own;
mod parse;
mod quote;
#[cfg(test)]
mod tests;
mod uses;

pub use builtins::plain_functions;
pub use cache::{Classifier, Lookups};
pub use catalog::{BadName, Catalog, Culprit, Facts, Kind, Lists, SearchPath, SearchPaths, Shape, facts};
pub use effects::{
    Classified, Discard, Effects, Modes, NeedsPrimary, Prepared, SessionState, SettingChange, Transaction,
};
pub use encoding::hides_ascii;
pub use explain::{Finding, explain};
pub use hint::Hint;
pub use own::{OWN_PREFIX, Own, OwnAct};
pub use uses::Uses;
