//! `bellwether proxy`: starts the shells, obeys signals, ends in order.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use bellwether::api;
use bellwether::config::{self, Config, Loaded};
use bellwether::coordinator::{self, Login};
use bellwether::pool::tls::{ServerTls, files::TlsFileError};
use bellwether::proxy::gate::Gate;
use bellwether::proxy::{self, Proxy, Topology, Trouble};
use bellwether::store::etcd::SettingsError;
use bellwether::telemetry::logging::LevelHandle;
use bellwether::telemetry::{Metrics, Primaries, Sources};
use bellwether::topology::{Node, Thresholds};

use crate::data_plane;
use crate::leadership;
use crate::leading::{Leading, Schedule};
use crate::observing::Observing;
use crate::probe_connector::ProbeConnector;
use crate::service_manager::ServiceManager;
use crate::signals::{Signals, Wish};

/// What a running process knows of its own settings.
pub struct Running {
    /// Where the configuration is read from, again on every reload.
    pub sources: config::Sources,
    /// What was read last.
    pub loaded: Loaded,
    /// Changes the level of the log.
    pub level: LevelHandle,
}

/// Why the proxy could not start.
pub enum ServeError {
    /// Signals cannot be listened for.
    Signals(io::Error),
    /// A certificate or key for TLS is not usable.
    Tls(TlsFileError),
    /// etcd cannot be used with these settings.
    Store(SettingsError),
    /// HTTP cannot be served.
    Http(api::BindError),
    /// The settings of the endpoint do not hold, such as a verifier file that cannot be read.
    Endpoint(String),
    /// Clients cannot be served.
    Proxy(proxy::StartError),
}

impl ServeError {
    /// Whether the configuration is to blame, rather than the machine.
    pub fn is_configuration(&self) -> bool {
        matches!(self, ServeError::Tls(_) | ServeError::Store(_) | ServeError::Endpoint(_))
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Signals(error) => write!(f, "error: cannot listen for signals\ncause: {error}"),
            ServeError::Tls(error) => write!(f, "error: {error}\nhint: look at [tls] and [server_tls]"),
            ServeError::Store(error) => write!(f, "error: {error}\nhint: look at etcd and [store]"),
            ServeError::Endpoint(error) => write!(f, "error: {error}"),
            ServeError::Proxy(error) => write!(
                f,
                "error: {error}\nhint: end whatever listens there, or set listen to another address"
            ),
            ServeError::Http(error) => write!(
                f,
                "error: {error}\nhint: end whatever listens there, or set {} to another place",
                error.key
            ),
        }
    }
}

/// Runs until it is told to stop.
///
/// # Errors
/// Something could not be started; what had been started is gone again.
pub async fn serve(mut running: Running) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let config = Arc::clone(&running.loaded.config);
    // Dropping the set at the end stops everything in it.
    let mut shells = JoinSet::new();
    let server_tls = Arc::new(ServerTls::load(&config.server_tls).map_err(ServeError::Tls)?);
    let connector = Arc::new(ProbeConnector { tls: server_tls.clone() });
    let probing = probing(&config);
    let lead = leadership::prepare(&config, probing.login.clone(), connector.clone());
    let prepared = lead.map_err(ServeError::Store)?;
    let lead = prepared.as_ref().map(|prepared| prepared.lead.clone());
    let (topology, driver) = coordinator::start(probing, config.nodes.clone(), connector);
    let (registry, cluster) = data_plane::registry(&config, &server_tls);
    let driver = match &lead {
        Some(lead) => {
            let (registry, server_tls) = (registry.clone(), server_tls.clone());
            let told =
                move |nodes: &[Arc<Node>]| registry.set_nodes(data_plane::endpoints(nodes, &server_tls));
            driver.following(lead.decrees()).telling(told)
        }
        None => driver,
    };
    let metrics = Arc::new(Metrics::new(&proxy::metric_names(), topology.cell()));
    shells.spawn(driver.counting(metrics.health()).run());
    let settings = data_plane::settings(&config).map_err(ServeError::Endpoint)?;
    let endpoint =
        Proxy::open(settings, registry.clone(), cluster, watched(topology.clone(), lead.is_some()))
            .map_err(ServeError::Proxy)?;
    let shared = endpoint.shared();
    let led = prepared.map(|prepared| prepared.begin(shared.clone(), metrics.leadership()));
    let access = Arc::new(api::Access::default());
    access.set_token(config.http_token.as_ref().map(|token| token.expose()));
    let places = api::Places { address: config.http, socket: config.http_socket.clone() };
    if places != api::Places::default() {
        let asked = shared.clone();
        let observing = Observing { topology: topology.clone(), registry: registry.clone() };
        let operations: Arc<dyn api::Operations> = match (&lead, &config.leading) {
            (Some(lead), Some(settings)) => Arc::new(Leading {
                lead: lead.clone(),
                observing,
                mode: settings.mode,
                store_members: settings.store.members(),
                scheduled: Schedule::default(),
            }),
            _ => Arc::new(observing),
        };
        let sources = api::Sources {
            cluster: config.cluster.name.clone(),
            snapshot: topology.cell(),
            metrics: metrics.clone(),
            pools: data_plane::pool_status(registry.clone()),
            refusing: Box::new(move || asked.is_draining().then(|| "draining".to_owned())),
            operations,
            route: data_plane::route_source(shared.clone()),
        };
        let server = api::bind(&places, sources, access.clone()).await.map_err(ServeError::Http)?;
        if let Some(address) = server.address() {
            info!(%address, "serving HTTP");
        }
        if let Some(path) = &places.socket {
            info!(path = %path.display(), "serving HTTP to the owner of this process");
        }
        shells.spawn(server.run());
    }
    for address in endpoint.addresses() {
        info!(%address, "listening");
    }
    let workers =
        data_plane::start_workers(endpoint, config.workers, &metrics).map_err(ServeError::Signals)?;
    let seen = topology.clone();
    metrics.set_sources(Sources {
        pools: Some(data_plane::pool_states(registry.clone())),
        busy: Some(workers.busy()),
        primaries: Some(Box::new(move || Primaries {
            since: seen.primary_since(),
            changes: seen.primary_changes(),
        })),
    });
    info!(cluster = config.cluster.name, nodes = config.nodes.len(), "started");
    let manager = Arc::new(ServiceManager::from_environment());
    let informed = manager.clone();
    shells.spawn(async move { informed.keep_informed(&topology).await });
    while signals.next().await == Wish::Reload {
        manager.reloading();
        metrics.reloaded(running.reload(&server_tls, &shared, &access));
        manager.reloaded();
    }
    manager.stopping();
    // Another coordinator may take over while clients here end their transactions.
    if let Some(led) = &led {
        led.step_down();
    }
    let limit = running.loaded.config.drain_timeout;
    finish(&shared, &mut signals, limit).await;
    workers.stop();
    if let Some(led) = led {
        led.leave().await;
    }
    info!("stopped");
    Ok(())
}

