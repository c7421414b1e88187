//! What the tasks of the data plane share: across workers, and within one worker.

use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::buffer::Spare;
use super::catalog::Catalogs;
use super::clients::Clients;
use super::gate::Gate;
use super::greeting::Greetings;
use super::logins::Logins;
use super::positions::Positions;
use super::settings::Settings;
use super::station;
use super::tls::ClientTls;
use super::verifiers::Verifiers;
use crate::pool::{Home, Identity, Registry};
use crate::routing::Loads;
use crate::session::StatementTable;
use crate::sql::{Classifier, SearchPaths};
use crate::telemetry;
use crate::topology::{NodeId, Snapshot};

/// Something a client task found out about a node before the next probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A connection could not be opened, or broke.
    Unreachable(NodeId),
    /// A node we took for the primary says it is a standby.
    NotPrimary(NodeId),
}

/// Where the topology comes from, and where trouble is reported.
pub struct Topology {
    /// The newest view; cheap to read.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Changes that matter to routing.
    pub changes: watch::Receiver<Arc<Snapshot>>,
    /// Whether something may go to the primary.
    pub gate: Arc<Gate>,
    /// Called when a client task meets trouble; must not block.
    pub report: Box<dyn Fn(Trouble) + Send + Sync>,
}

/// Shared by all workers.
pub struct Shared {
    pub(super) settings: ArcSwap<Settings>,
    pub(super) registry: Arc<Registry>,
    pub(super) topology: Topology,
    pub(super) loads: Arc<Loads>,
    pub(super) positions: Positions,
    /// The login that runs `auth_query`, and asks for positions.
    pub(super) cluster: Arc<Identity>,
    pub(super) clients: Clients,
    pub(super) tls: ArcSwapOption<ClientTls>,
    pub(super) verifiers: Verifiers,
    pub(super) greetings: Greetings,
    pub(super) catalogs: Catalogs,
    pub(super) logins: Logins,
    /// Made once: salts shown for users that do not exist stay the same by it.
    pub(super) mock_secret: [u8; 32],
    /// Set when no new work is taken.
    pub(super) draining: watch::Sender<bool>,
}

/// One worker thread's own: its clients all run on one runtime.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) home: Home,
    pub(super) spare: Spare,
    pub(super) metrics: Arc<telemetry::Worker>,
    brain: Mutex<Brain>,
}

/// What sessions of a worker think with. Locked for the length of a call, never across a wait.
pub(super) struct Brain {
    pub classifier: Classifier,
    pub statements: StatementTable,
    pub paths: SearchPaths,
}

/// Classified texts a worker remembers: entries and bytes of text.
const REMEMBERED_TEXTS: (usize, usize) = (10_000, 16 * 1024 * 1024);

impl Worker {
    /// Makes the worker that runs on the runtime known as `home`.
    pub fn new(shared: Arc<Shared>, home: Home, metrics: Arc<telemetry::Worker>) -> Self {
        let (entries, bytes) = REMEMBERED_TEXTS;
        let brain = Brain {
            classifier: Classifier::new(entries, bytes),
            statements: StatementTable::new(home.0),
            paths: SearchPaths::default(),
        };
        Worker { shared, home, spare: Spare::default(), metrics, brain: Mutex::new(brain) }
    }

    /// Returns where this worker's sockets live.
    pub fn home(&self) -> Home {
        self.home
    }

    pub(super) fn brain(&self) -> MutexGuard<'_, Brain> {
        self.brain.lock().expect("no panic happens under this lock")
    }
}

impl Shared {
    pub(super) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.topology.snapshot.load()
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.topology.gate
    }

    pub(super) fn report(&self, trouble: Trouble) {
        (self.topology.report)(trouble);
    }

    /// Tells whether no new work is taken.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns how many clients are connected.
    pub fn client_count(&self) -> usize {
        self.clients.count()
    }

    /// Returns how busy and how quick the nodes are.
    pub fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    /// Asks the nodes for their positions whenever sessions want to know, for ever; to be run as one task.
    pub async fn run_stations(self: Arc<Self>) {
        let mut stations = tokio::task::JoinSet::new();
        for node in 0..self.positions.seats() {
            stations.spawn(station::run(self.clone(), NodeId(node as u16)));
        }
        while stations.join_next().await.is_some() {}
    }

    /// Returns the pools.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}
