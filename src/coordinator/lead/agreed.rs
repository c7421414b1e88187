//! What the proxies have agreed on, as this one last heard: published for routing, for operators, and for the log.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use super::driver::{Driver, Machine};
use super::failpoint::Failpoint;
use super::preflight::{self, Check};
use super::{LOCK_CLASS, Leading, Reach, lock_key};
use super::{roll, target};
use crate::cluster::decide::{Action, Coordinator, Event};
use crate::cluster::{Explanation, Key, Kind, Moment, Phase, Record, Selector, Status, View};
use crate::store::{self, Attendance, Store, records};
use crate::telemetry::Leadership;
use crate::topology::{Decree, NodeName};

/// What is known of the leadership at one moment.
#[derive(Clone, Debug)]
pub struct State {
    /// The store as it was last read; `None` before the first time.
    pub view: Option<Arc<View>>,
    /// When that was.
    pub read_at: Option<Instant>,
    /// What goes on, and what is waited for.
    pub explanation: Explanation,
    /// What the active coordinator makes of the nodes.
    pub statuses: BTreeMap<NodeName, Status>,
    /// The members of the store; empty before they were first asked.
    pub members: Vec<Attendance>,
}

/// Access to what is known, and a way to leave. Cheap to clone.
#[derive(Clone)]
pub struct Lead {
    reach: Arc<Reach>,
    store: Arc<dyn Store>,
    /// The servers that the configuration names.
    configured: Arc<Vec<(NodeName, String)>>,
    state: watch::Receiver<State>,
    decree: watch::Receiver<Option<Decree>>,
    leaving: Arc<watch::Sender<bool>>,
}

impl Lead {
    /// Returns what is known now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns a receiver that changes whenever something else is known.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Returns a receiver of who leads; `None` before that is known.
    pub fn decrees(&self) -> watch::Receiver<Option<Decree>> {
        self.decree.clone()
    }

    /// Looks at what leading takes: on the members, or on the servers of the configuration while there are none.
    pub async fn preflight(&self) -> Vec<Check> {
        let view = self.state().view;
        let members = view.iter().flat_map(|view| view.members());
        let mut nodes: Vec<_> =
            members.map(|(name, member)| (name.clone(), member.address.clone())).collect();
        if nodes.is_empty() {
            nodes.clone_from(&self.configured);
        }
        preflight::check(&self.reach, nodes).await
    }

    /// Returns the store.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Has the work say goodbye, so that another coordinator takes over at once; it ends when that is done.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }
}

/// The work behind a [`Lead`]: await [`run`](Self::run) somewhere.
pub struct Work {
    driver: Driver<Coordinator>,
    reach: Arc<Reach>,
    state: watch::Sender<State>,
    decree: watch::Sender<Option<Decree>>,
    leaving: watch::Receiver<bool>,
}

/// Prepares to lead. Nothing happens until the work runs.
pub fn lead(leading: Leading) -> (Lead, Work) {
    let Leading { cluster, login, connector, store, replication, settings } = leading;
    let timings = settings.timings.clone();
    let configured = settings.nodes.iter().map(|(name, member)| (name.clone(), member.address.clone()));
    let configured = Arc::new(configured.collect());
    let machine = Coordinator::new(settings, store::moment());
    let first = State {
        view: None,
        read_at: None,
        explanation: machine.explain(),
        statuses: BTreeMap::new(),
        members: Vec::new(),
    };
    let lock = (LOCK_CLASS, lock_key(&cluster));
    let reach = Arc::new(Reach {
        login,
        connector,
        store: store.clone(),
        replication,
        lock,
        timings,
        counts: OnceLock::new(),
        failpoint: Failpoint::from_environment(),
    });
    let (state, states) = watch::channel(first);
    let (decree, decrees) = watch::channel(None);
    let (leave, leaving) = watch::channel(false);
    let lead = Lead {
        reach: reach.clone(),
        store,
        configured,
        state: states,
        decree: decrees,
        leaving: Arc::new(leave),
    };
    (lead, Work { driver: Driver::new(machine, reach.clone()), reach, state, decree, leaving })
}

impl Work {
    /// Counts in `leadership` from now on.
    pub fn count(&self, leadership: Arc<Leadership>) {
        // A second one changes nothing.
        let _ = self.reach.counts.set(leadership);
    }

