//! All pools: by node, database and user; what they share; and the janitor that does what is due by the clock.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::budget::{Account, Budget};
use super::checkout::Pool;
use super::connection::Server;
use super::core::Home;
use super::cut::{Cuts, Cuttable};
use super::error::ConnectFailure;
use super::identity::{Identities, Identity};
use super::settings::{Endpoint, Settings};
use super::stream::Stream;
use crate::topology::{NodeId, NodeName};

/// Every pool of the process. Dropping it closes all idle servers.
pub struct Registry {
    shared: Arc<Shared>,
    identities: Mutex<Identities>,
}

type Key = (NodeId, Arc<str>, Arc<str>);
type Nodes = BTreeMap<NodeId, Arc<Endpoint>>;

impl Registry {
    /// Starts without pools. [`run_janitor`](Self::run_janitor) has to run somewhere, or nothing ever times out.
    pub fn new(settings: Settings, nodes: Vec<Endpoint>) -> Arc<Self> {
        let shared = Shared {
            budget: Mutex::new(Budget::new(settings.caps())),
            settings: ArcSwap::from_pointee(settings),
            nodes: ArcSwap::from_pointee(by_id(nodes)),
            workers: ArcSwap::default(),
            pools: Mutex::default(),
            blocked: AtomicUsize::new(0),
            janitor: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            cuts: OnceLock::new(),
            start: Instant::now(),
            elapsed_ms: AtomicU64::new(0),
        };
        Arc::new(Registry { shared: Arc::new(shared), identities: Mutex::default() })
    }

    /// Makes a worker known by its runtime, before it uses any pool. Connections that its clients wait for are opened
    /// on that runtime.
    pub fn add_worker(&self, runtime: Handle) -> Home {
        let mut home = Home::default();
        self.shared.workers.rcu(|workers| {
            home = Home(workers.len());
            workers.iter().cloned().chain([runtime.clone()]).collect::<Vec<_>>()
        });
        home
    }

    /// Returns where the first worker's sockets live, and its runtime; `None` before there is a worker.
    pub fn first_worker(&self) -> Option<(Home, Handle)> {
        self.shared.workers.load().first().map(|runtime| (Home(0), runtime.clone()))
    }

    /// Returns the identity of `user` in `database`: one for each pair, with one cell of credentials for each user.
    ///
    /// To be called once the client has proven to be that user.
    pub fn identity(&self, database: &str, user: &str) -> Arc<Identity> {
        self.identities.lock().expect("no panic happens under this lock").get(database, user)
    }

    /// Returns the pool of a node and identity, made at need. Worth keeping: this takes a lock.
    pub fn pool(&self, node: NodeId, identity: &Arc<Identity>) -> Arc<Pool> {
        let key = (node, identity.database().clone(), identity.user().clone());
        let mut pools = self.shared.pools();
        let make = || {
            let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
            Pool::new(id, Arc::clone(&self.shared), node, Arc::clone(identity))
        };
        Arc::clone(pools.entry(key).or_insert_with(make))
    }

