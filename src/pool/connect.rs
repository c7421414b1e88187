//! Opening a connection to a node: socket, TLS, login.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::error::{ConnectError, ConnectFailure};
use super::identity::Identity;
use super::login::{self, Greeting};
use super::settings::Endpoint;
use super::stream::{self, Stream};
use crate::auth::{ChannelBinding, EndPointHash, NONCE_BYTES, ServerLogin, ServerLoginFacts};
use crate::pg::Address;
use crate::wire::startup::ProtocolVersion;

/// An open stream to a node, before any login.
pub(super) struct Opened {
    pub stream: Stream,
    pub channel_binding: ChannelBinding,
    pub end_point: Option<EndPointHash>,
}

/// Opens the socket, and TLS where the node's settings ask for it. Unbounded in time.
pub(super) async fn open(endpoint: &Endpoint) -> Result<Opened, ConnectFailure> {
    let plain = |stream| Opened { stream, channel_binding: ChannelBinding::default(), end_point: None };
    match &endpoint.address {
        Address::Unix { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            Ok(plain(UnixStream::connect(path).await.map_err(unreachable)?.into()))
        }
        Address::Tcp { host, port } => {
            let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            stream::prepare_tcp(&tcp).map_err(unreachable)?;
            Ok(plain(tcp.into()))
        }
    }
}

/// Opens a connection to `endpoint` and logs in as `identity`, with the startup parameters given beside `user` and
/// `database`; all of it within `limit`.
///
/// This is what pools use, and what a replication connection is passed through with (its own `replication` parameter
/// and protocol version). Nothing is left to read on the stream.
pub async fn raw_connect(
    endpoint: &Arc<Endpoint>,
    identity: &Identity,
    version: ProtocolVersion,
    parameters: &[(&str, &str)],
    limit: Duration,
) -> Result<(Stream, Greeting), ConnectError> {
    let login = open_and_log_in(endpoint, identity, version, parameters);
    let result = tokio::time::timeout(limit, login).await.unwrap_or(Err(ConnectFailure::Timeout));
    result.map_err(|cause| ConnectError { node: endpoint.name.clone(), cause })
}

async fn open_and_log_in(
    endpoint: &Endpoint,
    identity: &Identity,
    version: ProtocolVersion,
    parameters: &[(&str, &str)],
) -> Result<(Stream, Greeting), ConnectFailure> {
    let Opened { mut stream, channel_binding, end_point } = open(endpoint).await?;
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| ConnectFailure::Unreachable(format!("no random numbers: {error}")))?;
    let mut login = ServerLogin::new(ServerLoginFacts {
        user: identity.user().as_ref().into(),
        credentials: identity.credentials().load(),
        channel_binding,
        tls: stream.is_tls(),
        end_point,
        nonce,
    });
    let mut all = vec![("user", &**identity.user()), ("database", &**identity.database())];
    all.extend_from_slice(parameters);
    let greeting = login::log_in(&mut stream, version, &all, &mut login).await?;
    Ok((stream, greeting))
}

/// Takes the operating system's word for what went wrong, without numbers and addresses.
pub(super) fn unreachable(error: io::Error) -> ConnectFailure {
    ConnectFailure::Unreachable(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        io::ErrorKind::NotFound => "no socket of that name".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "host is unreachable".into(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "server closed the connection unexpectedly".into()
        }
        _ => error.to_string().to_lowercase(),
    })
}

#[cfg(test)]
mod tests;
