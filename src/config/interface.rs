//! Where the proxy's HTTP interface is, and as whom it asks the servers: what an operator needs of a configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::check::check_interface;
use super::load::{Sources, gather};
use super::problem::{Problem, Problems};
use super::value::Secret;

/// Where a proxy with this configuration is asked, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `http.listen`.
    pub address: Option<SocketAddr>,
    /// `http.socket`.
    pub socket: Option<PathBuf>,
    /// `http.token`.
    pub token: Option<Secret>,
    /// `cluster.user`.
    pub user: String,
    /// `cluster.password`, where it can be had here.
    pub password: Option<Secret>,
}

/// Reads these keys alone. Values of other keys may be wrong, or secrets that only the proxy gets to see.
///
/// # Errors
/// The file cannot be read as a whole, or a key of `[http]` is wrong.
pub fn interface(sources: &Sources) -> Result<Interface, Problems> {
    let (written, problems) = gather(sources)?;
    let is_ours = |problem: &Problem| problem.key.is_none_or(|key| key.starts_with("http."));
    let ours: Vec<Problem> = problems.into_iter().filter(is_ours).collect();
    match ours.is_empty() {
        true => check_interface(&written).map_err(Problems),
        false => Err(Problems(ours)),
    }
}
