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
use super::tls::{Attempt, Secured, TlsError};
use crate::auth::{EndPointHash, NONCE_BYTES, ServerLogin, ServerLoginFacts};
use crate::pg::{Address, SqlState};
use crate::wire::startup::ProtocolVersion;

/// An open stream to a node, before any login.
pub(super) struct Opened {
    pub stream: Stream,
    end_point: Option<EndPointHash>,
}

/// Returns the ways to try to open a connection, each on a new socket.
pub(super) fn attempts(endpoint: &Endpoint) -> &'static [Attempt] {
    match &endpoint.address {
        Address::Unix { .. } => &[Attempt::Plain],
        Address::Tcp { .. } => endpoint.tls.attempts(),
    }
}

/// Opens the socket, and TLS as the attempt says. Unbounded in time.
pub(super) async fn open(endpoint: &Endpoint, attempt: Attempt) -> Result<Opened, ConnectFailure> {
    match &endpoint.address {
        Address::Unix { directory, port } => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let unix = UnixStream::connect(path).await.map_err(unreachable)?;
            Ok(Opened { stream: unix.into(), end_point: None })
        }
        Address::Tcp { host, port } => {
            let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
            stream::prepare_tcp(&tcp).map_err(unreachable)?;
            match endpoint.tls.secure(tcp, host, attempt).await {
                Ok(Secured::Plain(tcp)) => Ok(Opened { stream: tcp.into(), end_point: None }),
                Ok(Secured::Tls { stream, end_point }) => {
                    Ok(Opened { stream: Stream::TlsClient(stream), end_point })
                }
                Err(TlsError::Io(error)) => Err(unreachable(error)),
                Err(error) => Err(ConnectFailure::Tls(error.to_string())),
            }
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
    let mut all = vec![("user", &**identity.user()), ("database", &**identity.database())];
    all.extend_from_slice(parameters);
    let mut last = ConnectFailure::Tls("no way to connect is allowed".into());
    for attempt in attempts(endpoint) {
        let (failure, secured) = match open(endpoint, *attempt).await {
            Err(failure) => (failure, false),
            Ok(mut opened) => match log_in(endpoint, identity, &mut opened, version, &all).await {
                Ok(greeting) => return Ok((opened.stream, greeting)),
                Err(failure) => (failure, opened.stream.is_tls()),
            },
        };
        if !may_depend_on_tls(&failure) {
            return Err(failure);
        }
        // What was said over TLS is worth more: without it, that may be just that TLS is wanted.
        if secured || !matches!(last, ConnectFailure::Server(_)) {
            last = failure;
        }
    }
    Err(last)
}

async fn log_in(
    endpoint: &Endpoint,
    identity: &Identity,
    opened: &mut Opened,
    version: ProtocolVersion,
    parameters: &[(&str, &str)],
) -> Result<Greeting, ConnectFailure> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| ConnectFailure::Unreachable(format!("no random numbers: {error}")))?;
    let mut login = ServerLogin::new(ServerLoginFacts {
        user: identity.user().as_ref().into(),
        credentials: identity.credentials().load(),
        channel_binding: endpoint.tls.channel_binding(),
        tls: opened.stream.is_tls(),
        end_point: opened.end_point.clone(),
        nonce,
    });
    login::log_in(&mut opened.stream, version, parameters, &mut login).await
}

/// Tells whether another attempt, with TLS in place of without or the reverse, may fare better: the handshake failed, or no
/// line of pg_hba.conf lets us in (28000). A wrong password stays wrong.
fn may_depend_on_tls(failure: &ConnectFailure) -> bool {
    match failure {
        ConnectFailure::Tls(_) => true,
        ConnectFailure::Server(error) => error.code == SqlState::INVALID_AUTHORIZATION,
        _ => false,
    }
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
