//! Where the proxy's HTTP interface is, for programs that talk to it: three keys out of a configuration.

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
}

/// Reads the keys of `[http]` alone. Values of other keys may be wrong, or secrets that only the proxy gets to see.
///
/// # Errors
/// The file cannot be read as a whole, or one of these keys is wrong.
pub fn interface(sources: &Sources) -> Result<Interface, Problems> {
    let (written, problems) = gather(sources)?;
    let is_ours = |problem: &Problem| problem.key.is_none_or(|key| key.starts_with("http."));
    let ours: Vec<Problem> = problems.into_iter().filter(is_ours).collect();
    match ours.is_empty() {
        true => check_interface(&written).map_err(Problems),
        false => Err(Problems(ours)),
    }
}
