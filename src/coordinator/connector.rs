//! Opens the byte stream a probe talks over.
//!
//! TLS towards servers lives with the pool, which the coordinator may not import. So whoever builds both
//! hands a [`Connect`] in; without TLS, [`PlainConnector`] does.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::pg::Address;
use crate::topology::Node;

/// A stream to a server, past any TLS handshake, ready for the StartupMessage.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// What [`Connect::connect`] returns: boxed, because implementations differ in kind and a probe connects rarely.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'a>>;

/// Opens streams to nodes. Dropping the future gives up; the caller bounds its time.
pub trait Connect: Send + Sync + 'static {
    /// Connects to `node`, TLS included where the node asks for it.
    fn connect<'a>(&'a self, node: &'a Node) -> Connecting<'a>;
}

/// Connects over TCP or a Unix socket, without TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainConnector;

impl Connect for PlainConnector {
    fn connect<'a>(&'a self, node: &'a Node) -> Connecting<'a> {
        Box::pin(async move {
            Ok(match &node.address {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream) as Box<dyn ByteStream>
                }
                Address::Unix { directory, port } => {
                    Box::new(UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).await?)
                }
            })
        })
    }
}
