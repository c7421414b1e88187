//! Asks every node again and again, each in a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Settings;
use super::connector::Connect;
use super::probe::Probe;
use crate::topology::{Node, NodeId, Pace, Report};

/// Wakes the probes, one for each seat. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Wakes(Arc<[Notify]>);

impl Wakes {
    pub(super) fn new(seats: usize) -> Self {
        Wakes((0..seats).map(|_| Notify::new()).collect())
    }

    pub(super) fn one(&self, node: NodeId) {
        if let Some(wake) = self.0.get(usize::from(node.0)) {
            wake.notify_one();
        }
    }

    pub(super) fn all(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }
}

/// The tasks. Dropping it ends them.
pub(super) struct Rounds {
    settings: Settings,
    connector: Arc<dyn Connect>,
    wakes: Wakes,
    paces: watch::Receiver<Pace>,
    reports: mpsc::Sender<Heard>,
    incoming: mpsc::Receiver<Heard>,
    tasks: JoinSet<()>,
    running: BTreeMap<NodeId, (Arc<Node>, AbortHandle)>,
}

/// Reports on their way, at most.
const WAITING: usize = 64;

impl Rounds {
    pub(super) fn new(
        settings: &Settings,
        connector: Arc<dyn Connect>,
        wakes: Wakes,
        paces: watch::Receiver<Pace>,
    ) -> Self {
        let (reports, incoming) = mpsc::channel(WAITING);
        let settings = settings.clone();
        let (tasks, running) = (JoinSet::new(), BTreeMap::new());
        Rounds { settings, connector, wakes, paces, reports, incoming, tasks, running }
    }

    /// Asks these nodes from now on, and no others.
    pub(super) fn attend(&mut self, nodes: &[Arc<Node>]) {
        self.running.retain(|_, (node, task)| {
            let stays = nodes.contains(node);
            if !stays {
                task.abort();
            }
            stays
        });
        for node in nodes {
            if !self.running.contains_key(&node.id) {
                let task = self.tasks.spawn(self.task(node));
                self.running.insert(node.id, (node.clone(), task));
            }
        }
    }

    /// Waits for the next report of a node that is still asked. Cancel safe.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                Some(heard) = self.incoming.recv() => {
                    // What another server said at the same seat is no news of this one.
                    if self.running.get(&heard.node.id).is_some_and(|(node, _)| *node == heard.node) {
                        return heard;
                    }
                }
                Some(Err(ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    assert!(ended.is_cancelled(), "a probe task ended: {ended}");
                }
            }
        }
    }

    fn task(&self, node: &Arc<Node>) -> impl Future<Output = ()> + use<> {
        let settings = &self.settings;
        let probe = Probe::new(node.clone(), &settings.login, self.connector.clone(), settings.timeout);
        let rhythm = Rhythm {
            calm: settings.interval,
            urgent: settings.urgent_interval,
            pace: self.paces.clone(),
            wakes: self.wakes.clone(),
            node: node.clone(),
        };
        probe_for_ever(probe, rhythm, self.reports.clone())
    }
}

/// One report on its way to the observer.
pub(super) struct Heard {
    pub(super) node: Arc<Node>,
    pub(super) report: Report,
    pub(super) asked_at: Instant,
    pub(super) at: Instant,
}

/// When to probe one node again.
struct Rhythm {
    calm: Duration,
    urgent: Duration,
    pace: watch::Receiver<Pace>,
    wakes: Wakes,
    node: Arc<Node>,
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
            () = self.wakes.0[usize::from(self.node.id.0)].notified() => {}
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
        let heard = Heard { node: rhythm.node.clone(), report, asked_at, at: Instant::now() };
        if reports.send(heard).await.is_err() {
            return;
        }
        rhythm.next().await;
    }
}
