//! What can be typed: arguments, and the verbs of an operator, which are thin clients of the proxy's API.
//!
//! `args` reads the line, `remote` finds the proxy, `client` speaks HTTP with it. A verb (one file each) asks and
//! shows the answer by `render`; one that changes something goes through `confirm` and `wish`. Absent on purpose:
//! deciding anything about the cluster, and building the proxy or the demo, which `main` does.

mod adopt;
pub mod args;
mod client;
pub mod config;
mod confirm;
mod context;
mod events;
pub mod exit;
mod explain;
mod failover;
pub mod failure;
mod health;
mod history;
pub mod local;
mod node;
mod operate;
mod remote;
mod render;
mod setup_role;
mod status;
mod switchover;
mod topology;
mod wish;

pub use operate::operate;
