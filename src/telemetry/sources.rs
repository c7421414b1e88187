//! What is not counted as it happens, but asked for each time someone looks.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::topology::{NodeId, NodeName};

/// Who answers. Each is called on the thread of whoever looks, and must not block for long.
#[derive(Default)]
pub struct Sources {
    /// The pools.
    pub pools: Option<Box<dyn Fn() -> Vec<PoolState> + Send>>,
    /// How long each worker thread has been busy since it started.
    pub busy: Option<Box<dyn Fn() -> Vec<Duration> + Send>>,
    /// Who has seen primaries come and go.
    pub primaries: Option<Box<dyn Fn() -> Primaries + Send>>,
}

/// What was seen of primaries since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Primaries {
    /// Since when the present one has been seen to lead in its term; `None` before the first.
    pub since: Option<SystemTime>,
    /// How often it changed, or its timeline did.
    pub changes: u64,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// One pool of server connections at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Which node.
    pub node: NodeId,
    /// The node's name.
    pub name: NodeName,
    /// Which database.
    pub database: String,
    /// Who is logged in.
    pub user: String,
    /// Connections that wait for use.
    pub idle: usize,
    /// Connections in use.
    pub active: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Clients that wait for one.
    pub waiting: usize,
    /// How long the first of them has waited.
    pub longest_wait: Duration,
    /// Connections it may hold, the reserve included.
    pub limit: usize,
}
