//! Cancelling what a server runs, and keeping that server from the next client until the cancel has landed.
//!
//! PostgreSQL answers no CancelRequest; it closes the connection once the signal is sent. Until then the signal may
//! hit whatever the server runs, so a server with a cancel under way is not handed to anyone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::connect;
use super::error::ConnectFailure;
use super::settings::Endpoint;
use super::stream::Stream;
use crate::wire::write;

/// How long a cancel may keep a server from the next client; after that the server is closed.
pub const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// Where and with what the statement of one server connection is cancelled.
#[derive(Clone, Debug)]
pub struct CancelTarget {
    /// The postmaster the server belongs to, as it was when the server was connected.
    pub endpoint: Arc<Endpoint>,
    /// Process id, of BackendKeyData.
    pub pid: i32,
    /// Secret, of the same.
    pub key: Box<[u8]>,
}

/// What a canceller holds of a server: the target and the count of cancels under way.
///
/// Whoever maps a client's key to this handle must make "this client has this server" and [`begin`](Self::begin) one
/// step towards the client's release: look up and begin under the same lock that the client takes to leave the
/// map *before* it calls `release`.
#[derive(Debug)]
pub struct CancelHandle {
    target: CancelTarget,
    in_flight: AtomicUsize,
    landed: Notify,
}

impl CancelHandle {
    /// Makes a handle with no cancel under way.
    pub fn new(target: CancelTarget) -> Self {
        CancelHandle { target, in_flight: AtomicUsize::new(0), landed: Notify::new() }
    }

    /// Counts a cancel as under way until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> CancelGuard {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        CancelGuard { handle: Arc::clone(self) }
    }

    /// Returns where to send the request.
    pub fn target(&self) -> &CancelTarget {
        &self.target
    }

    /// Tells whether a cancel is under way.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) > 0
    }

    /// Waits until no cancel is under way; false when that takes longer than [`CANCEL_LIMIT`].
    pub(super) async fn landed(&self) -> bool {
        let wait = async {
            loop {
                // Registered before looking, so that a cancel that lands in between is not missed.
                let notified = self.landed.notified();
                if !self.is_in_flight() {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(CANCEL_LIMIT, wait).await.is_ok()
    }
}

/// One cancel under way; dropping it says that it has landed, or will never be sent.
#[derive(Debug)]
#[must_use = "the cancel counts as landed when this is dropped"]
pub struct CancelGuard {
    handle: Arc<CancelHandle>,
}

impl CancelGuard {
    /// Sends the CancelRequest and waits until the postmaster has closed the connection, at most [`CANCEL_LIMIT`].
    ///
    /// Dropping the future ends the guard early, and the signal may then hit a later statement: run it in a task of
    /// its own.
    pub async fn send(self) -> Result<(), ConnectFailure> {
        send_cancel(&self.handle.target).await
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if self.handle.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.handle.landed.notify_waiters();
        }
    }
}

/// Opens a connection to the postmaster, sends a CancelRequest and waits for the end of the connection, all within
/// [`CANCEL_LIMIT`]. Without a [`CancelGuard`] this is for connections that no pool owns (replication).
pub async fn send_cancel(target: &CancelTarget) -> Result<(), ConnectFailure> {
    let exchange = async {
        let mut stream = open_any(&target.endpoint).await?;
        let mut request = Vec::new();
        write::cancel_request(&mut request, target.pid, &target.key);
        stream.write_all(&request).await.map_err(connect::unreachable)?;
        stream.flush().await.map_err(connect::unreachable)?;
        let mut scratch = [0u8; 64];
        // A reset instead of an orderly end means the same: the postmaster is done with it.
        while stream.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
        Ok(())
    };
    tokio::time::timeout(CANCEL_LIMIT, exchange).await.unwrap_or(Err(ConnectFailure::Timeout))
}

/// A postmaster takes a CancelRequest with and without TLS, so the first way that opens will do.
async fn open_any(endpoint: &Endpoint) -> Result<Stream, ConnectFailure> {
    let mut result = Err(ConnectFailure::Tls("no way to connect is allowed".into()));
    for attempt in connect::attempts(endpoint) {
        result = connect::open(endpoint, *attempt).await.map(|opened| opened.stream);
        if !matches!(result, Err(ConnectFailure::Tls(_))) {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Address;
    use crate::topology::{NodeId, NodeName};

    fn handle() -> Arc<CancelHandle> {
        let address = Address::Tcp { host: "localhost".into(), port: 1 };
        let endpoint = Arc::new(Endpoint::plain(NodeId(0), NodeName::new("a"), address));
        Arc::new(CancelHandle::new(CancelTarget { endpoint, pid: 1, key: Box::new([0; 4]) }))
    }

    #[tokio::test]
    async fn all_guards_must_be_gone() {
        let handle = handle();
        assert!(handle.landed().await);
        let (first, second) = (handle.begin(), handle.begin());
        let waiting = tokio::spawn({
            let handle = Arc::clone(&handle);
            async move { handle.landed().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && handle.is_in_flight());
        drop(second);
        assert!(waiting.await.expect("no panic"));
    }
}
