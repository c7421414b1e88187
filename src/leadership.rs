//! Builds the leading part from the configuration: the store, the coordinator on it, and the permission of this proxy.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use bellwether::cluster;
use bellwether::cluster::permission::Permission;
use bellwether::config::{Agreement, Config};
use bellwether::coordinator::lead::{self, Lead, Leading, Work};
use bellwether::coordinator::{Connect, Login};
use bellwether::proxy;
use bellwether::proxy::permission::Keeper;
use bellwether::store::etcd::{Etcd, SettingsError};
use bellwether::store::{self, Memory, Store};
use bellwether::telemetry::{Leadership, Mode};

/// What leading is made of, not running yet.
pub struct Prepared {
    /// Access to what is known.
    pub lead: Lead,
    work: Work,
    permission: Permission,
    mode: cluster::Mode,
}

/// Leading, and a permission that is renewed.
pub struct Led {
    lead: Lead,
    work: JoinHandle<()>,
    keeper: JoinHandle<()>,
    goodbye: oneshot::Sender<oneshot::Sender<()>>,
}

/// Prepares to lead, if the configuration says so. etcd need not be up for it.
///
/// # Errors
/// A file for TLS towards etcd is no good.
pub fn prepare(
    config: &Config,
    login: Login,
    connector: Arc<dyn Connect>,
) -> Result<Option<Prepared>, SettingsError> {
    let Some(leading) = &config.leading else { return Ok(None) };
    let settings = cluster::Settings {
        me: leading.name.clone(),
        incarnation: incarnation(),
        may_lead: leading.coordinator,
        mode: leading.mode,
        nodes: leading.members.clone(),
        durability: leading.durability,
        limits: leading.limits.clone(),
        timings: leading.timings.clone(),
        mutated: cluster::Mutated::NONE,
    };
    let permission = Permission::new(
        settings.me.clone(),
        settings.incarnation,
        settings.timings.clone(),
        settings.mutated,
        store::moment(),
    );
    let store: Arc<dyn Store> = match &leading.store {
        Agreement::Etcd(settings) => Arc::new(Etcd::new(settings)?),
        Agreement::Memory { timeout } => Arc::new(Memory::new(*timeout)),
    };
    let (lead, work) = lead::lead(Leading {
        cluster: config.cluster.name.clone(),
        login,
        connector,
        store,
        replication: leading.replication.clone(),
        settings,
    });
    Ok(Some(Prepared { lead, work, permission, mode: leading.mode }))
}

impl Prepared {
    /// Begins to lead, and to keep the permission of the endpoint that `shared` belongs to.
    pub fn begin(self, shared: Arc<proxy::Shared>, counts: Arc<Leadership>) -> Led {
        counts.set_mode(match self.mode {
            cluster::Mode::Automatic => Mode::Automatic,
            cluster::Mode::Manual => Mode::Manual,
        });
        self.work.count(counts.clone());
        let keeper = Keeper::new(shared, self.lead.store(), self.permission).counting(counts);
        let (goodbye, asked) = oneshot::channel();
        Led {
            lead: self.lead,
            work: tokio::spawn(self.work.run()),
            keeper: tokio::spawn(keeper.run(asked)),
            goodbye,
        }
    }
}

impl Led {
    /// Lets another coordinator take over. Clients here may go on.
    pub fn step_down(&self) {
        self.lead.leave();
    }

    /// Gives the permission back, once there are no clients any more, and ends.
    pub async fn leave(self) {
        let (done, told) = oneshot::channel();
        if self.goodbye.send(done).is_ok() {
            // Whoever does not answer is not waited for: the others find out by themselves.
            let _ = timeout(GOODBYE_WITHIN, told).await;
        }
        let _ = timeout(GOODBYE_WITHIN, self.work).await;
        self.keeper.abort();
    }
}

/// How long etcd may take to hear that we leave.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// Another number with each start: the wall clock in microseconds. Two starts of one proxy are further apart.
pub fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
