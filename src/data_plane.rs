//! Builds the data plane from the configuration: pools, endpoint settings, worker threads.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use bellwether::api::{End, Outcome, PoolStatus, RouteAnswer, RouteQuestion, RouteSource, RouteStatement};
use bellwether::auth::{Credentials, VerifierFile};
use bellwether::config::{Config, Listen};
use bellwether::pool::tls::ServerTls;
use bellwether::pool::{Endpoint, Identity, Pool, Registry};
use bellwether::proxy::tls::TlsFiles;
use bellwether::proxy::{self, Proxy};
use bellwether::sql::Lists;
use bellwether::telemetry::{Metrics, PoolState};
use bellwether::topology::Node;

/// Builds the settings of the endpoint. The error is for people: it names the file or address that does not hold.
pub fn settings(config: &Config) -> Result<proxy::Settings, String> {
    let mut listen = Vec::new();
    let mut listen_read_only = Vec::new();
    for (places, to) in [(&config.listen, &mut listen), (&config.listen_read_only, &mut listen_read_only)] {
        for place in places {
            to.extend(resolve(place)?);
        }
    }
    let modes = |of: &std::collections::BTreeMap<String, bellwether::config::Override>| {
        of.iter().filter_map(|(name, own)| Some((name.clone(), own.pool_mode?))).collect()
    };
    Ok(proxy::Settings {
        listen,
        listen_read_only,
        max_clients: config.max_clients,
        max_logins: config.auth.max_logins,
        login_timeout: config.auth.login_timeout,
        patience: config.pool.checkout_timeout,
        hold: config.leading.as_ref().map_or(config.pool.checkout_timeout, |leading| leading.timings.hold),
        mode: config.pool_mode,
        database_modes: modes(&config.databases),
        user_modes: modes(&config.users),
        split: config.split,
        balance: config.balance.clone(),
        lists: lists(config)?,
        wishes: config.wishes,
        catalog_refresh: config.catalog_refresh,
        prepared_statements: config.prepared,
        host_rules: config.auth.rules.clone(),
        verifier_file: verifier_file(config)?,
        auth_query: config.auth.auth_query.clone(),
        tls: config.tls.as_ref().map(|tls| TlsFiles {
            certificate: tls.cert.clone(),
            key: tls.key.clone(),
            client_ca: tls.client_ca.clone(),
        }),
        drain_timeout: config.drain_timeout,
    })
}

fn resolve(address: &Listen) -> Result<Vec<proxy::Listen>, String> {
    match address {
        Listen::Unix(path) => Ok(vec![proxy::Listen::Unix(path.clone())]),
        Listen::Tcp { host, port } => {
            let found = (host.as_str(), *port).to_socket_addrs();
            let found = found.map_err(|error| format!("cannot listen on {host}:{port}: {error}"))?;
            Ok(found.map(proxy::Listen::Tcp).collect())
        }
    }
}

fn lists(config: &Config) -> Result<Lists, String> {
    let lists = &config.lists;
    let (functions, relations) = (
        (&lists.primary_functions, &lists.standby_functions),
        (&lists.primary_relations, &lists.standby_relations),
    );
    Lists::parse(functions.0, functions.1, relations.0, relations.1)
        .map_err(|error| format!("[routing]: {error}"))
}