    /// Returns all pools, in order of node, database and user.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.shared.pools().values().cloned().collect()
    }

    /// Returns how to reach `node`; `None` when there is no such node.
    pub fn endpoint(&self, node: NodeId) -> Option<Arc<Endpoint>> {
        self.shared.endpoint(node)
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings()
    }

    /// Replaces the settings. Sizes and times apply from the next tick of the janitor on, the rest to connections
    /// opened from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.shared.budget().set_caps(settings.caps());
        self.shared.settings.store(Arc::new(settings));
        self.shared.poke_blocked();
    }

    /// Replaces the nodes. Connections to nodes that are reached in another way now end at their release; who waits for
    /// a node that is gone hears so.
    pub fn set_nodes(&self, nodes: Vec<Endpoint>) {
        let nodes = Arc::new(by_id(nodes));
        let before = self.shared.nodes.swap(Arc::clone(&nodes));
        for (id, endpoint) in &*before {
            match nodes.get(id) {
                Some(now) if now.is_same_as(endpoint) => {}
                Some(_) => self.retire_node(*id),
                None => self.of_node(*id).iter().for_each(|pool| pool.shut(ConnectFailure::NoSuchNode)),
            }
        }
    }

    /// Closes the connections to `node`, idle ones now and the others at their release: it changed its role or was
    /// restarted, or the operator wishes it.
    pub fn retire_node(&self, node: NodeId) {
        self.of_node(node).iter().for_each(Pool::retire_all);
    }

    /// Keeps a handle of every socket opened from now on, so that [`cut_node`](Self::cut_node) can cut it. Costs a file
    /// descriptor each.
    pub fn make_cuttable(&self) {
        self.shared.cuts.get_or_init(Arc::default);
    }

    /// Ends all connections to `node` at once: sockets in use are shut where they are, idle ones closed, and those still
    /// being opened never come into use. Needs [`make_cuttable`](Self::make_cuttable).
    pub fn cut_node(&self, node: NodeId) {
        self.retire_node(node);
        if let Some(cuts) = self.shared.cuts.get() {
            cuts.cut(node);
        }
    }

    /// Closes the connections of `user`, idle ones now and the others at their release: its credentials changed.
    pub fn retire_user(&self, user: &str) {
        let of_user = |pool: &Arc<Pool>| **pool.identity().user() == *user;
        self.pools().into_iter().filter(of_user).for_each(|pool| pool.retire_all());
    }

    /// Closes the connections to `database`, idle ones now and the others at their release: it is to be dropped.
    pub fn retire_database(&self, database: &str) {
        let of_database = |pool: &Arc<Pool>| **pool.identity().database() == *database;
        self.pools().into_iter().filter(of_database).for_each(|pool| pool.retire_all());
    }

    /// Does what is due by the clock in every pool, for ever; to be run as one task, on worker `home`.
    ///
    /// Waits, idleness, lifetimes and minimum sizes are looked at a few times within the shortest of the waiting
    /// times, at least once a second, so they are exact to that.
    pub async fn run_janitor(self: Arc<Self>, home: Home) {
        self.shared.janitor.store(home.0, Ordering::Relaxed);
        loop {
            let settings = self.settings();
            let shortest = settings.checkout_timeout.min(settings.reserve_after);
            let pause = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
            tokio::time::sleep(pause).await;
            self.tick();
        }
    }

    /// Does once what is due by the clock.
    pub fn tick(&self) {
        let now = self.shared.clock();
        let pools = self.pools();
        let unused: Vec<u64> = pools.iter().filter(|pool| pool.tick(now)).map(|pool| pool.id).collect();
        if self.shared.has_blocked_pools() {
            let after = self.shared.settings().reserve_after;
            for pool in pools.iter().filter(|pool| pool.is_starving(now, after)) {
                self.shared.budget().mark_urgent(pool.id);
            }
            self.shared.make_room();
            self.shared.poke_blocked();
        }
        drop(pools);
        if !unused.is_empty() {
            // Nobody but the map knows such a pool, and only the map could make it known.
            let in_use = |pool: &Arc<Pool>| Arc::strong_count(pool) > 1 || !unused.contains(&pool.id);
            self.shared.pools().retain(|_, pool| in_use(pool));
        }
    }

    fn of_node(&self, node: NodeId) -> Vec<Arc<Pool>> {
        self.pools().into_iter().filter(|pool| pool.node() == node).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let pools = std::mem::take(&mut *self.shared.pools());
        pools.into_values().for_each(|pool| pool.retire_all());
    }
}

fn by_id(nodes: Vec<Endpoint>) -> Nodes {
    nodes.into_iter().map(|endpoint| (endpoint.node, Arc::new(endpoint))).collect()
}

/// What all pools share.
pub(super) struct Shared {
    settings: ArcSwap<Settings>,
    nodes: ArcSwap<Nodes>,
    /// The workers' runtimes, at the index of their [`Home`].
    workers: ArcSwap<Vec<Handle>>,
    pools: Mutex<BTreeMap<Key, Arc<Pool>>>,
    budget: Mutex<Budget<Weak<Pool>>>,
    /// Length of the budget's queue, to be looked at without its lock.
    blocked: AtomicUsize,
    janitor: AtomicUsize,
    next_id: AtomicU64,
    /// Sockets that can be cut, if any must be.
    cuts: OnceLock<Arc<Cuts>>,
    start: Instant,
    elapsed_ms: AtomicU64,
}

