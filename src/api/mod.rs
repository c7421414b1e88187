//! The HTTP interface: metrics, health, status.
//!
//! `http` listens and bounds what a request may cost; `answers` is what each path says, as a plain function
//! of the snapshot. Absent on purpose: anything that changes the cluster.

mod answers;
mod http;
#[cfg(test)]
mod tests;

pub use answers::Sources;
pub use http::{BindError, Server, bind};
