//! X.509 certificates of version 1, taken apart far enough to check who signed them.
//!
//! The TLS library reads version 3 only. PostgreSQL's manual has long shown how to make certificates with
//! `openssl x509 -req`, which makes version 1, so many servers and clients have one.

use std::ops::RangeInclusive;

use x509_cert::certificate::Version;
use x509_cert::der::{AnyRef, Decode, Encode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::{Certificate, TbsCertificate};

/// A certificate of version 1 as the end of a chain. It has no extensions, so nothing restricts its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateV1 {
    /// The signed part, as DER.
    pub signed: Vec<u8>,
    /// Its signature.
    pub signature: Vec<u8>,
    /// How it was signed: the content of an AlgorithmIdentifier.
    pub signature_algorithm: Vec<u8>,
    /// Who signed it, as DER.
    pub issuer: Vec<u8>,
    /// From when to when it is valid, in seconds since 1970.
    pub valid: RangeInclusive<u64>,
    /// The key it is for.
    pub key: CertificateKey,
}

/// A certificate that may have signed another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootCertificate {
    /// Whose it is, as DER.
    pub subject: Vec<u8>,
    /// From when to when it is valid, in seconds since 1970.
    pub valid: RangeInclusive<u64>,
    /// Its key.
    pub key: CertificateKey,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateKey {
    /// The whole SubjectPublicKeyInfo, as DER.
    pub info: Vec<u8>,
    /// Its kind: the content of an AlgorithmIdentifier.
    pub algorithm: Vec<u8>,
    /// The key's bits.
    pub bits: Vec<u8>,
}

impl CertificateV1 {
    /// Reads a certificate, given as DER; `None` unless it is sound and of version 1.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let inner = &certificate.tbs_certificate;
        let same_algorithm = inner.signature == certificate.signature_algorithm;
        if inner.version != Version::V1 || inner.extensions.is_some() || !same_algorithm {
            return None;
        }
        // As it stands, not encoded anew: the signature is over these bytes.
        let mut reader = SliceReader::new(der).ok()?;
        Header::decode(&mut reader).ok()?;
        Some(CertificateV1 {
            signed: reader.tlv_bytes().ok()?.to_vec(),
            signature: certificate.signature.as_bytes()?.to_vec(),
            signature_algorithm: content(&certificate.signature_algorithm)?,
            issuer: inner.issuer.to_der().ok()?,
            valid: valid(inner),
            key: CertificateKey::of(inner)?,
        })
    }
}

impl RootCertificate {
    /// Reads a certificate, given as DER, of any version. `None` unless it is sound; also when it constrains the names
    /// that it may sign, which is not checked here.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let inner = &certificate.tbs_certificate;
        if inner.get::<NameConstraints>().ok()?.is_some() {
            return None;
        }
        let subject = inner.subject.to_der().ok()?;
        Some(RootCertificate { subject, valid: valid(inner), key: CertificateKey::of(inner)? })
    }
}

impl CertificateKey {
    fn of(certificate: &TbsCertificate) -> Option<Self> {
        let info = &certificate.subject_public_key_info;
        Some(CertificateKey {
            info: info.to_der().ok()?,
            algorithm: content(&info.algorithm)?,
            bits: info.subject_public_key.as_bytes()?.to_vec(),
        })
    }
}

fn valid(certificate: &TbsCertificate) -> RangeInclusive<u64> {
    let validity = &certificate.validity;
    validity.not_before.to_unix_duration().as_secs()..=validity.not_after.to_unix_duration().as_secs()
}

/// Encodes, and takes the outer tag and length off.
fn content(value: &impl Encode) -> Option<Vec<u8>> {
    let der = value.to_der().ok()?;
    Some(AnyRef::from_der(&der).ok()?.value().to_vec())
}

#[cfg(test)]
pub(crate) mod testing {
    use x509_cert::der::asn1::BitString;

    use super::*;

    /// Makes version 1 of a certificate, given as DER, and lets `sign` sign it anew by the same algorithm.
    pub(crate) fn as_version_1(der: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut certificate = Certificate::from_der(der).unwrap();
        certificate.tbs_certificate.version = Version::V1;
        certificate.tbs_certificate.extensions = None;
        let signature = sign(&certificate.tbs_certificate.to_der().unwrap());
        certificate.signature = BitString::from_bytes(&signature).unwrap();
        certificate.to_der().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_1_is_read_as_such() {
        let key = rcgen::KeyPair::generate().unwrap();
        let new = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert_eq!(CertificateV1::read(new.der()), None);
        assert_eq!(CertificateV1::read(b"junk"), None);
        let der = testing::as_version_1(new.der(), |_| vec![1, 2, 3]);
        let old = CertificateV1::read(&der).unwrap();
        assert_eq!(old.signature, [1, 2, 3]);
        assert_eq!(old.issuer, RootCertificate::read(new.der()).unwrap().subject);
        assert_eq!(old.key, RootCertificate::read(&der).unwrap().key);
        assert!(der.windows(old.signed.len()).any(|part| part == old.signed));
    }
}
