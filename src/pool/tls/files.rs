//! Certificates and keys out of PEM files, for TLS in both directions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::auth::CertificateV1;

/// The versions of TLS we speak, in both directions: 1.2 is PostgreSQL's own minimum.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What is wrong with the files named for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read {what} from file \"{}\": {error}", file.display())]
    Read {
        /// What was looked for.
        what: &'static str,
        /// Where.
        file: PathBuf,
        /// What happened.
        error: String,
    },
    /// A file of certificates without one.
    #[error("file \"{}\" holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate of an authority that cannot be used as one.
    #[error("file \"{}\" holds a certificate that cannot be trusted as a root: {error}", file.display())]
    BadRoot {
        /// Where.
        file: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("certificate \"{}\" and its key cannot be used: {error}", file.display())]
    Mismatch {
        /// The certificate.
        file: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// `verify-ca` or `verify-full` without a file of roots.
    #[error("sslmode verify-ca and verify-full need a file of root certificates")]
    NoRoots,
}

/// The certificates of a file, and its name for errors.
#[derive(Debug)]
pub struct Certificates {
    /// Where they are from.
    pub file: PathBuf,
    /// At least one, in the file's order.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Reads all certificates of a file; at least one.
pub fn certificates(file: &Path) -> Result<Certificates, TlsFileError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| read_error("certificates", file, &error))?;
    if certificates.is_empty() {
        return Err(TlsFileError::NoCertificate(file.to_owned()));
    }
    Ok(Certificates { file: file.to_owned(), certificates })
}

/// Reads a certificate with its intermediates, and its key; they must belong together.
pub fn identity(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsFileError> {
    let chain = certificates(certificate)?.certificates;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| read_error("a private key", key, &error))?;
    // The library compares key and certificate, but not for version 1.
    let identity = match chain.first().and_then(|first| CertificateV1::read(first)) {
        None => CertifiedKey::from_der(chain, key, provider),
        Some(old) => provider.key_provider.load_private_key(key).and_then(|key| {
            if key.public_key().is_some_and(|public| public.as_ref() != old.key.info) {
                return Err(InconsistentKeys::KeyMismatch.into());
            }
            Ok(CertifiedKey::new(chain, key))
        }),
    };
    let mismatch =
        |error: Error| TlsFileError::Mismatch { file: certificate.to_owned(), error: error.to_string() };
    identity.map(Arc::new).map_err(mismatch)
}

/// Returns the cryptography that TLS uses in both directions.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read_error(what: &'static str, file: &Path, error: &pem::Error) -> TlsFileError {
    let error = match error {
        pem::Error::NoItemsFound => "there is none in PEM form".to_owned(),
        other => other.to_string(),
    };
    TlsFileError::Read { what, file: file.to_owned(), error }
}
