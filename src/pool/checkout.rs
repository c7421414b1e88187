//! One pool: clients check servers out and give them back; connections are opened in the background.
//!
//! The accounting is in [`core`](super::core), under a mutex that is never held across an await, a write to a
//! socket or the drop of a server. Lock order: pool, then budget.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::budget::Account;
use super::connection::Server;
use super::core::{Core, Counts, Home, Patience, Put, Taken, Ticket};
use super::desk::Desk;
use super::error::{CheckoutError, ConnectError, ConnectFailure};
use super::identity::Identity;
use super::registry::{Permit, Shared};
use crate::topology::NodeId;

/// What a pool did since it was made, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Servers and waiters now.
    pub counts: Counts,
    /// How long the first in line has waited; zero when nobody waits.
    pub longest_wait: Duration,
    /// Checkouts that had to wait.
    pub waits: u64,
    /// Waits that ended in a timeout.
    pub timeouts: u64,
    /// Connections opened.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
}

/// The server connections to one node, for one database and user.
pub struct Pool {
    pub(super) id: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) account: Account,
    identity: Arc<Identity>,
    inner: Mutex<Inner>,
    /// Whether it stands in the budget's queue.
    pub(super) blocked: AtomicBool,
}

pub(super) struct Inner {
    pub(super) core: Core<Box<Server>>,
    pub(super) desk: Desk<Outcome>,
    pub(super) last_failure: Option<Arc<ConnectError>>,
    pub(super) retry_armed: bool,
    unused_since: Option<Instant>,
    pub(super) stats: PoolStats,
}

type Outcome = Result<Box<Server>, CheckoutError>;

impl Pool {
    pub(super) fn new(id: u64, shared: Arc<Shared>, node: NodeId, identity: Arc<Identity>) -> Arc<Self> {
        let inner = Inner {
            core: Core::new(shared.settings().limits(identity.database())),
            desk: Desk::new(),
            last_failure: None,
            retry_armed: false,
            unused_since: None,
            stats: PoolStats::default(),
        };
        let account = Account { node, user: identity.user().clone(), database: identity.database().clone() };
        Arc::new(Pool {
            id,
            shared,
            account,
            identity,
            inner: Mutex::new(inner),
            blocked: AtomicBool::new(false),
        })
    }

    /// Takes an idle server if that needs no wait and no check: the last one released on worker `home`, else the last
    /// of any. `None` when others wait already. Allocates nothing.
    pub fn try_checkout(self: &Arc<Self>, home: Home) -> Option<Box<Server>> {
        loop {
            let Taken::Fresh(mut server, _) = self.lock().core.take(home, self.shared.now(), true) else {
                return None;
            };
            server.check_out(Arc::clone(self));
            if server.stream.is_quiet() {
                return Some(server);
            }
            // Closed by the server meanwhile; dropping it makes room.
        }
    }

    /// Takes the idle server that `wanted` names, if it is there and needs no check.
    pub fn try_checkout_this(self: &Arc<Self>, wanted: impl Fn(&Server) -> bool) -> Option<Box<Server>> {
        let mut server = self.lock().core.take_this(self.shared.now(), |server| wanted(server))?;
        server.check_out(Arc::clone(self));
        server.stream.is_quiet().then_some(server)
    }

    /// Checks a server out, waiting in line for one up to `checkout_timeout`.
    ///
    /// Cancel-safe: a future dropped before it is ready leaves the line, and a server already handed to it goes to the
    /// next. Timeouts are the janitor's work ([`Registry::run_janitor`](super::Registry::run_janitor)).
    pub async fn checkout(
        self: &Arc<Self>,
        home: Home,
        patience: Patience,
    ) -> Result<Box<Server>, CheckoutError> {
        loop {
            match self.take_or_wait(home, patience) {
                Found::Fresh(server) => return Ok(server),
                Found::Check(mut server) => {
                    if server.check().await {
                        return Ok(server);
                    }
                    drop(server);
                    let stale = self.lock().core.drop_unchecked(self.shared.clock());
                    drop(stale);
                }
                Found::Broken(server) => drop(server),
                Found::Waiting(waiting) => return waiting.await,
                Found::Failed(error) => return Err(error),
            }
        }
    }

    /// Returns the node it connects to.
    pub fn node(&self) -> NodeId {
        self.account.node
    }

    /// Returns as whom it logs in.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Returns what it holds and did.
    pub fn stats(&self) -> PoolStats {
        let inner = self.lock();
        let since = inner.core.waiting_since();
        let longest_wait = since.map(|since| self.shared.clock().saturating_duration_since(since));
        let counts = inner.core.counts();
        PoolStats { counts, longest_wait: longest_wait.unwrap_or_default(), ..inner.stats }
    }

    /// Returns why the last attempt to connect failed, while none has succeeded since.
    pub fn failure(&self) -> Option<Arc<ConnectError>> {
        self.lock().last_failure.clone()
    }

    /// Closes the idle servers now and the others at their release.
    pub fn retire_all(self: &Arc<Self>) {
        let idle = self.lock().core.retire_all();
        drop(idle);
        self.pump();
    }

    /// Takes a server back; called by the server, which no longer refers to this pool.
    pub(super) fn put_back(self: &Arc<Self>, server: Box<Server>) {
        let mut inner = self.lock();
        // Looked at under the lock: a pool that blocks later will find what goes idle here by itself.
        let contended = self.shared.has_blocked_pools();
        if contended && self.shared.must_yield(&self.account) {
            inner.core.closed();
            drop(inner);
            drop(server);
            return self.pump();
        }
        let lease = server.lease();
        let put = inner.core.put(server, lease, self.shared.now());
        self.settle(put, inner);
        if contended {
            self.shared.make_room();
        }
    }

