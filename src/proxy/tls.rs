//! TLS towards clients: after SSLRequest or from the first byte, client certificates, and new files without a restart.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::auth::{ClientCertificate, EndPointHash};
use crate::pool::tls::files::{self, TlsFileError};

mod verify;

use verify::Verifier;

/// The protocol's name in ALPN (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>).
const ALPN: &[u8] = b"postgresql";

/// First byte of a TLS handshake: a client that begins with it starts TLS without SSLRequest.
pub const DIRECT_TLS_BYTE: u8 = 0x16;

/// The files that TLS towards clients is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of our certificate, with intermediates after it.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the authorities that sign client certificates. `None`: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// TLS towards clients. Shared by all listeners; its files can be read again at any time.
pub struct ClientTls {
    current: ArcSwap<Loaded>,
}

/// How a client began TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By SSLRequest, which we have answered with `S`.
    SslRequest,
    /// At once, with a handshake as its first bytes (PostgreSQL 17's `sslnegotiation=direct`).
    Direct,
}

/// A client on TLS.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The stream.
    pub stream: TlsStream<S>,
    /// The hash of the certificate we showed, for [`crate::auth::LoginFacts::end_point`].
    pub end_point: Option<EndPointHash>,
    /// The certificate it showed. Its chain was checked against the client CA; a bad one ends the handshake.
    pub certificate: Option<ClientCertificate>,
}

/// Why a client could not be taken over TLS. There is nobody to tell: log it and close.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake failed.
    #[error("could not accept TLS connection: {0}")]
    Handshake(#[from] io::Error),
    /// Direct TLS without ALPN could be a client of another protocol, sent here by an attacker.
    #[error("received direct SSL connection request without ALPN protocol negotiation extension")]
    NoAlpn,
}

struct Loaded {
    config: Arc<ServerConfig>,
    end_point: Option<EndPointHash>,
    client_ca: bool,
}

impl ClientTls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsFileError> {
        Ok(ClientTls { current: ArcSwap::from_pointee(Loaded::read(files)?) })
    }

    /// Reads the files again, or other ones. Connections that are open stay as they are; on an error new ones go on
    /// with what was read before.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsFileError> {
        self.current.store(Arc::new(Loaded::read(files)?));
        Ok(())
    }

    /// Tells whether clients are asked for a certificate. Without that, host rules that want one let nobody in.
    pub fn asks_for_certificates(&self) -> bool {
        self.current.load().client_ca
    }

    /// Does the handshake with a client. For [`Start::Direct`] nothing may have been read of the stream yet: look at
    /// its first byte by peeking.
    ///
    /// Not cancel safe: a stream given up half-way is lost. Unbounded in time.
    pub async fn accept<S>(&self, stream: S, start: Start) -> Result<Accepted<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Taken once: the hash must belong to the certificate shown, also when files are read again meanwhile.
        let loaded = self.current.load_full();
        let stream = TlsAcceptor::from(loaded.config.clone()).accept(stream).await?;
        let connection = stream.get_ref().1;
        if start == Start::Direct && connection.alpn_protocol() != Some(ALPN) {
            return Err(AcceptError::NoAlpn);
        }
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|certificate| ClientCertificate::read(certificate));
        Ok(Accepted { stream, end_point: loaded.end_point.clone(), certificate })
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("client_ca", &self.asks_for_certificates()).finish_non_exhaustive()
    }
}

impl Loaded {
    fn read(files: &TlsFiles) -> Result<Self, TlsFileError> {
        let provider = files::provider();
        let identity = files::identity(&files.certificate, &files.key, &provider)?;
        let end_point =
            identity.cert.first().and_then(|certificate| EndPointHash::of_certificate(certificate));
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(files::VERSIONS)
            .expect("the provider has suites for both versions");
        let builder = match &files.client_ca {
            Some(file) => {
                let verifier = Verifier::new(files::certificates(file)?, provider)?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        // A client that offers ALPN must offer this; one that comes by SSLRequest may offer none.
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No session is resumed, as with PostgreSQL: drivers do not, and certificates are checked on each login.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded { config: Arc::new(config), end_point, client_ca: files.client_ca.is_some() })
    }
}

#[cfg(test)]
mod tests;
