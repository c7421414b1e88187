//! What the operator can set about pools, and where each node is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::budget::Caps;
use super::core::Limits;
use super::tls::ServerTls;
use crate::pg::Address;
use crate::topology::{NodeId, NodeName};

/// Sizes and times of every pool. One pool exists for each node, database and user in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Server connections of one pool. 20: enough to keep a few cores of a server busy with short transactions;
    /// raise it when clients wait while the server is idle.
    pub size: usize,
    /// `size` for the pools of single databases, by name.
    pub database_sizes: BTreeMap<String, usize>,
    /// Connections a pool in use keeps even when nobody needs them. 0: nothing is kept for users who left. At most `size`.
    pub min: usize,
    /// Further connections of one pool for when somebody has waited longer than `reserve_after`. 5.
    pub reserve: usize,
    /// How long a client waits before the reserve is opened. 1 s: longer than any healthy queue of short transactions.
    pub reserve_after: Duration,
    /// Most connections to one node for one user, over all databases; 0 (the default) means no such limit.
    pub max_per_user: usize,
    /// Most connections to one node for one database, over all users; 0 (the default) means no such limit.
    pub max_per_database: usize,
    /// Most connections to one node; 0 (the default) means no such limit. Keep it below the server's `max_connections`.
    pub max_per_node: usize,
    /// How long a client may wait for a server before it gets an error. 30 s.
    pub checkout_timeout: Duration,
    /// After how long without use a connection is closed (down to `min`). 10 min.
    pub idle_timeout: Duration,
    /// Age at which a connection is closed when it is not in use; each connection gets up to a tenth less, so that
    /// those opened together do not end together. 1 h: bounds what a long-lived backend's caches can grow to.
    pub max_lifetime: Duration,
    /// Limit for opening a connection: name lookup, TLS and login together. 5 s.
    pub connect_timeout: Duration,
    /// A connection idle for longer is asked whether it still answers before a client gets it. 30 s: firewalls forget
    /// idle connections after minutes.
    pub check_after_idle: Duration,
    /// Parameters sent in the startup packet of every pooled connection, beside user, database and
    /// `application_name = bellwether`. Empty.
    pub startup_parameters: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            size: 20,
            database_sizes: BTreeMap::new(),
            min: 0,
            reserve: 5,
            reserve_after: Duration::from_secs(1),
            max_per_user: 0,
            max_per_database: 0,
            max_per_node: 0,
            checkout_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(5),
            check_after_idle: Duration::from_secs(30),
            startup_parameters: Vec::new(),
        }
    }
}

impl Settings {
    /// Returns the limits of a pool for `database`.
    pub(super) fn limits(&self, database: &str) -> Limits {
        let size = self.database_sizes.get(database).copied().unwrap_or(self.size);
        Limits {
            size: size.max(1),
            min: self.min,
            reserve: self.reserve,
            reserve_after: self.reserve_after,
            checkout_timeout: self.checkout_timeout,
            idle_timeout: self.idle_timeout,
            check_after_idle: self.check_after_idle,
        }
    }

    pub(super) fn caps(&self) -> Caps {
        Caps { per_node: self.max_per_node, per_user: self.max_per_user, per_database: self.max_per_database }
    }
}

/// How to reach one node.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The node.
    pub node: NodeId,
    /// Its name, for errors and logs.
    pub name: NodeName,
    /// Where it listens.
    pub address: Address,
    /// TLS towards it; not used over Unix sockets.
    pub tls: Arc<ServerTls>,
}

impl Endpoint {
    /// Describes a node that is reached without TLS.
    pub fn plain(node: NodeId, name: NodeName, address: Address) -> Self {
        Endpoint { node, name, address, tls: Arc::new(ServerTls::disabled()) }
    }

    /// Tells whether connections opened to `other` are as good as new ones to this. TLS counts as the same only when
    /// it is the same object (certificates that were read again within it end no connection).
    pub(crate) fn is_same_as(&self, other: &Endpoint) -> bool {
        self.address == other.address && Arc::ptr_eq(&self.tls, &other.tls)
    }
}
