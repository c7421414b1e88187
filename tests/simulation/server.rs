//! One simulated PostgreSQL server: what is on its disk, what it runs, what it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether::cluster::{Facts, Receiver, Standby, Standing, SyncNames, Upstream};
use bellwether::pg::Lsn;
use bellwether::topology::NodeName;

use super::clock::{MS, Time};
use super::random::Random;
use super::wal::{Place, START, Wal, WriteId};

/// The identifier all servers of a world share.
pub const SYSTEM_IDENTIFIER: u64 = 7_342_001;

/// A server.
pub struct Server {
    pub power: Power,
    /// Counts starts of the postmaster; shown as its start time.
    pub run: u64,
    /// What is flushed to its disk.
    pub place: Place,
    /// Whether `standby.signal` is there.
    pub recovery: bool,
    pub replayed: u64,
    pub received: Option<u64>,
    /// The settings as written; standing connections follow later.
    pub conf: Conf,
    /// For whom it keeps WAL.
    pub slots: BTreeSet<NodeName>,
    /// The names for synchronous commit in force.
    pub sync_names: SyncNames,
    pub receiver: Option<Walreceiver>,
    /// `restore_command` runs until then.
    pub restoring: Option<Time>,
    pub promotion: Promotion,
    /// Counts the startup process's plans to look around; the last one holds.
    pub look: u64,
    /// The highest timeline it has a history file of.
    pub known_timeline: u32,
    /// Walsenders: by standby, the connection and how far that standby has flushed.
    pub walsenders: BTreeMap<usize, (u64, u64)>,
    /// Commits that wait for standbys, in the order of WAL.
    pub waiting: Vec<Waiting>,
    /// The session that holds the advisory lock of ownership.
    pub owner: Option<Session>,
    /// The last write that other sessions can see.
    pub visible: Option<WriteId>,
    pub pace: Pace,
    pub troubles: Troubles,
    /// It holds WAL of two histories that looked alike.
    pub mixed: bool,
}

/// Whether the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It takes connections.
    Up,
    /// The postmaster is there and lets nobody in yet.
    Starting,
    /// No postmaster; the host answers.
    Stopped,
    /// The host is gone.
    Dark,
}

/// How far a promotion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    None,
    /// `pg_promote` was called.
    Asked,
    /// The walreceiver is gone and all is replayed: it ends soon.
    Ending,
}

/// The settings in `postgresql.auto.conf`.
#[derive(Clone, Debug)]
pub struct Conf {
    pub upstream: Upstream,
    /// Where `Upstream::Foreign` points.
    pub foreign: usize,
    pub restore: Restore,
    /// The value of its own `restore_command` has when nobody clears it.
    pub restored: Restore,
    pub sync_names: SyncNames,
}

/// `restore_command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    None,
    /// Finds nothing, soon.
    Misses,
    /// Never comes back.
    Hangs,
}

/// A running walreceiver.
#[derive(Clone, Debug)]
pub struct Walreceiver {
    pub sender: usize,
    pub link: u64,
    pub upstream: Upstream,
    pub heard: Time,
    /// WAL is on its way to it.
    pub busy: bool,
}

/// A commit that waits for standbys.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub end: u64,
    pub write: Option<WriteId>,
    pub who: Waiter,
}

/// Who is told when the wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A client's connection.
    Connection { id: u64, process: usize },
    /// A session that goes past the proxies.
    Direct,
    /// A coordinator's probe commit: process, its run, the question.
    Probe { process: usize, run: u64, ask: u64 },
}

/// A coordinator's session on a server. It ends with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub process: usize,
    pub run: u64,
    pub number: u64,
}

/// How long things take here.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub replay: Time,
    pub promote: Time,
    pub boot: Time,
    pub retry: Time,
    pub reload: Time,
}

/// What ails it. Counters, since faults overlap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    /// Replay stands still.
    pub stalled: u32,
    /// Processes are stopped; connections stay.
    pub frozen: u32,
    /// Bytes of WAL that get through at a time; `None` for all.
    pub trickle: Option<u64>,
    /// Refuses new connections, `53300`.
    pub full: u32,
    /// Promotions take this much longer.
    pub slow_promotion: Time,
}

