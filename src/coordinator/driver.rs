//! Repeats the probes, feeds the observer, and publishes its snapshots.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::Settings;
use super::connector::Connect;
use super::record::{Led, Record, Seen};
use super::rounds::{Heard, Rounds, Wakes};
use crate::telemetry::Health;
use crate::topology::{Change, Decree, Node, NodeId, Observer, SPARE_SEATS, Snapshot};

/// What someone who talks to the nodes noticed by themselves. It proves nothing, it only makes us look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A connection to this node could not be opened, or broke.
    ConnectFailed(NodeId),
    /// This node refused a write with SQLSTATE 25006: it is no primary, or no longer.
    NotPrimary(NodeId),
}

/// Access to the snapshots, and a way to hint. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    latest: Arc<ArcSwap<Snapshot>>,
    routing: watch::Receiver<Arc<Snapshot>>,
    wakes: Wakes,
    record: Arc<Record>,
    drains: mpsc::Sender<Drain>,
}

/// Asks for reads to be kept away from a node, or let there again; answered when that is published.
#[derive(Debug)]
struct Drain {
    node: NodeId,
    drained: bool,
    published: oneshot::Sender<()>,
}

impl Handle {
    /// Returns the latest snapshot, positions included.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.latest.load_full()
    }

    /// Returns the cell in which every snapshot is published, for whoever reads it often.
    pub fn cell(&self) -> Arc<ArcSwap<Snapshot>> {
        self.latest.clone()
    }

    /// Returns a receiver that changes only when routing changes (with [`Snapshot::version`]), so that many
    /// may wait on it. The positions it shows are those of that moment; for fresh ones read
    /// [`snapshot`](Self::snapshot).
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.routing.clone()
    }

    /// Returns what is known of `node` beyond the snapshot.
    pub fn seen(&self, node: NodeId) -> Seen {
        self.record.node(node)
    }

    /// Returns since when the present primary has been seen to lead in its term; `None` before the first.
    pub fn primary_since(&self) -> Option<SystemTime> {
        self.record.since()
    }

    /// Returns how many changes of the primary were seen since the start.
    pub fn primary_changes(&self) -> u64 {
        self.record.count()
    }

    /// Returns the changes of the primary seen since the start, newest first; old ones are forgotten.
    pub fn past_primaries(&self) -> Vec<Led> {
        self.record.changes()
    }

    /// Keeps new reads away from `node`, or lets them there again, and returns when that is published. Lasts until
    /// it is undone or the process ends. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// The driver has ended.
    pub async fn set_drained(&self, node: NodeId, drained: bool) -> Result<(), DriverEnded> {
        let (published, done) = oneshot::channel();
        self.drains.send(Drain { node, drained, published }).await.map_err(|_| DriverEnded)?;
        done.await.map_err(|_| DriverEnded)
    }

    /// Has the nodes concerned probed at once. Never blocks; many hints make one probe.
    pub fn hint(&self, hint: Hint) {
        match hint {
            Hint::ConnectFailed(node) => self.wakes.one(node),
            // Whoever is primary instead is to be found among the others.
            Hint::NotPrimary(_) => self.wakes.all(),
        }
    }
}

/// Nobody observes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the nodes are no longer observed")]
pub struct DriverEnded;

/// Hears which nodes belong to the cluster.
type Told = Box<dyn Fn(&[Arc<Node>]) + Send>;

/// The work behind a [`Handle`]: await [`run`](Self::run) somewhere.
pub struct Driver {
    settings: Settings,
    nodes: Vec<Arc<Node>>,
    connector: Arc<dyn Connect>,
    observer: Observer,
    latest: Arc<ArcSwap<Snapshot>>,
    routing: watch::Sender<Arc<Snapshot>>,
    wakes: Wakes,
    record: Arc<Record>,
    drains: mpsc::Receiver<Drain>,
    health: Option<Arc<Health>>,
    decrees: Option<watch::Receiver<Option<Decree>>>,
    told: Told,
}

/// Prepares to observe `nodes`, which stand at the index of their ids. Nothing happens until the driver runs.
pub fn start(settings: Settings, nodes: Vec<Arc<Node>>, connector: Arc<dyn Connect>) -> (Handle, Driver) {
    let observer = Observer::new(nodes.clone(), settings.thresholds);
    let first = Arc::new(observer.snapshot().clone());
    let latest = Arc::new(ArcSwap::new(first.clone()));
    let (sender, receiver) = watch::channel(first);
    let seats = nodes.len() + SPARE_SEATS;
    let wakes = Wakes::new(seats);
    let record = Arc::new(Record::new(seats));
    let (drains, wanted) = mpsc::channel(1);
    let handle = Handle {
        latest: latest.clone(),
        routing: receiver,
        wakes: wakes.clone(),
        record: record.clone(),
        drains,
    };
    let driver = Driver {
        settings,
        nodes,
        connector,
        observer,
        latest,
        routing: sender,
        wakes,
        record,
        drains: wanted,
        health: None,
        decrees: None,
        told: Box::new(|_| ()),
    };
    (handle, driver)
}