    /// Takes note that a server in use is gone.
    pub(super) fn closed(self: &Arc<Self>, permit: Option<Permit>) {
        self.lock().core.closed();
        // Before our own next attempt: pools that wait for the shared limit come first.
        drop(permit);
        self.pump();
    }

    /// Does what is due by the clock; returns whether the pool has been of no use for longer than `idle_timeout`.
    pub(super) fn tick(self: &Arc<Self>, now: Instant) -> bool {
        let settings = self.shared.settings();
        let mut inner = self.lock();
        inner.core.set_limits(settings.limits(self.identity.database()));
        let broken = inner.core.drop_idle_where(|server| !server.stream.is_quiet());
        let due = inner.core.tick(now);
        inner.stats.timeouts += due.timed_out.len() as u64;
        let counts = inner.core.counts();
        let unused = counts == Counts::default();
        let since = unused.then(|| inner.unused_since.unwrap_or(now));
        inner.unused_since = since;
        self.fail(due.timed_out, inner, |last_failure| CheckoutError::Timeout {
            waited: settings.checkout_timeout,
            last_failure,
        });
        drop((broken, due.close));
        self.pump();
        self.keep_up(now);
        since.is_some_and(|since| now.saturating_duration_since(since) >= settings.idle_timeout)
    }

    /// Tells whether clients wait for long and there is not a single server for them.
    pub(super) fn is_starving(&self, now: Instant, after: Duration) -> bool {
        let inner = self.lock();
        let counts = inner.core.counts();
        counts.in_use + counts.idle + counts.connecting == 0
            && inner.core.waiting_since().is_some_and(|since| now.saturating_duration_since(since) >= after)
    }

    /// Gives up an idle server for the sake of another pool; its drop makes the room.
    pub(super) fn evict(&self) -> Option<Box<Server>> {
        self.lock().core.evict()
    }

    /// Ends all waits and closes what is idle: the node is gone.
    pub(super) fn shut(self: &Arc<Self>, error: ConnectFailure) {
        let error = Arc::new(ConnectError { node: self.shared.node_name(self.node()), cause: error });
        let mut inner = self.lock();
        let idle = inner.core.retire_all();
        let tickets = inner.core.fail_all();
        self.fail(tickets, inner, |_| CheckoutError::Connect(Arc::clone(&error)));
        drop(idle);
    }

    fn take_or_wait(self: &Arc<Self>, home: Home, patience: Patience) -> Found<'_> {
        let now = self.shared.clock();
        let mut inner = self.lock();
        match inner.core.take(home, now, false) {
            Taken::Fresh(mut server, _) => {
                drop(inner);
                server.check_out(Arc::clone(self));
                if server.stream.is_quiet() { Found::Fresh(server) } else { Found::Broken(server) }
            }
            Taken::Check(mut server, _) => {
                drop(inner);
                server.check_out(Arc::clone(self));
                Found::Check(server)
            }
            Taken::Wait => {
                // In the pause after a failure nobody is going to try; whoever can go elsewhere should.
                if patience == Patience::FailFast
                    && inner.core.is_pausing(now)
                    && let Some(failure) = &inner.last_failure
                {
                    return Found::Failed(CheckoutError::Connect(Arc::clone(failure)));
                }
                let ticket = inner.desk.open();
                inner.core.enqueue(ticket, home, patience, now);
                inner.stats.waits += 1;
                // In a full pool, the common case, there is nothing to open.
                let open = inner.core.wants_connect(now).is_some() || inner.core.is_pausing(now);
                drop(inner);
                let waiting = Waiting { pool: self, ticket, picked_up: false };
                if open {
                    self.pump();
                }
                Found::Waiting(waiting)
            }
        }
    }

    /// Does what the accounting said of a server that came back or came new.
    pub(super) fn settle(self: &Arc<Self>, put: Put<Box<Server>>, mut inner: MutexGuard<'_, Inner>) {
        match put {
            Put::Idle => {}
            Put::HandTo(ticket, mut server, _) => {
                server.check_out(Arc::clone(self));
                let waker = inner.desk.deliver(ticket, Ok(server));
                drop(inner);
                wake(waker);
            }
            Put::Close(server) => {
                drop(inner);
                drop(server);
                self.pump();
            }
        }
    }

    pub(super) fn fail(
        &self,
        tickets: Vec<Ticket>,
        mut inner: MutexGuard<'_, Inner>,
        error: impl Fn(Option<Arc<ConnectError>>) -> CheckoutError,
    ) {
        let failure = inner.last_failure.clone();
        let wakers: Vec<_> = tickets
            .into_iter()
            .map(|ticket| inner.desk.deliver(ticket, Err(error(failure.clone()))))
            .collect();
        drop(inner);
        wakers.into_iter().for_each(wake);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic happens under this lock")
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

enum Found<'a> {
    Fresh(Box<Server>),
    Check(Box<Server>),
    /// Closed by the server while it was idle.
    Broken(Box<Server>),
    Waiting(Waiting<'a>),
    Failed(CheckoutError),
}

/// A client's place in the line.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    ticket: Ticket,
    picked_up: bool,
}

impl Future for Waiting<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = self.pool.lock().desk.poll(self.ticket, cx);
        self.picked_up = outcome.is_ready();
        outcome
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.picked_up {
            return;
        }
        let mut inner = self.pool.lock();
        let outcome = inner.desk.close(self.ticket);
        if outcome.is_none() {
            inner.core.forget(self.ticket);
        }
        drop(inner);
        // Handed over and never picked up: nobody has used it, the next one may.
        if let Some(Ok(server)) = outcome {
            server.release();
        }
    }
}
