//! Listens for HTTP and bounds what one request may cost.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::access::{Access, Door};
use super::answers::Sources;
use super::exchange::respond;
use super::socket::{self, Socket};

/// Connections served at once. Scrapers and probes are few; more than this is a mistake or an attack.
const MOST_CONNECTIONS: usize = 64;
/// Bytes a request's head may have. Far above what scrapers send.
const MOST_HEAD_BYTES: usize = 16 * 1024;
/// Time for a request's head to come in; also how long an idle connection is kept.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Time one connection may last in all, so that readers that do not read give their place back.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(600);
/// Pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A place could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for HTTP on {place}: {source}")]
pub struct BindError {
    /// The address or path asked for.
    pub place: String,
    /// The key of the configuration that names it.
    pub key: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Where HTTP is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// On the network, where changes need the token; port 0 takes a free one.
    pub address: Option<SocketAddr>,
    /// At a socket file that only the owner of the process can open, where they do not.
    pub socket: Option<PathBuf>,
}

/// A bound listener; await [`run`](Self::run) to serve.
pub struct Server {
    listener: Option<TcpListener>,
    address: Option<SocketAddr>,
    socket: Option<Socket>,
    shared: Arc<Shared>,
}

/// What all connections have in common.
pub(super) struct Shared {
    pub(super) sources: Sources,
    pub(super) access: Arc<Access>,
}

/// Listens at `places`.
pub async fn bind(places: &Places, sources: Sources, access: Arc<Access>) -> Result<Server, BindError> {
    let mut server =
        Server { listener: None, address: None, socket: None, shared: Arc::new(Shared { sources, access }) };
    if let Some(address) = places.address {
        let failed = |source| BindError { place: address.to_string(), key: "http.listen", source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        server.address = Some(listener.local_addr().map_err(failed)?);
        server.listener = Some(listener);
    }
    if let Some(path) = &places.socket {
        let failed = |source| BindError { place: path.display().to_string(), key: "http.socket", source };
        server.socket = Some(socket::bind(path).map_err(failed)?);
    }
    Ok(server)
}

impl Server {
    /// Returns the address bound, with the port in fact taken; `None` when only the socket is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Serves for ever. Dropping the future closes the listeners and every connection.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        // The operator gets in however many knock at the network's door.
        let kept = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                (stream, from, place) = next_tcp(self.listener.as_ref(), &places) => {
                    connections.spawn(serve(stream, Door::Tcp(from), self.shared.clone(), place));
                }
                (stream, place) = next_unix(self.socket.as_ref(), &kept) => {
                    connections.spawn(serve(stream, Door::Socket, self.shared.clone(), place));
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn next_tcp(
    listener: Option<&TcpListener>,
    places: &Arc<Semaphore>,
) -> (tokio::net::TcpStream, IpAddr, OwnedSemaphorePermit) {
    let Some(listener) = listener else { return std::future::pending().await };
    let place = place(places).await;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from.ip(), place),
            Err(error) => pause(&error).await,
        }
    }
}

async fn next_unix(
    socket: Option<&Socket>,
    places: &Arc<Semaphore>,
) -> (tokio::net::UnixStream, OwnedSemaphorePermit) {
    let Some(socket) = socket else { return std::future::pending().await };
    let place = place(places).await;
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => pause(&error).await,
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("the semaphore is never closed")
}

async fn pause(error: &io::Error) {
    tracing::warn!(event = "http", "cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection; its place is free again afterwards.
async fn serve<S>(stream: S, door: Door, shared: Arc<Shared>, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(&shared, door, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // How a connection ends is its client's affair: it may close, stall or talk nonsense.
    let _ = tokio::time::timeout(CONNECTION_PATIENCE, connection).await;
}
