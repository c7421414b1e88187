//! Listens for HTTP and bounds what one request may cost.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answers::{self, Answer, Sources};

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

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for HTTP on {address}: {source}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A bound listener; await [`run`](Self::run) to serve.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    sources: Arc<Sources>,
}

/// Listens on `address`, where port 0 takes a free one.
pub async fn bind(address: SocketAddr, sources: Sources) -> Result<Server, BindError> {
    let failed = |source| BindError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Server { listener, address, sources: Arc::new(sources) })
}

impl Server {
    /// Returns the address bound, with the port in fact taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever. Dropping the future closes the listener and every connection.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(event = "http", "cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let sources = self.sources.clone();
            connections.spawn(async move {
                serve(stream, sources).await;
                drop(place);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn serve(stream: TcpStream, sources: Arc<Sources>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&sources, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // How a connection ends is its client's affair: it may close, stall or talk nonsense.
    let _ = tokio::time::timeout(CONNECTION_PATIENCE, connection).await;
}

/// Answers one request. hyper leaves the body out for HEAD, and keeps its length.
fn respond(sources: &Sources, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let answer = if request.body().is_end_stream() {
        let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
        answers::answer(sources, request.method(), request.uri().path(), accept)
    } else {
        // Nothing here takes a body, so none is read, however long.
        answers::error(StatusCode::PAYLOAD_TOO_LARGE, "no request here takes a body")
    };
    let Answer { status, content_type, body } = answer;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
