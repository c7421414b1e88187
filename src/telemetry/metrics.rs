//! What the data plane counts, and the worker's handle to count it with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::cells::{Buckets, Cells};
use super::families::{self, Names, Slots};
use super::health::Health;
use super::leadership::{Hold, Leadership};
use super::process::Process;
use super::render;
use super::sources::Sources;
use super::table::{MAX_NODES, Table};
use crate::pg::SqlState;
use crate::topology::{NodeId, Snapshot};

/// All metrics of this process. Make one; give each worker thread its own [`Worker`].
pub struct Metrics {
    pub(super) table: Table,
    slots: Slots,
    workers: Mutex<Vec<Arc<Worker>>>,
    pub(super) leadership: Arc<Leadership>,
    pub(super) health: Arc<Health>,
    pub(super) process: Process,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) sources: Mutex<Sources>,
}

/// Which way bytes go, seen from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Read from a client.
    FromClient,
    /// Written to a client.
    ToClient,
    /// Read from a server.
    FromServer,
    /// Written to a server.
    ToServer,
}

/// Whether something asked of a cache was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was.
    Hit,
    /// It was not.
    Miss,
}

/// Who found fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy.
    Proxy,
    /// PostgreSQL.
    Server,
}

/// Why a request got no server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// All were in use for too long.
    Timeout,
    /// None could be opened.
    Connect,
    /// There was no primary for too long.
    NoPrimary,
    /// No standby serves reads, and the primary must not.
    NoStandby,
}

/// How a text of metrics is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' classical text.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Metrics {
    /// Prepares the metrics for these label values. `snapshot` is read whenever someone looks.
    pub fn new(names: &Names, snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        let (table, slots) = families::lay_out(names);
        Metrics {
            table,
            slots,
            workers: Mutex::default(),
            leadership: Arc::new(Leadership::new()),
            health: Arc::new(Health::new()),
            process: Process::new(),
            snapshot,
            sources: Mutex::default(),
        }
    }

    /// Makes a handle for one more worker. What it counted stays counted after it is dropped.
    pub fn worker(&self) -> Arc<Worker> {
        let worker = Arc::new(Worker {
            slots: self.slots,
            cells: Cells::new(self.table.end),
            leadership: self.leadership.clone(),
        });
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker.clone());
        worker
    }

    /// Returns where whoever takes part in leading counts.
    pub fn leadership(&self) -> Arc<Leadership> {
        self.leadership.clone()
    }

    /// Returns where whoever probes the nodes counts.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Takes note that the configuration was read again, and whether it was taken.
    pub fn reloaded(&self, taken: bool) {
        self.process.reloaded(taken);
    }

    /// Sets who is asked for what is only counted when someone looks.
    pub fn set_sources(&self, sources: Sources) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// Writes all metrics as they are now.
    pub fn render(&self, format: Format) -> String {
        render::render(self, format)
    }

    /// Returns the sum of each cell over all workers.
    pub(super) fn fold(&self) -> Vec<u64> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |cell| workers.iter().fold(0u64, |sum, worker| sum.wrapping_add(worker.cells.get(cell)));
        (0..self.table.end).map(sum).collect()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("families", &self.table.families.len()).finish_non_exhaustive()
    }
}

/// One worker's counters. Each call is one relaxed addition (a histogram: two) to memory no other worker
/// writes; nothing allocates. Indexes are places in the lists of [`Names`]; one outside its list is a mistake
/// of the caller and raises a number of something else.
#[derive(Debug)]
pub struct Worker {
    slots: Slots,
    cells: Cells,
    leadership: Arc<Leadership>,
}

impl Worker {
    /// A client came, in this state.
    pub fn client_came(&self, state: usize) {
        self.cells.add(self.slots.clients + state, 1);
    }

    /// A client went from one state to another.
    pub fn client_moved(&self, from: usize, to: usize) {
        self.cells.sub(self.slots.clients + from, 1);
        self.cells.add(self.slots.clients + to, 1);
    }

    /// A client left, out of this state.
    pub fn client_left(&self, state: usize) {
        self.cells.sub(self.slots.clients + state, 1);
    }

    /// A client logged in.
    pub fn logged_in(&self) {
        self.cells.add(self.slots.logins, 1);
    }

