//! TLS towards etcd: the certificate is always checked, against the authorities of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Files for TLS towards etcd, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that sign the members' certificates.
    pub ca: PathBuf,
    /// Our certificate (with intermediates after it) and its key, where etcd asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// A file cannot be read, or does not hold what it should.
    #[error("cannot read {what} from file \"{}\": {reason}", file.display())]
    Read {
        /// What was looked for.
        what: &'static str,
        /// Where.
        file: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("certificate \"{}\" and its key cannot be used: {reason}", file.display())]
    Identity {
        /// The certificate.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Does the handshakes.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn load(files: &TlsFiles) -> Result<Self, TlsFileError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("an authority's certificate", &files.ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| unreadable("an authority's certificate", &files.ca, error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((file, key_file)) => {
                let chain = certificates("a certificate", file)?;
                let key = PrivateKeyDer::from_pem_file(key_file);
                let key = key.map_err(|error| unreadable("a private key", key_file, error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| TlsFileError::Identity {
                    file: file.clone(),
                    reason: error.to_string(),
                })?
            }
        };
        // etcd's gRPC is HTTP/2, agreed on in the handshake.
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unreadable(what, file, "there is none in PEM form")),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(what, file, error)),
    }
}

fn unreadable(what: &'static str, file: &Path, reason: impl ToString) -> TlsFileError {
    TlsFileError::Read { what, file: file.to_owned(), reason: reason.to_string() }
}
