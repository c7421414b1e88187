//! Remembers which errors a client was sent, for whoever counts them.

use super::machine::Session;
use crate::pg::SqlState;

/// Who found fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The session itself.
    Proxy,
    /// PostgreSQL.
    Server,
}

/// Errors sent since they were taken last; of a client that fails faster than they are taken, the first ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors(Vec<(Origin, SqlState)>);

const MOST: usize = 256;

impl Errors {
    pub(super) fn note(&mut self, origin: Origin, code: SqlState) {
        if self.0.len() < MOST {
            self.0.push((origin, code));
        }
    }
}

impl Session {
    /// Takes the errors that the client was sent by way of [`backend`](Self::backend) and
    /// [`server_lost`](Self::server_lost), or for a transaction whose server is gone.
    pub fn take_errors(&mut self) -> Vec<(Origin, SqlState)> {
        std::mem::take(&mut self.errors.0)
    }
}
