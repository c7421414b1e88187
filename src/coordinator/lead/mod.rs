//! Leads a cluster over SQL: asks the nodes what leadership must know, and carries out what the core decides.
//!
//! The decisions are those of [`cluster::decide`](crate::cluster::decide). Here is the one loop around it (`driver`),
//! who asks (`prober`, `question`) and who commands (`hand`, `commands`), one of each a node.
//!
//! What it knows is published as [`State`], and as the [`Decree`](crate::topology::Decree) that routing follows.
//!
//! Absent on purpose: any opinion on what should happen.

mod agreed;
mod aside;
mod commands;
mod count;
mod driver;
mod failpoint;
mod hand;
mod preflight;
mod prober;
mod question;
mod roll;
mod slot;
mod target;
#[cfg(test)]
mod tests;
mod upstream;
mod workers;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use agreed::{Lead, State, Work, lead};
pub use preflight::Check;

use self::failpoint::Failpoint;
use super::connector::Connect;
use super::session::{Login, Session, Trouble};
use crate::cluster::{Settings, Timings};
use crate::pg::ConnInfo;
use crate::store::Store;
use crate::telemetry::Leadership;
use crate::topology::Node;

/// What leading takes.
pub struct Leading {
    /// The cluster's name.
    pub cluster: String,
    /// Who asks and commands the nodes, and over what.
    pub login: Login,
    /// Opens the streams.
    pub connector: Arc<dyn Connect>,
    /// Where the proxies agree.
    pub store: Arc<dyn Store>,
    /// What a standby's `primary_conninfo` needs to log in, where the standby does not say it itself.
    pub replication: ConnInfo,
    /// What the core is told.
    pub settings: Settings,
}

/// How the nodes and the store are reached.
pub(super) struct Reach {
    login: Login,
    connector: Arc<dyn Connect>,
    store: Arc<dyn Store>,
    /// What a standby's `primary_conninfo` needs to log in, where the standby does not say it itself.
    replication: ConnInfo,
    /// The advisory lock by which a coordinator owns a node.
    lock: (i32, i32),
    timings: Timings,
    /// Where leading is counted; empty where it is not.
    counts: OnceLock<Arc<Leadership>>,
    /// Where a test wants this process to die.
    failpoint: Failpoint,
}

impl Reach {
    fn counts(&self) -> Option<&Leadership> {
        self.counts.get().map(Arc::as_ref)
    }

    async fn session(&self, node: &Node, name: &str) -> Result<Session, Trouble> {
        Session::open(node, &self.login, self.connector.as_ref(), name).await
    }
}

/// The advisory lock's first number, the same for every cluster: "BELL".
const LOCK_CLASS: i32 = 0x4245_4C4C;

/// The second number: one a cluster, so that two clusters on one server do not end each other's sessions.
fn lock_key(cluster: &str) -> i32 {
    // FNV-1a, 32 bits. It must be the same in every release.
    let hash = cluster
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.cast_signed()
}

/// Pause between two tries of something that should be there in a moment.
const STEP: Duration = Duration::from_millis(10);

/// Writing out a large cache takes its time, and nothing waits for it.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(120);
