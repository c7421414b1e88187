//! Keeps this proxy's permission: asks the store, turns the gate, cuts connections, acknowledges. The decisions are in
//! [`cluster::permission`](crate::cluster::permission).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::gate::Leader;
use super::state::Shared;
use crate::cluster::permission::{Action, Event, Gate, Permission};
use crate::cluster::{Moment, TxnAnswer};
use crate::store::{self, Store, records};
use crate::telemetry::Leadership;
use crate::topology::NodeName;

/// What keeps the permission of one proxy; await [`run`](Self::run) somewhere.
pub struct Keeper {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    permission: Permission,
    events: mpsc::UnboundedSender<Event>,
    incoming: mpsc::UnboundedReceiver<Event>,
    /// When the permission ends, for whoever shows it; 0 without one.
    until: watch::Sender<Moment>,
    leadership: Option<Arc<Leadership>>,
}

/// Tells the keeper to give the permission back, and when that is done.
pub type Goodbye = oneshot::Receiver<oneshot::Sender<()>>;

impl Keeper {
    /// Prepares to keep the permission of the proxy whose clients share `shared`.
    ///
    /// Its gate must be a guarded one, or nothing asks for the permission.
    pub fn new(shared: Arc<Shared>, store: Arc<dyn Store>, permission: Permission) -> Self {
        // Before the first connection is opened: the fence must reach them all.
        shared.registry.make_cuttable();
        let (events, incoming) = mpsc::unbounded_channel();
        let until = watch::Sender::new(Moment(0));
        Keeper { shared, store, permission, events, incoming, until, leadership: None }
    }

    /// Shows the permission in `leadership` from now on.
    pub fn counting(mut self, leadership: Arc<Leadership>) -> Self {
        self.leadership = Some(leadership);
        self
    }

    /// Returns what tells when the permission ends.
    pub fn until(&self) -> watch::Receiver<Moment> {
        self.until.subscribe()
    }

    /// Renews until it is told goodbye and that is in the store. Dropping the future leaves a permission behind that
    /// ends by its own clock.
    pub async fn run(mut self, mut goodbye: Goodbye) {
        let mut bell = self.store.watch("term");
        let mut leaving = None;
        let mut event = Event::Tick;
        loop {
            if self.step(event) {
                if let Some(done) = leaving.take() {
                    let done: oneshot::Sender<()> = done;
                    let _ = done.send(());
                }
                return;
            }
            let wake = self.permission.wake_at();
            event = tokio::select! {
                biased;
                Some(event) = self.incoming.recv() => event,
                () = bell.changed() => Event::Nudged,
                Ok(done) = &mut goodbye, if leaving.is_none() => {
                    leaving = Some(done);
                    Event::Goodbye
                }
                () = sleep_until(wake) => Event::Tick,
            };
        }
    }

    /// Takes one event; true when the proxy has left.
    fn step(&mut self, event: Event) -> bool {
        let actions = self.permission.step(store::moment(), event);
        // The gate first: what is closed below must not be opened anew.
        self.turn();
        let mut left = false;
        for action in actions {
            match action {
                Action::Read { call, selectors } => {
                    let (store, events) = (self.store.clone(), self.events.clone());
                    tokio::spawn(async move {
                        let view = records::read(&*store, &selectors).await;
                        if let Err(error) = &view {
                            tracing::debug!(event = "permission.not_renewed", %error);
                        }
                        let _ = events.send(Event::StoreRead { call, view: view.ok() });
                    });
                }
                Action::Commit { call, txn } => {
                    let (store, events) = (self.store.clone(), self.events.clone());
                    tokio::spawn(async move {
                        let answer: TxnAnswer = records::answer(&records::commit(&*store, &txn).await);
                        let _ = events.send(Event::TxnAnswered { call, answer });
                    });
                }
                Action::Gate(gate) => self.told(&gate),
                Action::CloseServers { closing, node } => {
                    self.close(&node);
                    let _ = self.events.send(Event::ServersClosed { closing });
                }
                Action::Left => left = true,
            }
        }
        left
    }

    fn turn(&self) {
        let snapshot = self.shared.snapshot();
        let leader = match self.permission.gate() {
            Gate::Closed => None,
            Gate::Hold { lead, .. } | Gate::Open(lead) => snapshot.by_name(&lead.leader).map(|view| Leader {
                node: view.node.id,
                lead: lead.clone(),
                system_identifier: snapshot.system_identifier,
            }),
        };
        // A leader that this proxy does not know cannot be reached: as good as none.
        let pass = self.permission.pass().filter(|_| leader.is_some());
        self.shared.gate().turn(pass, leader);
        let until = self.permission.until();
        self.until.send_replace(until.unwrap_or(Moment(0)));
        if let Some(leadership) = &self.leadership {
            leadership.set_permission(until.map(|until| Instant::now() + until.since(store::moment())));
        }
    }

    fn told(&self, gate: &Gate) {
        match gate {
            Gate::Closed => tracing::info!(event = "gate.closed", "statements for the primary are held"),
            Gate::Open(lead) => {
                tracing::info!(event = "gate.open", term = lead.term, leader = %lead.leader, "the primary is open");
            }
            Gate::Hold { lead, hold } => {
                tracing::info!(
                    event = "gate.hold",
                    term = lead.term,
                    "transactions under way end, others wait"
                );
                let (gate, events, hold) = (self.shared.gate().clone(), self.events.clone(), *hold);
                tokio::spawn(async move {
                    gate.emptied().await;
                    let _ = events.send(Event::Drained { hold });
                });
            }
        }
    }

    /// Cuts every connection to the node, and tells those who wait for an answer from there.
    fn close(&self, node: &NodeName) {
        let snapshot = self.shared.snapshot();
        let Some(id) = snapshot.by_name(node).map(|view| view.node.id) else { return };
        self.shared.registry.cut_node(id);
        self.shared.clients.give_up_servers(|at| at == id);
    }
}

async fn sleep_until(wake: Option<Moment>) {
    match wake {
        Some(wake) => {
            let now = store::moment();
            // Never less than a little: a wake that is due is not asked for again and again.
            tokio::time::sleep(wake.since(now).max(Duration::from_millis(1))).await;
        }
        None => std::future::pending().await,
    }
}
