//! What the operator can set about the endpoint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::tls::TlsFiles;
use crate::auth::{HostRules, VerifierFile};
use crate::routing::{OwnSetting, Policy, Wishes};
use crate::session::PoolMode;
use crate::sql::Lists;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Everything about the endpoint that is not a pool's or a node's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect.
    pub listen: Vec<Listen>,
    /// Where clients connect that reach standbys only.
    pub listen_read_only: Vec<Listen>,
    /// Most clients at a time, logged in or about to. 10,000.
    pub max_clients: usize,
    /// Most connections that have not logged in yet; with more, the oldest is closed. 1000.
    pub max_logins: usize,
    /// Time a client has to log in (PostgreSQL's `authentication_timeout`). 60 s.
    pub login_timeout: Duration,
    /// How long a statement waits for a server or for a primary before it gets an error. 30 s.
    pub patience: Duration,
    /// How long a statement that needs the primary is held while none may be talked to, on a cluster that Bellwether
    /// leads. 10 s.
    pub hold: Duration,
    /// When servers are given back.
    pub mode: PoolMode,
    /// The same for single databases.
    pub database_modes: BTreeMap<String, PoolMode>,
    /// The same for single users; goes before the database's.
    pub user_modes: BTreeMap<String, PoolMode>,
    /// Whether plain reads go to standbys.
    pub split: bool,
    /// What sessions ask of routing unless they say otherwise.
    pub wishes: Wishes,
    /// How reads are spread over the standbys.
    pub balance: Policy,
    /// What the operator says of single functions and relations.
    pub lists: Lists,
    /// How often the catalogs are checked for changes that did not pass through here. 30 s.
    pub catalog_refresh: Duration,
    /// How many statements may be prepared on one server. 500.
    pub prepared_statements: usize,
    /// Who may connect, and how they prove who they are.
    pub host_rules: HostRules,
    /// Verifiers that go before those of the primary.
    pub verifier_file: VerifierFile,
    /// Asks the primary for a user's verifier: `$1` stands for the user's name; returns name and verifier, or the
    /// verifier alone, or no row.
    pub auth_query: String,
    /// TLS towards clients.
    pub tls: Option<TlsFiles>,
    /// How long clients may finish their transactions at shutdown. 25 s.
    pub drain_timeout: Duration,
}

impl Settings {
    /// Returns the pool mode for a database and user.
    pub fn mode_of(&self, database: &str, user: &str) -> PoolMode {
        let special = self.user_modes.get(user).or_else(|| self.database_modes.get(database));
        special.copied().unwrap_or(self.mode)
    }

    /// Returns the proxy's own settings of a session whose client gave `own` at its start. Values that the settings
    /// cannot have are left out.
    pub fn wishes_of(&self, own: &[(OwnSetting, String)]) -> Wishes {
        let mut wishes = self.wishes;
        for (setting, value) in own {
            let _ = wishes.set(*setting, value);
        }
        wishes
    }
}
