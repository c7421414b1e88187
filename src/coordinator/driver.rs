//! Repeats the probes, feeds the observer, and publishes its snapshots.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::Settings;
use super::connector::Connect;
use super::probe::Probe;
use super::record::{Led, Record, Seen};
use crate::telemetry::Health;
use crate::topology::{Change, Decree, Node, NodeId, Observer, Pace, Report, Snapshot};

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
    /// One a node: wakes its probe.
    wakes: Arc<[Notify]>,
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
            Hint::ConnectFailed(node) => {
                if let Some(wake) = self.wakes.get(usize::from(node.0)) {
                    wake.notify_one();
                }
            }
            // Whoever is primary instead is to be found among the others.
            Hint::NotPrimary(_) => self.wakes.iter().for_each(Notify::notify_one),
        }
    }
}

/// Nobody observes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the nodes are no longer observed")]
pub struct DriverEnded;

/// The work behind a [`Handle`]: await [`run`](Self::run) somewhere.
pub struct Driver {
    settings: Settings,
    nodes: Vec<Arc<Node>>,
    connector: Arc<dyn Connect>,
    observer: Observer,
    latest: Arc<ArcSwap<Snapshot>>,
    routing: watch::Sender<Arc<Snapshot>>,
    wakes: Arc<[Notify]>,
    record: Arc<Record>,
    drains: mpsc::Receiver<Drain>,
    health: Option<Arc<Health>>,
    decrees: Option<watch::Receiver<Option<Decree>>>,
}

/// Prepares to observe `nodes`, which stand at the index of their ids. Nothing happens until the driver runs.
pub fn start(settings: Settings, nodes: Vec<Arc<Node>>, connector: Arc<dyn Connect>) -> (Handle, Driver) {
    let observer = Observer::new(nodes.clone(), settings.thresholds);
    let first = Arc::new(observer.snapshot().clone());
    let latest = Arc::new(ArcSwap::new(first.clone()));
    let (sender, receiver) = watch::channel(first);
    let wakes: Arc<[Notify]> = nodes.iter().map(|_| Notify::new()).collect();
    let record = Arc::new(Record::new(nodes.len()));
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

    /// Probes and publishes for ever. Dropping the future stops everything it started.
    pub async fn run(mut self) {
        let (reports, mut incoming) = mpsc::channel(self.nodes.len().max(1));
        let (pace, paces) = watch::channel(self.observer.pace());
        let mut loops = JoinSet::new();
        for node in &self.nodes {
            let settings = &self.settings;
            let probe = Probe::new(node.clone(), &settings.login, self.connector.clone(), settings.timeout);
            let rhythm = Rhythm {
                calm: settings.interval,
                urgent: settings.urgent_interval,
                pace: paces.clone(),
                wakes: self.wakes.clone(),
                node: node.id,
            };
            loops.spawn(probe_for_ever(probe, rhythm, reports.clone()));
        }
        drop(reports);
        loop {
            let changes = tokio::select! {
                Some(heard) = incoming.recv() => self.hear(heard),
                decree = next_decree(&mut self.decrees) => {
                    let changes = self.observer.hear(decree, Instant::now());
                    self.publish();
                    self.remember(None);
                    // What was agreed is looked at: a new leader is seen to be one, its followers to follow.
                    self.wakes.iter().for_each(Notify::notify_one);
                    changes
                }
                Some(drain) = self.drains.recv() => {
                    let changes = self.observer.set_drained(drain.node, drain.drained, Instant::now());
                    self.publish();
                    self.remember(None);
                    let _ = drain.published.send(());
                    changes
                }
                Some(Err(ended)) = loops.join_next() => panic!("a probe task ended: {ended}"),
                // Without nodes there is nothing to hear, ever.
                else => return,
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
            health.probed(heard.node, &heard.report, took);
        }
        let changes = self.observer.step(heard.node, heard.report, heard.asked_at, heard.at);
        self.publish();
        self.remember(Some((heard.node, heard.at)));
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

/// One report on its way to the observer.
struct Heard {
    node: NodeId,
    report: Report,
    asked_at: Instant,
    at: Instant,
}

/// When to probe one node again.
struct Rhythm {
    calm: Duration,
    urgent: Duration,
    pace: watch::Receiver<Pace>,
    wakes: Arc<[Notify]>,
    node: NodeId,
}

impl Rhythm {
    /// Waits until the next probe is due: the interval of the pace, a hint, or a turn to urgent.
    async fn next(&mut self) {
        // However many hints come, a node is asked at most so often.
        tokio::time::sleep(SHORTEST_PAUSE).await;
        let pace = *self.pace.borrow_and_update();
        let pause = match pace {
            Pace::Calm => self.calm,
            Pace::Urgent => self.urgent,
        };
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_sub(SHORTEST_PAUSE)) => {}
            () = self.wakes[usize::from(self.node.0)].notified() => {}
            Ok(_) = self.pace.wait_for(|now| *now == Pace::Urgent), if pace == Pace::Calm => {}
        }
    }
}

/// Least pause between two probes of one node: far below the time a promotion takes, far above a probe's cost.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

async fn probe_for_ever(mut probe: Probe, mut rhythm: Rhythm, reports: mpsc::Sender<Heard>) {
    loop {
        let asked_at = Instant::now();
        let report = probe.ask().await;
        let heard = Heard { node: rhythm.node, report, asked_at, at: Instant::now() };
        if reports.send(heard).await.is_err() {
            return;
        }
        rhythm.next().await;
    }
}

fn log(change: &Change) {
    if change.is_alarming() {
        tracing::warn!(event = "topology", "{change}");
    } else {
        tracing::info!(event = "topology", "{change}");
    }
}