impl Driver {
    /// Counts every probe in `health` from now on.
    pub fn counting(mut self, health: Arc<Health>) -> Self {
        self.health = Some(health);
        self
    }

    /// Takes the primary from what is agreed, instead of from what is seen.
    #[must_use]
    pub fn following(self, decrees: watch::Receiver<Option<Decree>>) -> Self {
        let observer = Observer::told(self.nodes.clone(), self.settings.thresholds);
        Driver { observer, decrees: Some(decrees), ..self }
    }

    /// Tells `nodes` which nodes belong to the cluster whenever that is agreed anew, before anything is routed to them.
    #[must_use]
    pub fn telling(self, nodes: impl Fn(&[Arc<Node>]) + Send + 'static) -> Self {
        Driver { told: Box::new(nodes), ..self }
    }

    /// Probes and publishes for ever. Dropping the future stops everything it started.
    pub async fn run(mut self) {
        let (pace, paces) = watch::channel(self.observer.pace());
        let mut rounds = Rounds::new(&self.settings, self.connector.clone(), self.wakes.clone(), paces);
        rounds.attend(&self.nodes);
        loop {
            let changes = tokio::select! {
                heard = rounds.next() => self.hear(heard),
                decree = next_decree(&mut self.decrees) => {
                    let changes = self.observer.hear(decree, Instant::now());
                    if changes.iter().any(|change| matches!(change, Change::Member { .. })) {
                        self.nodes = self.observer.nodes().cloned().collect();
                        (self.told)(&self.nodes);
                        rounds.attend(&self.nodes);
                    }
                    self.publish();
                    self.remember(None);
                    // What was agreed is looked at: a new leader is seen to be one, its followers to follow.
                    self.wakes.all();
                    changes
                }
                Some(drain) = self.drains.recv() => {
                    let changes = self.observer.set_drained(drain.node, drain.drained, Instant::now());
                    self.publish();
                    self.remember(None);
                    let _ = drain.published.send(());
                    changes
                }
            };
            for change in &changes {
                log(change);
                self.record.changed(change, Instant::now(), SystemTime::now());
            }
            let now = self.observer.pace();
            pace.send_if_modified(|pace| std::mem::replace(pace, now) != now);
        }
    }

    fn hear(&mut self, heard: Heard) -> Vec<Change> {
        if let Some(health) = &self.health {
            let took = heard.at.saturating_duration_since(heard.asked_at);
            health.probed(heard.node.id, &heard.report, took);
        }
        let changes = self.observer.step(heard.node.id, heard.report, heard.asked_at, heard.at);
        self.publish();
        self.remember(Some((heard.node.id, heard.at)));
        changes
    }

    /// Writes down what the snapshot does not say.
    fn remember(&self, checked: Option<(NodeId, Instant)>) {
        self.record.set_nodes(|id, seen| {
            if let Some((_, at)) = checked.filter(|(node, _)| *node == id) {
                seen.checked_at = Some(at);
            }
            seen.no_reads = self.observer.no_reads_because(id);
            seen.drained = self.observer.is_drained(id);
        });
    }

    fn publish(&self) {
        let published = self.latest.load();
        let snapshot = self.observer.snapshot();
        if **published == *snapshot {
            return;
        }
        let rerouted = published.version != snapshot.version;
        let snapshot = Arc::new(snapshot.clone());
        // First the cell: who is woken by the watch and then reads the cell must not see older things.
        self.latest.store(snapshot.clone());
        if rerouted {
            self.routing.send_replace(snapshot);
        }
    }
}

/// Waits for something to be agreed. Cancel safe; never returns where nobody agrees.
async fn next_decree(decrees: &mut Option<watch::Receiver<Option<Decree>>>) -> Decree {
    if let Some(decrees) = decrees {
        while decrees.changed().await.is_ok() {
            if let Some(decree) = decrees.borrow_and_update().clone() {
                return decree;
            }
        }
    }
    std::future::pending().await
}

fn log(change: &Change) {
    if change.is_alarming() {
        tracing::warn!(event = "topology", "{change}");
    } else {
        tracing::info!(event = "topology", "{change}");
    }
}
