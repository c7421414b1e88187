//! Certificates of X.509 version 1: their chain and their signatures, for peers of both directions.
//!
//! Only one shape is taken: signed by a trusted root directly. Any more would need the extensions that version 1 has
//! not got.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

use crate::auth::{CertificateV1, RootCertificate};

/// Checks that one of the roots signed the certificate, and that both are valid now.
pub fn check_signed_by(
    certificate: &CertificateV1,
    roots: &[CertificateDer<'_>],
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    if now.as_secs() < *certificate.valid.start() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > *certificate.valid.end() {
        return Err(CertificateError::Expired.into());
    }
    let signed_by = |root: &RootCertificate| {
        root.subject == certificate.issuer
            && root.valid.contains(&now.as_secs())
            && algorithms.all.iter().any(|algorithm| {
                *algorithm.signature_alg_id() == *certificate.signature_algorithm
                    && *algorithm.public_key_alg_id() == *root.key.algorithm
                    && algorithm
                        .verify_signature(&root.key.bits, &certificate.signed, &certificate.signature)
                        .is_ok()
            })
    };
    if roots.iter().filter_map(|root| RootCertificate::read(root)).any(|root| signed_by(&root)) {
        return Ok(());
    }
    Err(CertificateError::UnknownIssuer.into())
}

/// Checks the peer's signature over a handshake of TLS 1.3.
pub fn verify_tls13(
    message: &[u8],
    certificate: &CertificateV1,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(certificate.key.info.as_slice());
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}

/// Checks the peer's signature over a handshake of TLS 1.2.
pub fn verify_tls12(
    message: &[u8],
    certificate: &CertificateV1,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let scheme = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
    let (_, candidates) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = &certificate.key;
    let fitting = candidates.iter().find(|candidate| *candidate.public_key_alg_id() == *key.algorithm);
    match fitting.map(|algorithm| algorithm.verify_signature(&key.bits, message, signature.signature())) {
        Some(Ok(())) => Ok(HandshakeSignatureValid::assertion()),
        _ => Err(CertificateError::BadSignature.into()),
    }
}
