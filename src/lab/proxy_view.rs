//! Asks the proxy over HTTP whether it sees the cluster as it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::Cluster;

/// Whether the proxy knows every running server in its present role, with all standbys streaming, and no
/// stopped one as either; if not, says which it does not. A proxy without HTTP is taken at its word.
pub(super) fn agrees(cluster: &Cluster, http_port: u16) -> Result<(), String> {
    let Some(status) = status(http_port) else { return Ok(()) };
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for name in cluster.names() {
        let wanted = match (cluster.is_running(name), cluster.is_standby(name)) {
            (false, _) => (None, None),
            (true, Ok(true)) => (Some("standby"), Some("streaming")),
            (true, _) => (Some("primary"), Some("running")),
        };
        let node = nodes.iter().find(|node| node["name"] == name.as_str());
        let seen = node.map(|node| (node["role"].as_str(), node["state"].as_str()));
        if seen != Some(wanted) {
            return Err(format!("the proxy sees node {name} as {seen:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

/// Returns the name of the primary as the proxy sees it; `None` when there is none or the proxy does not answer.
pub(super) fn primary(http_port: u16) -> Option<String> {
    status(http_port)?["primary"].as_str().map(str::to_owned)
}

/// One request in the oldest form, where the end of the answer is the end of the connection.
fn status(http_port: u16) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", http_port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /api/v1/status HTTP/1.0\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}