fn verifier_file(config: &Config) -> Result<VerifierFile, String> {
    let Some(path) = &config.auth.verifier_file else { return Ok(VerifierFile::default()) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    VerifierFile::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns how the nodes are reached.
pub fn endpoints(nodes: &[Arc<Node>], server_tls: &Arc<ServerTls>) -> Vec<Endpoint> {
    let endpoint = |node: &Arc<Node>| Endpoint {
        node: node.id,
        name: node.name.clone(),
        address: node.address.clone(),
        tls: server_tls.clone(),
    };
    nodes.iter().map(endpoint).collect()
}

/// Makes the pools: empty, for the configured nodes. Returns them with the cluster's own login.
pub fn registry(config: &Config, server_tls: &Arc<ServerTls>) -> (Arc<Registry>, Arc<Identity>) {
    let registry = Registry::new(config.pool.clone(), endpoints(&config.nodes, server_tls));
    let cluster = registry.identity(&config.cluster.database, &config.cluster.user);
    if let Some(password) = &config.cluster.password {
        cluster.credentials().learn(&Credentials::from_password(password.expose()));
    }
    (registry, cluster)
}

/// Returns the pools, for the metrics.
pub fn pool_states(registry: Arc<Registry>) -> Box<dyn Fn() -> Vec<PoolState> + Send> {
    Box::new(move || {
        let settings = registry.settings();
        let state = |pool: Arc<Pool>| {
            let (stats, database) = (pool.stats(), pool.identity().database().to_string());
            let size = settings.database_sizes.get(&database).copied().unwrap_or(settings.size);
            Some(PoolState {
                node: pool.node(),
                name: registry.endpoint(pool.node())?.name.clone(),
                database,
                user: pool.identity().user().to_string(),
                idle: stats.counts.idle,
                active: stats.counts.in_use,
                connecting: stats.counts.connecting,
                waiting: stats.counts.waiting,
                longest_wait: stats.longest_wait,
                limit: size + settings.reserve,
            })
        };
        registry.pools().into_iter().filter_map(state).collect()
    })
}

/// Returns the pools, for `/api/v1/status`.
pub fn pool_status(registry: Arc<Registry>) -> Box<dyn Fn() -> Vec<PoolStatus> + Send + Sync> {
    Box::new(move || {
        let pools = registry.pools();
        let each = pools.iter().map(|pool| {
            let stats = pool.stats();
            PoolStatus {
                node: registry
                    .endpoint(pool.node())
                    .map(|endpoint| endpoint.name.to_string())
                    .unwrap_or_default(),
                database: pool.identity().database().to_string(),
                user: pool.identity().user().to_string(),
                idle: stats.counts.idle,
                active: stats.counts.in_use,
                connecting: stats.counts.connecting,
                waiting: stats.counts.waiting,
                timeouts: stats.timeouts,
            }
        });
        each.collect()
    })
}

/// Returns who tells where statements go, for `/api/v1/route`.
pub fn route_source(shared: Arc<proxy::Shared>) -> RouteSource {
    Box::new(move |question| {
        let shared = shared.clone();
        Box::pin(async move {
            let RouteQuestion { sql, database, user } = question;
            let found = shared.destination(sql, database, user).await;
            found
                .map(told)
                .ok_or_else(|| End::new(Outcome::Unreachable, "this proxy is starting or stopping"))
        })
    })
}

fn told(found: proxy::Destination) -> RouteAnswer {
    let explanation = &found.explanation;
    let statements = explanation.rules().map(|(sql, reason, finding)| RouteStatement {
        sql: sql.to_owned(),
        rule: reason.name(),
        because: reason.sentence(),
        names: finding.culprits.iter().map(ToString::to_string).collect(),
    });
    RouteAnswer {
        target: explanation.need.target.name(),
        node: found.node.map(|node| node.to_string()),
        rule: explanation.need.reason.name(),
        because: explanation.need.reason.sentence(),
        statements: statements.collect(),
        catalog_loaded: explanation.catalog_loaded,
        database: found.database,
        user: found.user,
    }
}

/// The worker threads.
pub struct Workers {
    stop: watch::Sender<bool>,
    runtimes: Vec<tokio::runtime::Handle>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Workers {
    /// Returns who tells how long each thread has been busy.
    pub fn busy(&self) -> Box<dyn Fn() -> Vec<Duration> + Send> {
        let runtimes = self.runtimes.clone();
        Box::new(move || {
            runtimes.iter().map(|runtime| runtime.metrics().worker_total_busy_duration(0)).collect()
        })
    }

    /// Ends the threads, and with them whatever client is left.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Starts `count` threads, each with a runtime of its own, that accept and serve clients.
pub fn start_workers(endpoint: Proxy, count: usize, metrics: &Metrics) -> io::Result<Workers> {
    let endpoint = Arc::new(endpoint);
    let stop = watch::Sender::new(false);
    let (mut runtimes, mut threads) = (Vec::new(), Vec::new());
    for number in 0..count.max(1) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtimes.push(runtime.handle().clone());
        let worker = proxy::worker(endpoint.shared(), runtime.handle().clone(), metrics);
        // Subscribed here: the thread may begin only after it was told to stop.
        let (endpoint, mut stop) = (endpoint.clone(), stop.subscribe());
        let thread = std::thread::Builder::new().name(format!("worker {number}")).spawn(move || {
            runtime.block_on(async {
                if number == 0 {
                    let registry = endpoint.shared().registry().clone();
                    tokio::spawn(registry.run_janitor(worker.home()));
                    tokio::spawn(endpoint.shared().run_stations());
                }
                if let Err(error) = endpoint.serve(worker).await {
                    tracing::error!(%error, "this worker cannot accept clients");
                }
                let _ = stop.wait_for(|stop| *stop).await;
            });
        })?;
        threads.push(thread);
    }
    Ok(Workers { stop, runtimes, threads })
}