/// Gives clients time to end their transactions; the rest is cut off. A second wish to stop ends the wait.
async fn finish(shared: &proxy::Shared, signals: &mut Signals, limit: Duration) {
    if shared.client_count() > 0 {
        info!(
            limit_seconds = limit.as_secs(),
            "waiting for transactions to end; the next signal stops at once"
        );
    }
    tokio::select! {
        left = shared.drain() => if left > 0 {
            warn!(clients = left, "the time is up, open transactions are cut off");
        },
        () = signals.stop() => warn!("told twice, open transactions are cut off"),
    }
}

/// What the data plane sees of the coordinator. With an agreement store the primary has a guarded gate.
fn watched(topology: coordinator::Handle, guarded: bool) -> Topology {
    Topology {
        snapshot: topology.cell(),
        changes: topology.watch(),
        gate: if guarded { Gate::guarded() } else { Gate::unguarded() },
        report: Box::new(move |trouble| {
            topology.hint(match trouble {
                Trouble::Unreachable(node) => coordinator::Hint::ConnectFailed(node),
                Trouble::NotPrimary(node) => coordinator::Hint::NotPrimary(node),
            });
        }),
    }
}

impl Running {
    /// Reads the configuration again, and tells whether it was taken. A faulty one changes nothing.
    fn reload(&mut self, server_tls: &ServerTls, shared: &proxy::Shared, access: &api::Access) -> bool {
        let reloaded = match config::reload(&self.sources, &self.loaded) {
            Ok(reloaded) => reloaded,
            Err(problems) => {
                for problem in &problems.0 {
                    error!("reload refused, the old configuration stays: {problem}");
                }
                return false;
            }
        };
        // What can fail comes first. Files are read again even if nothing else changed: certificates get renewed.
        if let Err(refused) = server_tls.reload(&reloaded.loaded.config.server_tls) {
            error!("reload refused, the old configuration stays: {refused}");
            return false;
        }
        if let Err(refused) = self.level.set(&reloaded.loaded.config.log.level) {
            error!("reload refused, the old configuration stays: {refused}");
            return false;
        }
        let config = &reloaded.loaded.config;
        let endpoint = data_plane::settings(config)
            .and_then(|settings| shared.reload(settings).map_err(|error| error.to_string()));
        if let Err(refused) = endpoint {
            error!("reload refused, the old configuration stays: {refused}");
            return false;
        }
        shared.registry().set_settings(config.pool.clone());
        access.set_token(config.http_token.as_ref().map(|token| token.expose()));
        for key in &reloaded.needs_restart {
            warn!(%key, "this key was changed and takes effect when the process starts again");
        }
        let changed: Vec<String> = reloaded.changed.iter().map(ToString::to_string).collect();
        info!(changed = changed.join(", "), "configuration reloaded");
        self.loaded = reloaded.loaded;
        true
    }
}

fn probing(config: &Config) -> coordinator::Settings {
    let cluster = &config.cluster;
    let login = Login {
        user: cluster.user.clone(),
        password: cluster.password.as_ref().map(|secret| secret.expose().to_owned()),
        database: cluster.database.clone(),
    };
    let health = config.health;
    coordinator::Settings {
        interval: health.interval,
        timeout: health.timeout,
        thresholds: Thresholds { fall: health.fall, rise: health.rise, lag: config.lag_limits },
        ..coordinator::Settings::new(login)
    }
}
