//! SCRAM-SHA-256: keys, signatures and the attributes of its messages (RFC 5802, 7677), common to both roles.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Random bytes in a nonce (`SCRAM_RAW_NONCE_LEN` of PostgreSQL).
pub const NONCE_BYTES: usize = 18;

/// Iterations of a verifier made without a wish (`scram_iterations`); what a mock exchange announces.
pub(crate) const DEFAULT_ITERATIONS: u32 = 4096;

/// Most iterations we run on a server's word. It costs time before the server has proven anything; drivers cap
/// it at the same figure (CVE-2026-42198 of pgjdbc).
pub(crate) const MAX_ITERATIONS: u32 = 100_000;

/// Name of the mechanism without channel binding.
pub(crate) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// Name of the mechanism with channel binding.
pub(crate) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The header of a login that binds to the TLS channel, and the only type of binding there is.
pub(crate) const BOUND_HEADER: &str = "p=tls-server-end-point,,";

/// One key, signature or proof.
pub(crate) type Key = [u8; 32];

/// What a server stores of a password: enough to check a login, not enough to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// PBKDF2 iterations; at least 1.
    pub iterations: u32,
    /// Salt, decoded.
    pub salt: Vec<u8>,
    /// SHA-256 of the client key.
    pub stored_key: [u8; 32],
    /// Key of the server's signature.
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Derives the verifier of `password`: `iterations` rounds of PBKDF2, about 1 ms for 4096.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        ScramKeys::derive(password, salt, iterations).verifier
    }

    /// Returns the form of `pg_authid.rolpassword`.
    pub fn to_rolpassword(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|b| STANDARD.encode(b));
        format!("{SCRAM_SHA_256}${}:{salt}${stored}:{server}", self.iterations)
    }

    /// Tells whether this was made of `password`. As costly as [`ScramVerifier::derive`].
    pub fn check_password(&self, password: &[u8]) -> Option<ScramKeys> {
        let keys = ScramKeys::derive(password, &self.salt, self.iterations);
        // PostgreSQL compares the server keys too.
        bool::from(keys.verifier.server_key.ct_eq(&self.server_key)).then_some(keys)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// A verifier together with the client key that a login revealed: enough to log in wherever the verifier is the same.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// The verifier these keys belong to.
    pub verifier: ScramVerifier,
    /// The client's key. As good as a password on every server with this verifier.
    pub client_key: [u8; 32],
}

impl ScramKeys {
    /// Derives all keys of `password`: `iterations` rounds of PBKDF2, about 1 ms for 4096.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(&normalized(password), salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        let verifier = ScramVerifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&[&client_key]),
            server_key: hmac(&salted, &[b"Server Key"]),
        };
        ScramKeys { verifier, client_key }
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.verifier.iterations).finish_non_exhaustive()
    }
}

/// Returns HMAC-SHA-256 of the concatenated parts.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Returns SHA-256 of the concatenated parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// Combines two keys bit by bit: a proof of a key and a signature, or the key of a proof and a signature.
pub(crate) fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|index| left[index] ^ right[index])
}

/// Returns base64 as SCRAM uses it: standard alphabet, padded.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64; `None` unless it is canonical.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads base64 of exactly one key.
pub(crate) fn decode_key(text: &[u8]) -> Option<Key> {
    decode(text)?.try_into().ok()
}

/// Applies SASLprep where it applies; text that it refuses, or that is not UTF-8, is taken as it is
/// (`pg_saslprep`).
fn normalized(password: &[u8]) -> Vec<u8> {
    let prepared = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    prepared.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes())
}

/// PBKDF2 with HMAC-SHA-256 and one block of output (`Hi` in RFC 5802).
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes keys of any length");
    let round = |parts: [&[u8]; 2]| -> Key {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut last = round([salt, &1u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = round([&last, &[]]);
        sum = xor(&sum, &last);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_rfc_vector_holds() {
        let salt = decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, 4096);
        let message: &[u8] = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = xor(&keys.client_key, &hmac(&keys.verifier.stored_key, &[message]));
        assert_eq!(encode(&proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = hmac(&keys.verifier.server_key, &[message]);
        assert_eq!(encode(&signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(keys.verifier.check_password(b"pencil").is_some());
        assert!(keys.verifier.check_password(b"pencils").is_none());
    }

    #[test]
    fn passwords_are_prepared_where_saslprep_allows() {
        assert_eq!(normalized("I\u{ad}X".as_bytes()), b"IX");
        assert_eq!(normalized(b"\xff\xfe"), b"\xff\xfe");
        assert_eq!(normalized(b"bell\x07"), b"bell\x07");
    }

    #[test]
    fn debug_shows_no_keys() {
        let keys = ScramKeys::derive(b"secret", b"salt", 2);
        assert_eq!(format!("{keys:?}"), "ScramKeys { iterations: 2, .. }");
        assert_eq!(format!("{:?}", keys.verifier), "ScramVerifier { iterations: 2, .. }");
    }
}