/// The right to one connection under the shared limits; ends when dropped, which no pool's lock may be held across.
pub(super) struct Permit {
    shared: Arc<Shared>,
    account: Account,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.budget().give_back(&self.account);
        if self.shared.has_blocked_pools() {
            self.shared.poke_blocked();
        }
    }
}

impl Shared {
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub fn endpoint(&self, node: NodeId) -> Option<Arc<Endpoint>> {
        self.nodes.load().get(&node).cloned()
    }

    /// Makes the socket one that can be cut, where there is need for that.
    pub fn cuttable(&self, node: NodeId, stream: &Stream) -> io::Result<Option<Cuttable>> {
        self.cuts.get().map(|cuts| cuts.add(node, stream)).transpose()
    }

    pub fn node_name(&self, node: NodeId) -> NodeName {
        let known = self.endpoint(node).map(|endpoint| endpoint.name.clone());
        known.unwrap_or_else(|| NodeName::new(&format!("#{}", node.0)))
    }

    /// Returns the time as of the last look at the clock by anyone waiting or by the janitor: exact to its pause.
    pub fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.elapsed_ms.load(Ordering::Relaxed))
    }

    /// Looks at the clock.
    pub fn clock(&self) -> Instant {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.start).as_millis() as u64;
        self.elapsed_ms.fetch_max(elapsed, Ordering::Relaxed);
        now
    }

    /// Returns the runtime of worker `home`; in a process without workers (a test), the caller's own.
    pub fn runtime(&self, home: Home) -> Option<Handle> {
        self.workers.load().get(home.0).cloned().or_else(|| Handle::try_current().ok())
    }

    pub fn janitor_home(&self) -> Home {
        Home(self.janitor.load(Ordering::Relaxed))
    }

    /// Counts one more connection, or puts the pool in the queue.
    pub fn permit(self: &Arc<Self>, pool: &Arc<Pool>) -> Option<Permit> {
        let mut budget = self.budget();
        let granted = budget.take(pool.id, &pool.account, &Arc::downgrade(pool));
        self.blocked.store(budget.queue_length(), Ordering::SeqCst);
        granted.then(|| Permit { shared: Arc::clone(self), account: pool.account.clone() })
    }

    pub fn withdraw(&self, id: u64) {
        let mut budget = self.budget();
        budget.withdraw(id);
        self.blocked.store(budget.queue_length(), Ordering::SeqCst);
    }

    pub fn has_blocked_pools(&self) -> bool {
        self.blocked.load(Ordering::SeqCst) > 0
    }

    /// Tells whether a server of this account must be closed for a pool that has none at all.
    pub fn must_yield(&self, account: &Account) -> bool {
        self.budget().must_yield(account)
    }

    /// Calls the pools in the queue that there is room for. Each call takes a pool out, or uses room up.
    pub fn poke_blocked(&self) {
        loop {
            let next = self.budget().next();
            let Some((id, pool)) = next else { return };
            match pool.upgrade() {
                Some(pool) => {
                    pool.open_wanted();
                }
                None => self.withdraw(id),
            }
        }
    }

    /// Closes idle servers of other pools until no blocked pool would be helped by it.
    pub fn make_room(&self) {
        while self.has_blocked_pools()
            && let Some(server) = self.evict_one()
        {
            // Its permit ends here, and the first pool in the queue uses the room.
            drop(server);
        }
    }

    fn evict_one(&self) -> Option<Box<Server>> {
        let blocked: Vec<Account> = self.budget().blocked().cloned().collect();
        let pools: Vec<Arc<Pool>> = self.pools().values().cloned().collect();
        let helpful = |pool: &&Arc<Pool>| {
            let budget = self.budget();
            blocked.iter().any(|account| budget.would_help(account, &pool.account))
        };
        pools.iter().filter(helpful).find_map(|pool| pool.evict())
    }

    fn budget(&self) -> MutexGuard<'_, Budget<Weak<Pool>>> {
        self.budget.lock().expect("no panic happens under this lock")
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Pool>>> {
        self.pools.lock().expect("no panic happens under this lock")
    }
}
