//! Opening connections for a pool: when one is wanted and allowed, and the task that does it and accounts for it
//! however it ends.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::cancel::{CancelHandle, CancelTarget};
use super::checkout::{Inner, Pool};
use super::connect;
use super::connection::{Connected, Server};
use super::core::{Home, Lease};
use super::error::{CheckoutError, ConnectError, ConnectFailure};
use super::registry::Permit;
use crate::session::ServerState;
use crate::wire::startup::ProtocolVersion;

impl Pool {
    /// Opens what is wanted and allowed, at the cost of other pools' idle servers where a shared limit is reached.
    pub(super) fn pump(self: &Arc<Self>) {
        if !self.open_wanted() {
            self.shared.make_room();
        }
    }

    /// Opens what is wanted; false when a shared limit forbids more and the pool waits for room.
    pub(super) fn open_wanted(self: &Arc<Self>) -> bool {
        loop {
            let mut inner = self.lock();
            let now = self.shared.clock();
            let Some(home) = inner.core.wants_connect(now) else {
                self.arm_retry(&mut inner, now);
                drop(inner);
                self.leave_queue();
                return true;
            };
            if !self.open_one(inner, home) {
                return !self.blocked.load(Ordering::Relaxed);
            }
        }
    }

    /// Opens what the pool's minimum asks for.
    pub(super) fn keep_up(self: &Arc<Self>, now: Instant) {
        loop {
            let inner = self.lock();
            if !inner.core.wants_upkeep(now) || !self.open_one(inner, self.shared.janitor_home()) {
                return;
            }
        }
    }

    /// Starts one attempt; false when a shared limit forbids it or there is no runtime to run it.
    fn open_one(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, home: Home) -> bool {
        let Some(runtime) = self.shared.runtime(home) else {
            self.leave_queue();
            return false;
        };
        let Some(permit) = self.shared.permit(self) else {
            self.blocked.store(true, Ordering::Relaxed);
            return false;
        };
        self.blocked.store(false, Ordering::Relaxed);
        let lease = inner.core.begin_connect(home);
        drop(inner);
        runtime.spawn(Opening::new(Arc::clone(self), lease, permit).run());
        true
    }

    fn leave_queue(&self) {
        if self.blocked.swap(false, Ordering::Relaxed) {
            self.shared.withdraw(self.id);
        }
    }

    /// Sees to it that the end of a pause after failures is noticed while somebody waits for it.
    fn arm_retry(self: &Arc<Self>, inner: &mut Inner, now: Instant) {
        let Some(at) = inner.core.retry_at().filter(|at| *at > now) else { return };
        let Some(runtime) = self.shared.runtime(Home::default()) else { return };
        if inner.retry_armed || inner.core.counts().waiting == 0 {
            return;
        }
        inner.retry_armed = true;
        let pool = Arc::clone(self);
        runtime.spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            pool.lock().retry_armed = false;
            pool.pump();
        });
    }

    fn connected(self: &Arc<Self>, server: Box<Server>) {
        let mut inner = self.lock();
        inner.stats.connects += 1;
        inner.last_failure = None;
        let lease = server.lease();
        let put = inner.core.connected(server, lease, self.shared.clock());
        self.settle(put, inner);
        // After a failure one attempt is made at a time; now all that are wanted may be.
        self.pump();
    }

    fn connect_failed(self: &Arc<Self>, error: ConnectError, permit: Option<Permit>) {
        let error = Arc::new(error);
        let mut inner = self.lock();
        inner.stats.connect_failures += 1;
        inner.last_failure = Some(Arc::clone(&error));
        let tickets = inner.core.connect_failed(error.is_permanent(), Instant::now());
        self.fail(tickets, inner, |_| CheckoutError::Connect(Arc::clone(&error)));
        drop(permit);
        self.pump();
    }
}

/// One attempt to connect.
pub(super) struct Opening {
    pool: Arc<Pool>,
    lease: Lease,
    /// Gone once the attempt is accounted for.
    permit: Option<Permit>,
}

impl Opening {
    pub fn new(pool: Arc<Pool>, lease: Lease, permit: Permit) -> Self {
        Opening { pool, lease, permit: Some(permit) }
    }

    /// Opens the connection and gives it, or the failure, to the pool.
    pub async fn run(mut self) {
        let result = self.connect().await;
        let Some(permit) = self.permit.take() else { return };
        match result {
            Ok((stream, state, target)) => {
                let now = Instant::now();
                let lifetime = jittered(self.pool.shared.settings().max_lifetime);
                let lease = self.lease.until(now.checked_add(lifetime));
                let cancel = CancelHandle::new(target);
                let node = self.pool.node();
                let cuttable = match self.pool.shared.cuttable(node, &stream) {
                    Ok(cuttable) => cuttable,
                    Err(error) => {
                        let cause = ConnectFailure::Unreachable(error.to_string());
                        let node = self.pool.shared.node_name(node);
                        return self.pool.connect_failed(ConnectError { node, cause }, Some(permit));
                    }
                };
                let parts = Connected { stream, state, cancel, node, lease, permit, cuttable };
                self.pool.connected(Server::new(parts, now));
            }
            Err(error) => {
                tracing::warn!(
                    node = %error.node, user = %self.pool.identity().user(),
                    database = %self.pool.identity().database(), "cannot connect: {}", error.cause
                );
                self.pool.connect_failed(error, Some(permit));
            }
        }
    }

    async fn connect(&self) -> Result<(super::Stream, ServerState, CancelTarget), ConnectError> {
        let shared = &self.pool.shared;
        let node = self.pool.node();
        let endpoint = shared.endpoint(node).ok_or_else(|| ConnectError {
            node: shared.node_name(node),
            cause: ConnectFailure::NoSuchNode,
        })?;
        let settings = shared.settings();
        // Nothing of our own, not even an application_name: a client that sets none must see none.
        let fixed = settings.startup_parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let parameters: Vec<_> = fixed.collect();
        // 3.0, as libpq asks for by default too: nothing of 3.2 is of use to a pool.
        let version = ProtocolVersion::V3_0;
        let limit = settings.connect_timeout;
        let (stream, greeting) =
            connect::raw_connect(&endpoint, self.pool.identity(), version, &parameters, limit).await?;
        let target = CancelTarget { endpoint, pid: greeting.pid, key: greeting.key };
        Ok((stream, ServerState::new(greeting.parameters), target))
    }
}

impl Drop for Opening {
    /// Accounts for a task that was dropped half-way: its runtime ended, or it panicked.
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let cause = ConnectFailure::Unreachable("connecting was broken off".into());
            let node = self.pool.shared.node_name(self.pool.node());
            self.pool.connect_failed(ConnectError { node, cause }, Some(permit));
        }
    }
}

/// Takes up to a tenth off, so that connections opened together do not end together.
fn jittered(lifetime: Duration) -> Duration {
    lifetime - lifetime.mul_f64(fastrand::f64() * 0.1)
}
