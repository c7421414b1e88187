//! A throw-away cluster of real processes, for the demo and the tests.
//!
//! [`Cluster::start`] makes one primary and its streaming standbys in a temporary directory, on ports nobody
//! else has, as an unprivileged user, and takes everything away when it is dropped or when the process that
//! made it dies. [`Etcd`] does the same for members of etcd. [`ProxyProcess`] puts a `bellwether proxy` in front of it. Everything here blocks: an async
//! caller wraps it in `spawn_blocking` or does not mind.
//!
//! Absent on purpose: any knowledge of how the proxy works. SQL goes through the `psql` binary.

mod binaries;
mod cluster;
pub mod demo;
mod error;
mod etcd;
mod host;
mod node;
mod ports;
mod proxy_process;
mod proxy_view;
mod psql;
mod run_as;
pub mod script;
mod settings;
mod spawner;
mod template;
mod workdir;
pub mod workload;

pub use binaries::Binaries;
pub use cluster::{Cluster, Options, Tls};
pub use error::Error;
pub use etcd::{Etcd, EtcdOptions, EtcdTls};
pub use host::{Host, Network};
pub use node::Shutdown;
pub use proxy_process::{ProxyOptions, ProxyProcess};
pub use workdir::{holds_a_lab, reap_stale};
