//! What the data plane counts, and the worker's handle to count it with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::cells::{Buckets, Cells};
use super::families::{self, Family, Names, Slots};
use super::render;
use crate::pg::SqlState;
use crate::topology::{Node, NodeId, Snapshot};

/// All metrics of this process. Make one; give each worker thread its own [`Worker`].
pub struct Metrics {
    pub(super) families: Vec<Family>,
    slots: Slots,
    workers: Mutex<Vec<Arc<Worker>>>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) pools: Mutex<Option<PoolSource>>,
    pub(super) started: SystemTime,
}

/// Answers how many server connections there are, each time someone looks.
pub type PoolSource = Box<dyn Fn() -> Vec<ServerConnections> + Send>;

/// How many server connections of one node are in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConnections {
    /// Which node.
    pub node: NodeId,
    /// What they do, such as `idle` or `active`.
    pub state: &'static str,
    /// How many.
    pub count: usize,
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

/// How a text of metrics is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' classical text.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Metrics {
    /// Prepares the metrics for these label values. `nodes` stand at the index of their ids; `snapshot` is
    /// read whenever someone looks.
    pub fn new(names: &Names, nodes: &[Arc<Node>], snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        let nodes: Vec<_> = nodes.iter().map(|node| node.name.to_string()).collect();
        let (families, slots) = families::lay_out(names, &nodes);
        let (workers, pools) = (Mutex::default(), Mutex::default());
        Metrics { families, slots, workers, snapshot, pools, started: SystemTime::now() }
    }

    /// Makes a handle for one more worker. What it counted stays counted after it is dropped.
    pub fn worker(&self) -> Arc<Worker> {
        let worker = Arc::new(Worker { slots: self.slots, cells: Cells::new(self.slots.end) });
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker.clone());
        worker
    }

    /// Sets who is asked for the numbers of server connections.
    pub fn set_pools(&self, source: PoolSource) {
        *self.pools.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Writes all metrics as they are now.
    pub fn render(&self, format: Format) -> String {
        render::render(self, format)
    }

    /// Returns the sum of each cell over all workers.
    pub(super) fn fold(&self) -> Vec<u64> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |cell| workers.iter().fold(0u64, |sum, worker| sum.wrapping_add(worker.cells.get(cell)));
        (0..self.slots.end).map(sum).collect()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("families", &self.families.len()).finish_non_exhaustive()
    }
}

/// One worker's counters. Each call is one relaxed addition (a histogram: two) to memory no other worker
/// writes; nothing allocates. Indexes are places in the lists of [`Names`]; one outside its list is a mistake
/// of the caller and raises a number of something else.
#[derive(Debug)]
pub struct Worker {
    slots: Slots,
    cells: Cells,
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

    /// A client got its server connection after waiting so long.
    pub fn checked_out(&self, waited: Duration) {
        self.cells.observe(self.slots.checkout_wait, Buckets::Waits, waited);
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

    /// A node answered a statement that was routed so; `took` runs from its arrival to the end of the answer.
    #[inline]
    pub fn statement(&self, node: NodeId, route: usize, took: Duration) {
        self.cells.add(self.slots.statements + usize::from(node.0) * self.slots.routes + route, 1);
        self.cells.observe(self.slots.statement_seconds, Buckets::Statements, took);
    }

    /// A transaction ended on a node.
    #[inline]
    pub fn transaction(&self, node: NodeId) {
        self.cells.add(self.slots.transactions + usize::from(node.0), 1);
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
    pub fn error(&self, state: SqlState) {
        self.cells.add(self.slots.errors + families::class_index(state.class()), 1);
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

    /// A server's settings were brought to a session's.
    pub fn settings_synced(&self) {
        self.cells.add(self.slots.settings_synced, 1);
    }
}