impl Server {
    /// Makes a primary (`upstream` is itself) or a standby of `upstream`.
    pub fn new(index: usize, upstream: usize, random: &mut Random) -> Self {
        let restore = if random.chance(20) { Restore::Misses } else { Restore::None };
        Server {
            power: Power::Up,
            run: 1,
            place: Place { branch: super::wal::BranchId(0), end: START },
            recovery: index != upstream,
            replayed: START,
            received: None,
            conf: Conf {
                upstream: Upstream::Foreign,
                foreign: upstream,
                restore,
                restored: restore,
                sync_names: SyncNames::Nobody,
            },
            slots: BTreeSet::new(),
            sync_names: SyncNames::Nobody,
            receiver: None,
            restoring: None,
            promotion: Promotion::None,
            look: 0,
            known_timeline: 1,
            walsenders: BTreeMap::new(),
            waiting: Vec::new(),
            owner: None,
            visible: None,
            pace: Pace::draw(random),
            troubles: Troubles::default(),
            mixed: false,
        }
    }

    /// Whether it does anything at all.
    pub fn runs(&self) -> bool {
        self.power == Power::Up && self.troubles.frozen == 0
    }

    /// Whether it takes writes.
    pub fn is_primary(&self) -> bool {
        self.power == Power::Up && !self.recovery
    }

    /// Whether the startup process waits for more WAL, having replayed what it has.
    pub fn is_idle(&self, wal: &Wal) -> bool {
        self.recovery && self.replayed >= wal.whole(self.place).end && self.restoring.is_none()
    }

    /// Whether as many of the names in force as asked for have flushed up to `end`.
    pub fn is_acknowledged(&self, end: u64, names: &[NodeName]) -> bool {
        match &self.sync_names {
            SyncNames::Nobody => true,
            SyncNames::Fence | SyncNames::Foreign(_) => false,
            SyncNames::Any { k, names: wanted } => {
                let flushed = self
                    .walsenders
                    .iter()
                    .filter(|(node, (_, flushed))| *flushed >= end && is_named(wanted, &names[**node]));
                flushed.count() >= *k as usize
            }
        }
    }

    /// Answers a probe.
    pub fn facts(&self, wal: &Wal, now: Time) -> Facts {
        let standing = if self.recovery {
            Standing::Standby(self.as_standby(wal, now))
        } else {
            Standing::Primary { flushed: Lsn(self.place.end) }
        };
        Facts {
            system_identifier: SYSTEM_IDENTIFIER,
            started: self.run,
            lineage: wal.lineage(self.place.branch).clone(),
            standing,
            sync_names: self.sync_names.clone(),
            slots: self.slots.clone(),
        }
    }

    fn as_standby(&self, wal: &Wal, now: Time) -> Standby {
        let replayed = Place { branch: self.place.branch, end: self.replayed };
        let receiver = self.receiver.as_ref();
        Standby {
            upstream: self.conf.upstream.clone(),
            receiver: receiver.map(|receiver| Receiver { heard: duration(now - receiver.heard) }),
            restores: self.conf.restore != Restore::None,
            received: self.received.map(Lsn),
            replayed: Lsn(self.replayed),
            idle: self.is_idle(wal),
            replay_age: Some(duration(now.saturating_sub(wal.last_commit(replayed)))),
        }
    }
}

impl Pace {
    fn draw(random: &mut Random) -> Self {
        Pace {
            replay: random.pick(&[0, MS, 3 * MS, 30 * MS]),
            promote: random.pick(&[MS, 20 * MS, 60 * MS, 200 * MS]),
            boot: random.pick(&[50 * MS, 300 * MS, 1500 * MS, 4000 * MS]),
            retry: random.pick(&[20 * MS, 200 * MS, 1000 * MS]),
            reload: random.pick(&[MS, 20 * MS, 150 * MS, 400 * MS]),
        }
    }
}

fn is_named(names: &BTreeSet<NodeName>, name: &NodeName) -> bool {
    names.contains(name)
}

/// A length of simulated time.
pub fn duration(length: Time) -> Duration {
    Duration::from_micros(length)
}
