//! Channel binding: the `tls-server-end-point` hash of a server's certificate.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier};
use x509_cert::der::{Decode, Header, Reader, SliceReader, Tag, TagMode, TagNumber};
use x509_cert::spki::AlgorithmIdentifierRef;

/// The `tls-server-end-point` binding data of a connection (RFC 5929, section 4.1): the hash of the server's
/// certificate by its signature's hash function, SHA-256 in place of MD5 and SHA-1.
#[derive(Clone, PartialEq, Eq)]
pub struct EndPointHash(Arc<[u8]>);

impl EndPointHash {
    /// Hashes a certificate, given as DER. `None` when its signature has no hash function of its own (Ed25519), or
    /// one we do not know: then there is no channel binding.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let hash = match signature_hash(der).ok()?? {
            Hash::Sha224 => Sha224::digest(der).to_vec(),
            Hash::Sha256 => Sha256::digest(der).to_vec(),
            Hash::Sha384 => Sha384::digest(der).to_vec(),
            Hash::Sha512 => Sha512::digest(der).to_vec(),
        };
        Some(EndPointHash(hash.into()))
    }

    /// Returns the hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for EndPointHash {
    fn from(hash: &[u8]) -> Self {
        EndPointHash(hash.into())
    }
}

impl fmt::Debug for EndPointHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndPointHash({} bytes)", self.0.len())
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Reads which hash function signed a certificate. Only the outer structure is read, so that a certificate which is odd
/// inside still binds.
fn signature_hash(der: &[u8]) -> x509_cert::der::Result<Option<Hash>> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
    reader.tlv_bytes()?; // what was signed
    let algorithm = AlgorithmIdentifierRef::decode(&mut reader)?;
    let oid = match (algorithm.oid, algorithm.parameters) {
        (RSA_PSS, Some(parameters)) => return pss_hash(parameters),
        (RSA_PSS, None) => SHA_1,
        (oid, _) => oid,
    };
    Ok(hash_of(oid))
}

/// The hash in the parameters of RSASSA-PSS (RFC 4055, section 3.1); SHA-1 when left out.
fn pss_hash(parameters: AnyRef<'_>) -> x509_cert::der::Result<Option<Hash>> {
    let mut reader = SliceReader::new(parameters.value())?;
    let hash = reader.context_specific::<AlgorithmIdentifierRef<'_>>(TagNumber::N0, TagMode::Explicit)?;
    Ok(hash_of(hash.map_or(SHA_1, |hash| hash.oid)))
}

fn hash_of(oid: ObjectIdentifier) -> Option<Hash> {
    HASHES.iter().find(|(known, _)| *known == oid).map(|(_, hash)| *hash)
}

const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// Signature algorithms, and bare hash functions as PSS names them (RFC 3279, 4055, 5758).
const HASHES: &[(ObjectIdentifier, Hash)] = &[
    // RSA with MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.14"), Hash::Sha224),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), Hash::Sha512),
    // ECDSA with SHA-1, SHA-224, SHA-256, SHA-384, SHA-512
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.1"), Hash::Sha224),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), Hash::Sha512),
    // The hash functions alone: MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512
    (ObjectIdentifier::new_unwrap("1.2.840.113549.2.5"), Hash::Sha256),
    (SHA_1, Hash::Sha256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.4"), Hash::Sha224),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), Hash::Sha256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), Hash::Sha512),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_signature_decides_the_hash() {
        let with = |algorithm| {
            let der = certificate(algorithm);
            (EndPointHash::of_certificate(&der).map(|hash| hash.as_bytes().to_vec()), der)
        };
        let (hash, der) = with(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(hash, Some(Sha256::digest(der).to_vec()));
        let (hash, der) = with(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(hash, Some(Sha384::digest(der).to_vec()));
        assert_eq!(with(&rcgen::PKCS_ED25519).0, None);
        assert_eq!(EndPointHash::of_certificate(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(EndPointHash::of_certificate(b""), None);
    }

    /// PSS parameters as OpenSSL writes them for SHA-384, and empty ones, which mean SHA-1.
    #[test]
    fn pss_names_its_hash_in_the_parameters() {
        let sha384 = b"\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00";
        let read = |bytes| pss_hash(AnyRef::new(Tag::Sequence, bytes).unwrap()).unwrap();
        assert!(matches!(read(sha384), Some(Hash::Sha384)));
        assert!(matches!(read(b""), Some(Hash::Sha256)));
    }
}
