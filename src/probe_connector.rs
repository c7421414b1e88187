//! Opens the streams that probes talk over, with the same TLS settings as every other server connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use bellwether::coordinator::{ByteStream, Connect};
use bellwether::pg::Address;
use bellwether::pool::tls::{Attempt, Secured, ServerTls};
use bellwether::topology::Node;

/// Connects over a Unix socket without TLS, and over TCP as the settings say.
pub struct ProbeConnector {
    /// Shared with whoever reads the certificates again.
    pub tls: Arc<ServerTls>,
}

impl Connect for ProbeConnector {
    fn connect<'a>(
        &'a self,
        node: &'a Node,
    ) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'a>> {
        Box::pin(async move {
            match &node.address {
                Address::Unix { directory, port } => {
                    let socket = directory.join(format!(".s.PGSQL.{port}"));
                    Ok(Box::new(UnixStream::connect(socket).await?) as Box<dyn ByteStream>)
                }
                Address::Tcp { host, port } => self.tcp(host, *port).await,
            }
        })
    }
}

impl ProbeConnector {
    /// Goes through the ways the mode allows; the error is that of the last one.
    async fn tcp(&self, host: &str, port: u16) -> io::Result<Box<dyn ByteStream>> {
        let mut failure = io::Error::other("no way to connect is allowed");
        for attempt in self.tls.attempts() {
            // A socket that cannot be opened is no matter of TLS.
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            match self.secured(stream, host, *attempt).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn secured(
        &self,
        stream: TcpStream,
        host: &str,
        attempt: Attempt,
    ) -> io::Result<Box<dyn ByteStream>> {
        match self.tls.secure(stream, host, attempt).await {
            Ok(Secured::Plain(stream)) => Ok(Box::new(stream)),
            Ok(Secured::Tls { stream, .. }) => Ok(stream),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
