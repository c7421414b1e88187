//! PostgreSQL's nouns: positions in WAL, timelines, error codes, connection strings.
//!
//! Absent on purpose: anything that talks. These are values.
#![deny(clippy::disallowed_methods)]

mod conninfo;
mod history;
mod lsn;
mod sqlstate;
mod timeline;

pub use conninfo::{Address, ConnInfo, ConnInfoError};
pub use history::{BadHistory, History};
pub use lsn::{Lsn, ParseLsnError};
pub use sqlstate::SqlState;
pub use timeline::Timeline;
