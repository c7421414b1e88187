//! The data plane: listener, handshake, client relay, cancel.
//!
//! One task a client owns both its sockets. What a message means is decided in `session`, where it goes in
//! `routing`; here are only sockets, waiting and time.
//!
//! Absent on purpose: who is primary (read from the shared snapshot), and any state of a server's session.

mod acquire;
mod admit;
mod ask;
mod buffer;
mod bulk;
mod catalog;
mod client;
mod clients;
mod count;
mod early;
pub mod exercise;
mod explain;
mod freshness;
pub mod gate;
mod greeting;
mod handshake;
mod listener;
mod logins;
pub mod permission;
mod place;
mod positions;
mod questions;
mod relay;
mod replication;
mod seek;
mod settings;
mod silent;
mod startup;
mod state;
mod station;
pub mod tls;
mod verifiers;

pub use explain::Destination;
pub use listener::{Proxy, StartError, metric_names, worker};
pub use settings::{Listen, Settings};
pub use state::{Shared, Topology, Trouble, Worker};
