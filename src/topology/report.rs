//! What one probe of one node brought back.

use std::time::Duration;

use crate::pg::{Lsn, Timeline};

/// The outcome of asking a node once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It answered.
    Answered(Facts),
    /// It runs but would not let us in: too many connections, or our login refused. That is no sign of
    /// death, so what was known of it stands.
    Refused {
        /// The server's words.
        reason: String,
    },
    /// It runs but takes no connections yet or any more (starting up, shutting down, crash recovery). What
    /// was known of its role is void.
    NotReady {
        /// The server's words.
        reason: String,
    },
    /// No answer: not reached, timed out, or cut off in the middle.
    Failed {
        /// What went wrong.
        reason: String,
    },
}

/// What a node said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `pg_control_system().system_identifier`: equal on all nodes of one cluster.
    pub system_identifier: u64,
    /// `server_version_num`, such as 150020.
    pub server_version: u32,
    /// Its part in replication.
    pub standing: Standing,
}

/// What a node said about its part in replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not in recovery: it accepts writes.
    Primary {
        /// The timeline it writes on, from the name of the WAL file it inserts into: the control file still
        /// shows the old one for a while after a promotion.
        timeline: Timeline,
        /// `pg_current_wal_insert_lsn()`.
        position: Lsn,
    },
    /// In recovery.
    Standby {
        /// The timeline received, else the one of the control file; `None` when neither could be read.
        timeline: Option<Timeline>,
        /// Whether a walreceiver streams.
        streaming: bool,
        /// `pg_last_wal_replay_lsn()`; `None` before anything was replayed.
        replayed: Option<Lsn>,
        /// `pg_last_wal_receive_lsn()`; after a restart it may stand behind `replayed`.
        received: Option<Lsn>,
        /// Age of the last replayed transaction; `None` when none was replayed since the start.
        replay_age: Option<Duration>,
    },
}