    /// Leads, or observes while another one leads, until [`Lead::leave`] is called and the goodbye is done. Dropping
    /// the future stops everything at once; the other coordinators then wait until this one's silence is long enough.
    pub async fn run(self) {
        let Work { driver, reach, state, decree, mut leaving } = self;
        let goodbye = async move {
            // Without anybody who could ask, nobody does.
            if leaving.wait_for(|asked| *asked).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = driver.run(goodbye, |machine| {
                if publish(machine, &state, &decree) {
                    tell(reach.counts(), &state.borrow());
                }
            }) => {}
            () = follow_statuses(&reach, &state, &decree) => {}
            () = roll::call(&reach, &state) => {}
        }
    }
}

impl Machine for Coordinator {
    fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        Coordinator::step(self, now, event)
    }

    fn wake_at(&self) -> Option<Moment> {
        Coordinator::wake_at(self)
    }
}

/// Shows what is known as metrics.
fn tell(counts: Option<&Leadership>, state: &State) {
    let Some(counts) = counts else { return };
    counts.set_coordinator(state.explanation.active);
    let view = state.view.as_deref();
    counts.set_paused(view.and_then(View::config).is_some_and(|config| config.paused));
    let candidates = state.explanation.nodes.values().filter(|status| status.role == "follower");
    counts.set_candidates(candidates.count());
}

/// Tells what the core knows now, if it is something else than before; whether it was.
fn publish(
    machine: &Coordinator,
    state: &watch::Sender<State>,
    decree: &watch::Sender<Option<Decree>>,
) -> bool {
    let explanation = machine.explain();
    let revision = |view: Option<&View>| view.map(|view| view.revision);
    let changed = state.send_if_modified(|known| {
        let read = revision(machine.view()) != revision(known.view.as_deref());
        if read {
            known.view = machine.view().cloned().map(Arc::new);
            known.read_at = Some(Instant::now());
        }
        let told = known.explanation != explanation;
        if told {
            known.explanation = explanation;
        }
        read || told
    });
    if changed {
        decide(state, decree);
    }
    changed
}

fn decide(state: &watch::Sender<State>, decree: &watch::Sender<Option<Decree>>) {
    let known = decree_of(&state.borrow());
    decree.send_if_modified(|old| {
        let differs = *old != known;
        *old = known;
        differs
    });
}

/// Reads what the active coordinator shows of the nodes, for as long as it is shown.
async fn follow_statuses(
    reach: &Reach,
    state: &watch::Sender<State>,
    decree: &watch::Sender<Option<Decree>>,
) {
    let mut watch = reach.store.watch(Kind::Status.prefix());
    loop {
        if let Ok(view) = records::read(reach.store.as_ref(), &[Selector::Every(Kind::Status)]).await {
            let read: BTreeMap<NodeName, Status> = view.entries.iter().filter_map(status).collect();
            let changed = state.send_if_modified(|known| {
                let differs = known.statuses != read;
                known.statuses = read;
                differs
            });
            if changed {
                decide(state, decree);
            }
        }
        let _ = tokio::time::timeout(reach.timings.observe, watch.changed()).await;
    }
}

fn status((key, entry): (&Key, &crate::cluster::Entry)) -> Option<(NodeName, Status)> {
    match (key, entry.record.as_ref()) {
        (Key::Status(node), Record::Status(status)) => Some((node.clone(), status.clone())),
        _ => None,
    }
}

fn decree_of(state: &State) -> Option<Decree> {
    let view = state.view.as_deref()?;
    let term = view.term()?;
    let barred =
        state.statuses.iter().filter_map(|(node, status)| Some((node.clone(), barred(&status.role)?)));
    Some(Decree {
        term: term.number,
        open: term.phase != Phase::Frozen,
        leader: term.leader.clone(),
        timeline: term.lineage.last().timeline,
        system_identifier: view.identity().map(|identity| identity.system_identifier),
        members: view
            .members()
            .map(|(name, member)| (name.clone(), target::place(&member.address)))
            .collect(),
        barred: barred.collect(),
    })
}

/// Returns why a node of this role takes no reads, if what can be seen of it does not say so already.
fn barred(role: &str) -> Option<&'static str> {
    match role {
        "diverged" => Some("it has WAL that the leader does not have"),
        "suspect" => Some("its data may be of another history, it needs a new copy"),
        "stranger" => Some("it belongs to another cluster"),
        "stray" => Some("it takes writes and does not lead"),
        _ => None,
    }
}
