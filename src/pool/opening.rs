//! The task that opens one connection for a pool, and accounts for it however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::{CancelHandle, CancelTarget};
use super::checkout::Pool;
use super::connect;
use super::connection::{Connected, Server};
use super::core::Lease;
use super::error::{ConnectError, ConnectFailure};
use super::registry::Permit;
use crate::session::ServerState;
use crate::wire::startup::ProtocolVersion;

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
                let parts = Connected { stream, state, cancel, node, lease, permit };
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
        let fixed = settings.startup_parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let parameters: Vec<_> = std::iter::once(("application_name", "bellwether")).chain(fixed).collect();
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