    /// A client was turned away.
    pub fn rejected(&self, reason: usize) {
        self.cells.add(self.slots.rejections + reason, 1);
    }

    /// A client got its server connection for this route after waiting so long.
    pub fn checked_out(&self, route: usize, waited: Duration) {
        let start = self.slots.checkout_wait + route * Buckets::Waits.cells();
        self.cells.observe(start, Buckets::Waits, waited);
    }

    /// A request got none.
    pub fn not_checked_out(&self, reason: NoServer) {
        self.cells.add(self.slots.checkout_failures + reason as usize, 1);
    }

    /// A statement was sent this way for this reason.
    #[inline]
    pub fn routed(&self, route: usize, rule: usize) {
        self.cells.add(self.slots.routed + route * self.slots.rules + rule, 1);
    }

    /// A read for a standby goes to the primary.
    pub fn fell_back(&self, reason: usize) {
        self.cells.add(self.slots.fallbacks + reason, 1);
    }

    /// A read that had to see something came to this.
    #[inline]
    pub fn freshness(&self, outcome: usize) {
        self.cells.add(self.slots.freshness + outcome, 1);
    }

    /// A node answered a statement that was routed so; `took` runs from its arrival to the end of the answer.
    #[inline]
    pub fn statement(&self, node: NodeId, route: usize, took: Duration) {
        let node = usize::from(node.0);
        if node < MAX_NODES {
            self.cells.add(self.slots.statements + node * self.slots.routes + route, 1);
        }
        let start = self.slots.statement_seconds + route * Buckets::Statements.cells();
        self.cells.observe(start, Buckets::Statements, took);
    }

    /// A node's connection was given back.
    #[inline]
    pub fn transaction(&self, node: NodeId) {
        let node = usize::from(node.0);
        if node < MAX_NODES {
            self.cells.add(self.slots.transactions + node, 1);
        }
    }

    /// A session began to keep its server for this reason.
    pub fn pinned(&self, reason: usize) {
        self.cells.add(self.slots.pins + reason, 1);
        self.cells.add(self.slots.pinned + reason, 1);
    }

    /// That reason is gone.
    pub fn unpinned(&self, reason: usize) {
        self.cells.sub(self.slots.pinned + reason, 1);
    }

    /// Bytes were moved.
    #[inline]
    pub fn bytes(&self, direction: Direction, count: u64) {
        self.cells.add(self.slots.bytes + direction as usize, count);
    }

    /// A client was sent an ErrorResponse.
    pub fn error(&self, origin: Origin, state: SqlState) {
        self.cells.add(self.slots.errors + families::error_index(origin, state.class()), 1);
        if origin == Origin::Proxy && state == SqlState::TRANSACTION_RESOLUTION_UNKNOWN {
            self.leadership.commit_in_doubt();
        }
    }

    /// A statement begins to wait for a primary.
    pub fn hold(&self) -> Hold {
        self.leadership.clone().hold()
    }

    /// A read that failed on a standby is run again on another server.
    pub fn healed(&self, cause: usize) {
        self.cells.add(self.slots.healed + cause, 1);
    }

    /// A CancelRequest came to this.
    pub fn cancel(&self, result: usize) {
        self.cells.add(self.slots.cancels + result, 1);
    }

    /// Prepared statements were used that the server had, or had not.
    #[inline]
    pub fn prepared(&self, found: Found, count: u64) {
        self.cells.add(self.slots.prepared + found as usize, count);
    }

    /// Statements were classified, from the cache or not.
    #[inline]
    pub fn classified(&self, found: Found, count: u64) {
        self.cells.add(self.slots.classification + found as usize, count);
    }

    /// Hints came that cannot be followed.
    #[cold]
    pub fn hints_ignored(&self, count: u64) {
        self.cells.add(self.slots.hints_ignored, count);
    }

    /// Statements were refused that need the primary.
    #[cold]
    pub fn refused_on_standby(&self, count: u64) {
        self.cells.add(self.slots.refused_on_standby, count);
    }

    /// A server's settings were brought to a session's.
    pub fn settings_synced(&self) {
        self.cells.add(self.slots.settings_synced, 1);
    }
}
