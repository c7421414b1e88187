//! The HTTP interface: metrics, health, status, and wishes of operators.
//!
//! `http` listens and bounds what a request may cost, `exchange` takes one request to its response, `routes` is
//! the table of paths. What tells is a plain function of the snapshot and of [`Operations`]; what changes is a
//! [`Wish`] handed to it, by whom `access` lets, and answered by lines of JSON while it happens. Absent on
//! purpose: carrying a wish out, which is for whoever `main` wires in.

mod access;
mod answers;
mod body;
mod checks;
mod exchange;
mod http;
mod operations;
mod patroni;
mod route;
mod routes;
mod socket;
mod status;
#[cfg(test)]
mod tests;
mod wishes;

pub use access::Access;
pub use answers::{PoolStatus, Sources};
pub use http::{BindError, Places, Server, bind};
pub use operations::*;
pub use route::{RouteAnswer, RouteQuestion, RouteSource, RouteStatement};
