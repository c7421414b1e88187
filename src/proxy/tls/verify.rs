//! Whether a client's certificate will do: the TLS library's checks, and ours for X.509 version 1.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::auth::CertificateV1;
use crate::pool::tls::files::{Certificates, TlsFileError};
use crate::pool::tls::version1;

/// Asks for a certificate, and checks it if one is shown. Whether a client must have one is for the host rules to say, as
/// with PostgreSQL.
#[derive(Debug)]
pub(super) struct Verifier {
    library: Arc<dyn ClientCertVerifier>,
    roots: Certificates,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(roots: Certificates, provider: Arc<CryptoProvider>) -> Result<Self, TlsFileError> {
        let bad = |error: String| TlsFileError::BadRoot { file: roots.file.clone(), error };
        let mut store = RootCertStore::empty();
        for certificate in &roots.certificates {
            store.add(certificate.clone()).map_err(|error| bad(error.to_string()))?;
        }
        let algorithms = provider.signature_verification_algorithms;
        let library = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| bad(error.to_string()))?;
        Ok(Verifier { library, roots, algorithms })
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.library.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.library.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match CertificateV1::read(certificate) {
            None => self.library.verify_client_cert(certificate, intermediates, now),
            Some(old) => version1::check_signed_by(&old, &self.roots.certificates, now, &self.algorithms)
                .map(|()| ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match CertificateV1::read(certificate) {
            None => self.library.verify_tls12_signature(message, certificate, signature),
            Some(old) => version1::verify_tls12(message, &old, signature, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match CertificateV1::read(certificate) {
            None => self.library.verify_tls13_signature(message, certificate, signature),
            Some(old) => version1::verify_tls13(message, &old, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.library.supported_verify_schemes()
    }
}
