//! The one loop around the core: hands it what happens, and has done what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::workers::Workers;
use super::{Reach, count};
use crate::cluster::decide::{Action, Event};
use crate::cluster::{CallId, Key, Kind, Moment, Record, Selector, Txn, Write};
use crate::store::{self, Presence, records};
use crate::topology::NodeName;

/// What decides. [`decide::Coordinator`](crate::cluster::decide) does; tests may have a script instead.
pub(super) trait Machine: Send {
    /// Takes what happened and says what to do.
    fn step(&mut self, now: Moment, event: Event) -> Vec<Action>;

    /// When to tick if nothing else happens first.
    fn wake_at(&self) -> Option<Moment>;
}

/// The loop and what it has under way. Dropping it stops everything.
pub(super) struct Driver<M> {
    machine: M,
    reach: Arc<Reach>,
    workers: BTreeMap<(NodeName, String), Workers>,
    shown: BTreeMap<Key, Presence>,
    events: mpsc::UnboundedSender<Event>,
    incoming: mpsc::UnboundedReceiver<Event>,
    tasks: JoinSet<()>,
    /// Ends of calls to the store, kept apart because they come and go.
    calls: JoinSet<()>,
}

impl<M: Machine> Driver<M> {
    pub(super) fn new(machine: M, reach: Arc<Reach>) -> Self {
        // As long as the core has things under way, each of which is answered once.
        let (events, incoming) = mpsc::unbounded_channel();
        let (workers, shown) = (BTreeMap::new(), BTreeMap::new());
        let (tasks, calls) = (JoinSet::new(), JoinSet::new());
        Driver { machine, reach, workers, shown, events, incoming, tasks, calls }
    }

    /// Runs until the core has said goodbye, which it is asked to once `goodbye` is done. `seen` is shown the core
    /// after each step.
    pub(super) async fn run(mut self, goodbye: impl Future<Output = ()>, mut seen: impl FnMut(&M)) {
        for kind in WATCHED {
            self.tasks.spawn(nudge(self.reach.clone(), kind, self.events.clone()));
        }
        tokio::pin!(goodbye);
        let mut leaving = false;
        let mut event = Event::Tick;
        loop {
            let actions = self.machine.step(store::moment(), event);
            seen(&self.machine);
            for action in actions {
                if action == Action::Left {
                    return;
                }
                self.begin(action);
            }
            while self.calls.try_join_next().is_some() {}
            let pause = self.machine.wake_at().map(|at| at.since(store::moment()));
            event = tokio::select! {
                () = &mut goodbye, if !leaving => {
                    leaving = true;
                    Event::Goodbye
                }
                Some(event) = self.incoming.recv() => event,
                () = sleep(pause.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)) => Event::Tick,
            };
        }
    }

    fn begin(&mut self, action: Action) {
        match action {
            Action::Read { call, selectors } => {
                self.calls.spawn(read(self.reach.clone(), call, selectors, self.events.clone()));
            }
            Action::Commit { call, txn } => {
                self.calls.spawn(commit(self.reach.clone(), call, txn, self.events.clone()));
            }
            Action::Probe { call, node, address, within } => self.workers(node, address).probe(call, within),
            Action::Order(order) => {
                self.workers(order.node.clone(), order.address.clone()).order(order);
            }
            Action::Show(key, record) => self.show(key, &record),
            Action::Say(text) => tracing::info!(event = "leading", "{text}"),
            Action::Left => {}
        }
    }

    /// Returns the workers of a node. One that moved gets new ones; those of its old address do no harm.
    fn workers(&mut self, node: NodeName, address: String) -> &Workers {
        let Driver { workers, reach, events, tasks, .. } = self;
        workers
            .entry((node, address))
            .or_insert_with_key(|(node, address)| Workers::start(node, address, reach, events, tasks))
    }

    fn show(&mut self, key: Key, record: &Record) {
        match self.shown.get(&key) {
            Some(presence) => presence.set(record.encode()),
            None => {
                let lease = self.reach.timings.permission + Duration::from_secs(1);
                let presence = records::present(self.reach.store.as_ref(), &key, record, lease);
                self.shown.insert(key, presence);
            }
        }
    }
}

/// What wakes the core. Signs of life and observations change all the time, and are read in their own time.
const WATCHED: [Kind; 7] =
    [Kind::Term, Kind::Op, Kind::Sync, Kind::Config, Kind::Node, Kind::Request, Kind::Ack];

/// However the core sleeps, it looks again so often: its clock goes on while a machine is suspended, and that of timers
/// does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

async fn nudge(reach: Arc<Reach>, kind: Kind, events: mpsc::UnboundedSender<Event>) {
    let mut watch = reach.store.watch(kind.prefix());
    loop {
        watch.changed().await;
        if events.send(Event::Nudged).is_err() {
            return;
        }
    }
}

async fn read(
    reach: Arc<Reach>,
    call: CallId,
    selectors: Vec<Selector>,
    events: mpsc::UnboundedSender<Event>,
) {
    let asked = Instant::now();
    let result = records::read(reach.store.as_ref(), &selectors).await;
    count::reading(reach.counts(), asked, &result);
    let view = match result {
        Ok(view) => Some(view),
        Err(records::ReadError::Store(failure)) => {
            tracing::debug!("the store was not read: {failure}");
            None
        }
        Err(broken @ records::ReadError::Record { .. }) => {
            tracing::error!(event = "leading", "{broken}");
            None
        }
    };
    let _ = events.send(Event::StoreRead { call, view });
}

async fn commit(reach: Arc<Reach>, call: CallId, mut txn: Txn, events: mpsc::UnboundedSender<Event>) {
    stamp(&mut txn);
    let asked = Instant::now();
    reach.failpoint.step("before", &txn);
    let outcome = records::commit(reach.store.as_ref(), &txn).await;
    reach.failpoint.step("after", &txn);
    count::transaction(reach.counts(), asked, &txn, &outcome);
    let _ = events.send(Event::TxnAnswered { call, answer: records::answer(&outcome) });
}

/// Writes the time into a history record, for people.
fn stamp(txn: &mut Txn) {
    for write in &mut txn.writes {
        if let Write::Put(_, Record::History(history)) = write {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            history.at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        }
    }
}
