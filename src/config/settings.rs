//! What the program runs with, once everything is checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::value::Secret;
use crate::auth::HostRules;
use crate::cluster::{Durability, Limits, Member, Mode, ProxyName, Timings};
use crate::pg::ConnInfo;
use crate::pool;
use crate::pool::tls::TlsSettings;
use crate::routing;
use crate::session::PoolMode;
use crate::store::etcd;
use crate::topology::{LagLimits, Node, NodeName};

/// A whole configuration, checked. `main` hands its parts to the groups that need them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect; never empty.
    pub listen: Vec<Listen>,
    /// Where clients connect that reach standbys only.
    pub listen_read_only: Vec<Listen>,
    /// Threads of the runtime, at least 1.
    pub workers: usize,
    /// Who we are and as whom we ask the servers.
    pub cluster: Cluster,
    /// The servers, in order of their names; ids count from 0.
    pub nodes: Vec<Arc<Node>>,
    /// How the cluster is led; `None` when somebody else does it.
    pub leading: Option<Leading>,
    /// How nodes are probed.
    pub health: Health,
    /// Whether plain reads go to standbys.
    pub split: bool,
    /// How far standbys may lag and take reads.
    pub lag_limits: LagLimits,
    /// How reads are spread over the standbys.
    pub balance: routing::Policy,
    /// How fresh reads are, unless the session says otherwise.
    pub wishes: routing::Wishes,
    /// How often catalogs are checked.
    pub catalog_refresh: Duration,
    /// What is read where, whatever the catalog says.
    pub lists: RoutingLists,
    /// Server connections.
    pub pool: pool::Settings,
    /// How long a client keeps a server, unless its database or user says otherwise.
    pub pool_mode: PoolMode,
    /// Client connections at a time.
    pub max_clients: usize,
    /// Prepared statements kept on each server connection.
    pub prepared: usize,
    /// What differs for single databases.
    pub databases: BTreeMap<String, Override>,
    /// What differs for single users.
    pub users: BTreeMap<String, Override>,
    /// How clients log in.
    pub auth: Auth,
    /// TLS towards clients; `None` without a certificate.
    pub tls: Option<ClientTls>,
    /// TLS towards servers.
    pub server_tls: TlsSettings,
    /// Where HTTP is served; `None` for nowhere.
    pub http: Option<SocketAddr>,
    /// The socket file where HTTP is served as well; `None` for none.
    pub http_socket: Option<PathBuf>,
    /// What must be shown to change something over the network; `None` when nothing can be changed there.
    pub http_token: Option<Secret>,
    /// The log.
    pub log: Log,
    /// How long transactions may go on after SIGTERM.
    pub drain_timeout: Duration,
}

impl Config {
    /// Returns how long clients of `user` in `database` keep a server. The user's own setting comes first.
    pub fn pool_mode(&self, database: &str, user: &str) -> PoolMode {
        let own = |of: &BTreeMap<String, Override>, name| of.get(name).and_then(|found| found.pool_mode);
        own(&self.users, user).or_else(|| own(&self.databases, database)).unwrap_or(self.pool_mode)
    }
}

/// Names of functions and relations (`name` or `schema.name`) that are not judged by the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingLists {
    /// Functions that need the primary.
    pub primary_functions: Vec<String>,
    /// Functions that may run on a standby.
    pub standby_functions: Vec<String>,
    /// Relations that need the primary.
    pub primary_relations: Vec<String>,
    /// Relations that may be read on a standby.
    pub standby_relations: Vec<String>,
}

/// A place clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Host name or IP address, and port; port 0 takes any free one.
    Tcp {
        /// Without brackets for IPv6.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Path of a socket file. Clients expect it to be called `.s.PGSQL.PORT`.
    Unix(PathBuf),
}

/// Name of the cluster, and the login of probes and `auth_query`.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name in logs and metrics.
    pub name: String,
    /// Role.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<Secret>,
    /// Database to connect to.
    pub database: String,
}

/// Where what the proxies agree on stands.
#[derive(Clone, Debug)]
pub enum Agreement {
    /// In etcd.
    Etcd(etcd::Settings),
    /// In the memory of the one proxy there is, and lost with it: for trying things out.
    Memory {
        /// How long a call may take.
        timeout: std::time::Duration,
    },
}

impl Agreement {
    /// Returns how many members it has; `None` for one in memory.
    pub fn members(&self) -> Option<usize> {
        match self {
            Agreement::Etcd(settings) => Some(settings.endpoints.len()),
            Agreement::Memory { .. } => None,
        }
    }
}

/// How the cluster is led.
#[derive(Clone, Debug)]
pub struct Leading {
    /// Where the proxies agree.
    pub store: Agreement,
    /// Name of this proxy among the others.
    pub name: ProxyName,
    /// Whether it may be the coordinator.
    pub coordinator: bool,
    /// Whether anything is decided without an operator.
    pub mode: Mode,
    /// What a standby's `primary_conninfo` needs to log in, where it does not say so itself.
    pub replication: ConnInfo,
    /// The servers as a new cluster has them.
    pub members: BTreeMap<NodeName, Member>,
    /// What a commit is worth in a new cluster.
    pub durability: Durability,
    /// What may be lost.
    pub limits: Limits,
    /// Durations.
    pub timings: Timings,
}

/// How nodes are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Pause between two probes of a node.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Failures in a row until a node is down.
    pub fall: u32,
    /// Answers in a row until it is up again.
    pub rise: u32,
}

/// What differs for one database or user; `None` where nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// How long a client keeps a server.
    pub pool_mode: Option<PoolMode>,
    /// Connections for each node and user; only for databases.
    pub pool_size: Option<usize>,
}

/// How clients log in.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Who may log in, and how.
    pub rules: HostRules,
    /// File of users and verifiers that is asked first.
    pub verifier_file: Option<PathBuf>,
    /// Query for the verifier of user `$1`.
    pub auth_query: String,
    /// How long a login may take.
    pub login_timeout: Duration,
    /// Logins in progress at a time.
    pub max_logins: usize,
}

/// Files for TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities for client certificates, PEM.
    pub client_ca: Option<PathBuf>,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of the lines.
    pub format: LogFormat,
    /// A level, or a filter by module.
    pub level: String,
}

/// Form of the log's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
