//! One server connection that is checked out: its stream, its session's state, and the way back to its pool.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cancel::CancelHandle;
use super::checkout::Pool;
use super::core::{Home, Lease};
use super::cut::Cuttable;
use super::registry::Permit;
use super::stream::Stream;
use crate::session::ServerState;
use crate::topology::NodeId;
use crate::wire::backend::{self, tag};
use crate::wire::frame::{HEAD, Head};
use crate::wire::write;

/// How long an idle server may take to answer before a client gets it.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// A server connection in use. [`release`](Self::release) gives it back; dropping it closes it and makes room.
pub struct Server {
    /// The bytes to and from it.
    pub stream: Stream,
    /// What its session has taken on; not looked at here.
    pub state: ServerState,
    /// The node it is on.
    pub node: NodeId,
    /// How to cancel what it runs.
    pub cancel: Arc<CancelHandle>,
    /// When it was connected.
    pub created_at: Instant,
    /// The term under which it was found to be the primary's; 0 for none.
    pub verified: u64,
    /// Its place among those that can be cut, in a process that may have to. Ends before the socket does.
    _cuttable: Option<Cuttable>,
    lease: Lease,
    /// Counts towards limits shared between pools for as long as the connection lives.
    permit: Option<Permit>,
    /// The pool that counts it as in use; `None` while it is not counted so.
    pool: Option<Arc<Pool>>,
    /// Whether the server expects a message to begin: then it can be told goodbye.
    between_messages: bool,
}

/// The parts of a new connection.
pub(super) struct Connected {
    pub stream: Stream,
    pub state: ServerState,
    pub cancel: CancelHandle,
    pub node: NodeId,
    pub lease: Lease,
    pub permit: Permit,
    pub cuttable: Option<Cuttable>,
}

impl Server {
    pub(super) fn new(parts: Connected, now: Instant) -> Box<Self> {
        let Connected { stream, state, cancel, node, lease, permit, cuttable } = parts;
        Box::new(Server {
            stream,
            state,
            node,
            cancel: Arc::new(cancel),
            created_at: now,
            verified: 0,
            _cuttable: cuttable,
            lease,
            permit: Some(permit),
            pool: None,
            between_messages: true,
        })
    }

    /// Gives the server back for the next client.
    ///
    /// The caller vouches that its transaction status is idle, no answer is outstanding, nothing is left to read
    /// and `state` says all that the next client must know. While a cancel aimed at it is under way it is kept
    /// apart, and closed if that lasts longer than [`CANCEL_LIMIT`](super::CANCEL_LIMIT).
    pub fn release(mut self: Box<Self>) {
        if self.cancel.is_in_flight() {
            return self.release_after_cancel();
        }
        self.between_messages = true;
        if let Some(pool) = self.pool.take() {
            pool.put_back(self);
        }
    }

    /// Closes the connection with a Terminate message, which may be sent only where a message may begin: not
    /// after a part of one. Dropping the server leaves the message out.
    pub fn close(mut self: Box<Self>) {
        self.between_messages = true;
    }

    /// Returns the pool it belongs to.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.pool.as_ref()
    }

    /// Returns the worker whose runtime its socket is registered with.
    pub fn home(&self) -> Home {
        self.lease.home
    }

    /// Returns whether the server said it is a standby (`in_hot_standby`, PostgreSQL 14 and later); `None` when it
    /// never said.
    pub fn in_hot_standby(&self) -> Option<bool> {
        self.state.reported("in_hot_standby").map(|value| value == "on")
    }

    pub(super) fn lease(&self) -> Lease {
        self.lease
    }

    pub(super) fn check_out(&mut self, pool: Arc<Pool>) {
        self.pool = Some(pool);
        self.between_messages = false;
    }

    /// Asks the server for an answer to an empty query; false when it does not give it soon.
    pub(super) async fn check(&mut self) -> bool {
        self.stream.is_quiet()
            && matches!(tokio::time::timeout(CHECK_LIMIT, self.empty_query()).await, Ok(Ok(true)))
    }

    async fn empty_query(&mut self) -> io::Result<bool> {
        let mut out = Vec::new();
        write::query(&mut out, b"");
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        // EmptyQueryResponse and ReadyForQuery, eleven bytes, and what the server says unasked: a notice, or a
        // parameter that a reload of its configuration changed.
        let mut buffer = Vec::with_capacity(512);
        let mut answered = false;
        loop {
            while let Ok(Some(head)) = Head::read(&buffer)
                && buffer.len() >= head.total
            {
                let body = buffer.get(HEAD..head.total).unwrap_or_default();
                match (head.tag, body) {
                    (tag::NOTICE_RESPONSE, _) => {}
                    (tag::PARAMETER_STATUS, _) if self.note_parameter(body) => {}
                    (tag::EMPTY_QUERY_RESPONSE, _) => answered = true,
                    (tag::READY_FOR_QUERY, b"I") => return Ok(answered && buffer.len() == head.total),
                    _ => return Ok(false),
                }
                buffer.drain(..head.total);
            }
            if buffer.len() > 4096 || self.stream.read_buf(&mut buffer).await? == 0 {
                return Ok(false);
            }
        }
    }

    fn note_parameter(&mut self, body: &[u8]) -> bool {
        let Ok((name, value)) = backend::parameter_status(body) else { return false };
        self.state.note_reported(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
        true
    }

    fn release_after_cancel(self: Box<Self>) {
        // Without a runtime nobody could wait: the server is closed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if self.cancel.landed().await {
                    self.release();
                }
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.between_messages {
            let mut farewell = Vec::with_capacity(HEAD);
            write::terminate(&mut farewell);
            self.stream.write_best_effort(&farewell);
        }
        let permit = self.permit.take();
        match self.pool.take() {
            Some(pool) => pool.closed(permit),
            None => drop(permit),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.cancel.target().pid;
        f.debug_struct("Server").field("node", &self.node).field("pid", &pid).finish_non_exhaustive()
    }
}
