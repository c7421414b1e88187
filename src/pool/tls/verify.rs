//! Whether a server's certificate will do: nothing checked, its chain, or chain and name, as libpq checks them.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::files::{Certificates, TlsFileError};
use super::version1;
use crate::auth::{CertificateV1, names_host_by_common_name};

/// What to check of a server's certificate.
#[derive(Debug)]
pub(super) enum Policy {
    /// Nothing but that the server holds its key.
    Anything,
    /// That one of these signed it.
    Chain(Certificates),
    /// That one of these signed it, for the host we connect to.
    ChainAndName(Certificates),
}

/// Checks certificates by a [`Policy`].
#[derive(Debug)]
pub(super) struct Verifier {
    policy: Policy,
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(policy: Policy, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, TlsFileError> {
        let mut roots = RootCertStore::empty();
        if let Policy::Chain(trusted) | Policy::ChainAndName(trusted) = &policy {
            for certificate in &trusted.certificates {
                roots.add(certificate.clone()).map_err(|error| TlsFileError::BadRoot {
                    file: trusted.file.clone(),
                    error: error.to_string(),
                })?;
            }
        }
        Ok(Verifier { policy, roots, algorithms })
    }

    fn check_chain(
        &self,
        trusted: &Certificates,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if let Some(old) = CertificateV1::read(certificate) {
            return version1::check_signed_by(&old, &trusted.certificates, now, &self.algorithms);
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let checked = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match checked {
            // A self-signed certificate that stands in the file of roots itself. Made by hand it is usually marked as an
            // authority, which the TLS library takes for no server's; OpenSSL does, so libpq does. Its dates are checked
            // before that mark is.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if trusted.certificates.iter().any(|root| root.as_ref() == certificate.as_ref()) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.policy {
            Policy::Anything => {}
            Policy::Chain(trusted) => self.check_chain(trusted, certificate, intermediates, now)?,
            Policy::ChainAndName(trusted) => {
                self.check_chain(trusted, certificate, intermediates, now)?;
                check_name(certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    // The signatures are checked under every policy: they prove that the server holds the certificate's key, without
    // which channel binding to that certificate would mean nothing.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match CertificateV1::read(certificate) {
            None => verify_tls12_signature(message, certificate, signature, &self.algorithms),
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
            None => verify_tls13_signature(message, certificate, signature, &self.algorithms),
            Some(old) => version1::verify_tls13(message, &old, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate);
    let checked = parsed.and_then(|parsed| verify_server_name(&parsed, name));
    if checked.is_err() && names_host_by_common_name(certificate, &name.to_str()) {
        return Ok(());
    }
    checked
}
