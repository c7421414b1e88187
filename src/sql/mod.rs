//! What a statement is: PostgreSQL's grammar reduced to flat effects.
//!
//! Absent on purpose: any type of the parser library outside `parse`, and any decision on where a statement
//! goes (`routing`).
#![deny(clippy::disallowed_methods)]

mod effects;

pub use effects::{
    Classified, Discard, Effects, NeedsPrimary, Prepared, SessionState, SettingChange, Transaction,
};
