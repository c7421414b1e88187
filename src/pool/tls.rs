//! TLS towards servers: libpq's `sslmode`, from `disable` to `verify-full`, and the data for channel binding.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::auth::{ChannelBinding, EndPointHash};
use crate::wire::write;

pub mod files;
#[cfg(test)]
pub(crate) mod testing;
mod verify;
pub mod version1;

use files::TlsFileError;
use verify::{Policy, Verifier};

/// Whether to use TLS towards a server, and what to check; libpq's `sslmode`, with its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server refuses us without.
    Allow,
    /// If the server has it; libpq's default.
    #[default]
    Prefer,
    /// Always. The certificate is not checked, unless there is a file of roots: then as `verify-ca`.
    Require,
    /// Always, with a certificate that one of the roots signed.
    VerifyCa,
    /// Always, with a certificate that one of the roots signed for the host we connect to.
    VerifyFull,
}

/// What the operator can set about TLS towards servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether, and what to check.
    pub mode: SslMode,
    /// PEM file of the certificates we trust to sign a server's (`sslrootcert`).
    pub root_ca: Option<PathBuf>,
    /// PEM files of our certificate (with intermediates after it) and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether logins bind to the TLS channel.
    pub channel_binding: ChannelBinding,
}

/// TLS towards servers, ready to use.
pub struct ServerTls {
    mode: SslMode,
    channel_binding: ChannelBinding,
    /// `None` with [`SslMode::Disable`].
    config: ArcSwapOption<ClientConfig>,
}

/// One way to open a connection; see [`ServerTls::attempts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Without TLS.
    Plain,
    /// With TLS if the server says it has it, else without, on the same socket.
    TlsIfOffered,
    /// With TLS, or not at all.
    Tls,
}

/// A stream to a server, before the startup packet.
#[derive(Debug)]
pub enum Secured<S> {
    /// Without TLS.
    Plain(S),
    /// With TLS.
    Tls {
        /// The stream.
        stream: Box<TlsStream<S>>,
        /// The hash of the server's certificate, for [`crate::auth::ServerLoginFacts::end_point`].
        end_point: Option<EndPointHash>,
    },
}

/// Why a connection could not be secured. Texts name no address.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server has no TLS, and the mode wants it.
    #[error("server does not support TLS, but it is required")]
    NotOffered,
    /// The server answered SSLRequest with something else than `S` or `N`.
    #[error("server answered SSLRequest with byte {0:#04x}")]
    Answer(u8),
    /// The host cannot stand in a certificate, so `verify-full` cannot be had.
    #[error("host \"{0}\" is no name that a certificate can be for")]
    HostName(String),
    /// The handshake failed; a certificate that does not pass is reported here too.
    #[error("TLS handshake with server failed: {0}")]
    Handshake(std::io::Error),
    /// The socket failed.
    #[error("connection to server failed: {0}")]
    Io(#[from] std::io::Error),
}

impl ServerTls {
    /// Reads the files named in the settings.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsFileError> {
        let config = build(settings)?;
        Ok(ServerTls {
            mode: settings.mode,
            channel_binding: settings.channel_binding,
            config: ArcSwapOption::new(config),
        })
    }

    /// Makes one that never uses TLS.
    pub fn disabled() -> Self {
        ServerTls {
            mode: SslMode::Disable,
            channel_binding: ChannelBinding::Prefer,
            config: ArcSwapOption::empty(),
        }
    }

    /// Reads the files again; mode and channel binding stay. Connections that are open stay as they are, and on an
    /// error new ones go on with what was read before.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsFileError> {
        let config = build(&TlsSettings { mode: self.mode, ..settings.clone() })?;
        self.config.store(config);
        Ok(())
    }

    /// Returns the ways to try, in order, each on a new socket. The next one is for when the handshake failed, or when the
    /// server answered the startup packet with an error before or during authentication, as libpq does it.
    pub fn attempts(&self) -> &'static [Attempt] {
        match self.mode {
            SslMode::Disable => &[Attempt::Plain],
            SslMode::Allow => &[Attempt::Plain, Attempt::Tls],
            SslMode::Prefer => &[Attempt::TlsIfOffered, Attempt::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Attempt::Tls],
        }
    }

    /// Returns how logins over these connections bind to the channel.
    pub fn channel_binding(&self) -> ChannelBinding {
        self.channel_binding
    }

    /// Secures a fresh socket to a server, by SSLRequest. `host` is the name or address it was opened with: sent as SNI
    /// if it is a name, and checked by `verify-full`.
    ///
    /// Not cancel safe: a stream given up half-way is lost. Unbounded in time.
    pub async fn secure<S>(&self, mut stream: S, host: &str, attempt: Attempt) -> Result<Secured<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match (attempt, self.config.load_full()) {
            (Attempt::Plain, _) => return Ok(Secured::Plain(stream)),
            (Attempt::TlsIfOffered, None) => return Ok(Secured::Plain(stream)),
            (Attempt::Tls, None) => return Err(TlsError::NotOffered),
            (_, Some(config)) => config,
        };
        if !offered(&mut stream).await? {
            return match attempt {
                Attempt::TlsIfOffered => Ok(Secured::Plain(stream)),
                _ => Err(TlsError::NotOffered),
            };
        }
        let connector = TlsConnector::from(config);
        let stream = connector.connect(self.server_name(host)?, stream).await.map_err(TlsError::Handshake)?;
        let end_point = end_point(&stream);
        Ok(Secured::Tls { stream: Box::new(stream), end_point })
    }

    fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match (ServerName::try_from(host.to_owned()), self.mode) {
            (Ok(name), _) => Ok(name),
            (Err(_), SslMode::VerifyFull) => Err(TlsError::HostName(host.to_owned())),
            // An address is not sent as SNI, and the other modes check no name.
            (Err(_), _) => Ok(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())),
        }
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Returns the binding data of a connection: the hash of the certificate the server showed.
fn end_point<S>(stream: &TlsStream<S>) -> Option<EndPointHash> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    EndPointHash::of_certificate(certificates.first()?)
}

/// Sends SSLRequest. Exactly one byte is read: what an attacker may have put behind it (CVE-2021-23222) reaches the TLS
/// layer, which refuses it.
async fn offered<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<bool, TlsError> {
    let mut request = Vec::with_capacity(8);
    write::ssl_request(&mut request);
    stream.write_all(&request).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        other => Err(TlsError::Answer(other)),
    }
}

fn build(settings: &TlsSettings) -> Result<Option<Arc<ClientConfig>>, TlsFileError> {
    let policy = match (settings.mode, &settings.root_ca) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::VerifyFull, Some(roots)) => Policy::ChainAndName(files::certificates(roots)?),
        (SslMode::Require | SslMode::VerifyCa, Some(roots)) => Policy::Chain(files::certificates(roots)?),
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => return Err(TlsFileError::NoRoots),
        (SslMode::Allow | SslMode::Prefer | SslMode::Require, _) => Policy::Anything,
    };
    let provider = files::provider();
    let verifier = Verifier::new(policy, provider.signature_verification_algorithms)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(files::VERSIONS)
        .expect("the provider has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.identity {
        Some((certificate, key)) => {
            let identity = files::identity(certificate, key, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    // PostgreSQL gives out no tickets.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Some(Arc::new(config)))
}

#[cfg(test)]
mod tests;
