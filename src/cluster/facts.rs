//! What one probe of one node brought back, as far as leadership needs it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lineage::Lineage;
use super::sync_names::SyncNames;
use crate::pg::{Lsn, SqlState};
use crate::topology::NodeName;

/// The outcome of asking a node once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It answered.
    Answered(Box<Facts>),
    /// It runs, but would not let us in: `53300`, `28xxx`. No sign of death (pgpool2#64: thousands of clients
    /// were taken for a dead server).
    Refused(SqlState),
    /// It runs and takes no connections: `57P03`, starting up, shutting down, in crash recovery.
    NotReady,
    /// Hard evidence: the connection was refused or reset by a host that answers.
    Gone,
    /// Soft evidence: no answer in time.
    Silent,
}

impl Report {
    /// Judges an ErrorResponse met while connecting or asking.
    pub fn of_error(code: SqlState) -> Report {
        match code.as_str() {
            "57P03" | "57P01" | "57P02" => Report::NotReady,
            _ => Report::Refused(code),
        }
    }
}

/// What a node said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `pg_control_system().system_identifier`.
    pub system_identifier: u64,
    /// `pg_postmaster_start_time()` in microseconds of its epoch: another value is another run.
    pub started: u64,
    /// The history its data belongs to.
    pub lineage: Lineage,
    /// Its part in replication.
    pub standing: Standing,
    /// `synchronous_standby_names` **in force**. A reload is applied by the checkpointer some time after the
    /// session that asked shows it, so the prober must report the old value until a round trip through the
    /// checkpointer (`CHECKPOINT`) followed the change.
    pub sync_names: SyncNames,
    /// The nodes there are physical replication slots of ours for.
    pub slots: BTreeSet<NodeName>,
}

/// A node's part in replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not in recovery.
    Primary {
        /// `pg_current_wal_flush_lsn()`.
        flushed: Lsn,
    },
    /// In recovery.
    Standby(Standby),
}

/// What a node in recovery said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Where `primary_conninfo` points.
    pub upstream: Upstream,
    /// Its walreceiver; `None` when `pg_stat_wal_receiver` is empty.
    pub receiver: Option<Receiver>,
    /// Whether `restore_command` is set. It would go on fetching WAL, and can hang a promotion.
    pub restores: bool,
    /// `pg_last_wal_receive_lsn()`. After a restart it stands **behind** what was replayed.
    pub received: Option<Lsn>,
    /// `pg_last_wal_replay_lsn()`.
    pub replayed: Lsn,
    /// Whether the startup process waits for more WAL (`RecoveryWalStream`, `RecoveryRetrieveRetryInterval`):
    /// it has replayed all it has.
    pub idle: bool,
    /// Age of the last replayed transaction; `None` when none was replayed since the start.
    pub replay_age: Option<Duration>,
}

/// A running walreceiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Time since it last heard from its sender.
    pub heard: Duration,
}

/// Where a standby's `primary_conninfo` points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Nowhere.
    None,
    /// To a host that does not exist, on purpose: recruited for this term.
    DeadEnd {
        /// The term it is recruited for.
        term: u64,
    },
    /// To a node, written by us in this term.
    Leader {
        /// The node followed.
        node: NodeName,
        /// The term it was written for.
        term: u64,
    },
    /// Not written by us.
    Foreign,
}

impl Facts {
    /// Returns how far this node's data reaches at most: for a standby the greater of replayed and received, never the
    /// received position alone. By this it is told who is furthest, since an acknowledged commit may have been received
    /// and not be replayed yet, also where the startup process seems to wait for more.
    pub fn position(&self) -> Lsn {
        match &self.standing {
            Standing::Primary { flushed } => *flushed,
            Standing::Standby(standby) => {
                standby.received.map_or(standby.replayed, |lsn| lsn.max(standby.replayed))
            }
        }
    }

    /// Returns how far this node's data goes in whole records for certain. By this it is told whether it can follow, and
    /// where its own branch must begin.
    ///
    /// What a standby that holds still received beyond what it replayed is the beginning of a record whose end never
    /// came, as its primary was lost in the middle of it. It is no part of what the node would lead with, and no hindrance
    /// to following whoever has not got it.
    pub fn whole(&self) -> Lsn {
        match self.standby() {
            Some(standby) if standby.idle && standby.receiver.is_none() => standby.replayed,
            _ => self.position(),
        }
    }

    /// Returns what it said as a standby; `None` when it is not in recovery.
    pub fn standby(&self) -> Option<&Standby> {
        match &self.standing {
            Standing::Standby(standby) => Some(standby),
            Standing::Primary { .. } => None,
        }
    }

    /// Whether it is not in recovery.
    pub fn is_primary(&self) -> bool {
        matches!(self.standing, Standing::Primary { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_record_is_nothing_whole() {
        let check = |receiver, idle, received, position, whole| {
            let standby = Standby {
                upstream: Upstream::DeadEnd { term: 2 },
                receiver,
                restores: false,
                received: Some(Lsn(received)),
                replayed: Lsn(1000),
                idle,
                replay_age: None,
            };
            let branch = crate::cluster::Branch { timeline: crate::pg::Timeline(1), forked_at: Lsn(0) };
            let facts = Facts {
                system_identifier: 1,
                started: 1,
                lineage: Lineage::new(vec![branch]).expect("one branch"),
                standing: Standing::Standby(standby),
                sync_names: SyncNames::Nobody,
                slots: BTreeSet::new(),
            };
            assert_eq!((facts.position(), facts.whole()), (Lsn(position), Lsn(whole)), "{facts:?}");
        };
        let running = Some(Receiver { heard: Duration::ZERO });
        check(running, true, 1100, 1100, 1100);
        check(None, false, 1100, 1100, 1100);
        check(None, true, 1100, 1100, 1000);
        // After a restart.
        check(None, true, 900, 1000, 1000);
        check(None, false, 900, 1000, 1000);
    }

    #[test]
    fn full_and_starting_servers_are_alive() {
        let check = |code: &[u8], expected: Report| {
            let code = SqlState::from_bytes(code).expect("a code");
            assert_eq!(Report::of_error(code), expected);
        };
        check(b"53300", Report::Refused(SqlState::TOO_MANY_CONNECTIONS));
        check(b"28P01", Report::Refused(SqlState::INVALID_PASSWORD));
        check(b"57P03", Report::NotReady);
        check(b"57P01", Report::NotReady);
    }
}
