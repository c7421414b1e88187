//! Connection strings: the URI form and the keyword/value form of libpq.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a PostgreSQL server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// Name or address, without brackets for IPv6.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix-domain socket, `DIR/.s.PGSQL.PORT`.
    Unix {
        /// Directory of the socket file.
        directory: PathBuf,
        /// Port in the socket's file name.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { directory, port } => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// A connection string, taken apart. Hosts stand in the order written; every other setting is in `settings`
/// under libpq's keyword (`user`, `password`, `dbname`, `sslmode`, ...), and unknown ones are kept for the
/// caller to judge.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnInfo {
    /// The hosts to try, in order.
    pub hosts: Vec<Address>,
    /// Every keyword but `host`, `hostaddr` and `port`.
    pub settings: BTreeMap<String, String>,
}

/// What is wrong with a connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid connection string: {0}")]
pub struct ConnInfoError(pub String);
