//! What is known of a user's password: the forms of `pg_authid.rolpassword`, and plain text from a verifier file.

use std::fmt;

use md5::{Digest, Md5};

use super::credentials::{Credentials, Secret};
use super::scram::{self, ScramVerifier};

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    Scram(ScramVerifier),
    /// `md5` and 32 hexadecimal digits.
    Md5(Md5Hash),
    /// The password itself. Only a verifier file can hold it.
    Plain(Secret),
}

impl Verifier {
    /// Reads `pg_authid.rolpassword`; `None` when it has neither form (no login with a password then).
    pub fn from_rolpassword(text: &str) -> Option<Verifier> {
        Md5Hash::parse(text).map(Verifier::Md5).or_else(|| parse_scram(text).map(Verifier::Scram))
    }

    /// Reads the second field of a line of a verifier file: what has no known form is the password itself, as
    /// `PgBouncer` takes it. `None` when empty.
    pub fn from_file(text: &str) -> Option<Verifier> {
        if text.is_empty() {
            return None;
        }
        Self::from_rolpassword(text).or_else(|| Some(Verifier::Plain(Secret::from(text))))
    }

    /// Returns what this alone lets us log in to servers with. A SCRAM verifier gives nothing: its client key is
    /// known only after a login.
    pub fn credentials(&self) -> Credentials {
        match self {
            Verifier::Scram(_) => Credentials::default(),
            Verifier::Md5(hash) => Credentials { md5: Some(hash.clone()), ..Credentials::default() },
            Verifier::Plain(password) => {
                Credentials { password: Some(password.clone()), ..Credentials::default() }
            }
        }
    }
}

/// The md5 of password and user name, as PostgreSQL stores it. As good as a password where md5 is taken.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Hash([u8; 32]);

impl Md5Hash {
    /// Hashes a password.
    pub fn of(password: &[u8], user: &str) -> Self {
        Md5Hash(hex(&[password, user.as_bytes()]))
    }

    /// Reads `md5` and 32 digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.strip_prefix("md5")?.as_bytes().try_into().ok()?;
        digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(Md5Hash(digits))
    }

    /// Returns what a client sends in answer to `salt`: `md5` and 32 digits, without a zero byte.
    pub fn response(&self, salt: [u8; 4]) -> [u8; 35] {
        let mut response = *b"md500000000000000000000000000000000";
        response[3..].copy_from_slice(&hex(&[&self.0, &salt]));
        response
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

fn hex(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    let hash: [u8; 16] = hash.finalize().into();
    std::array::from_fn(|index| {
        let nibble = if index % 2 == 0 { hash[index / 2] >> 4 } else { hash[index / 2] & 15 };
        b"0123456789abcdef"[usize::from(nibble)]
    })
}

/// `parse_scram_secret` of PostgreSQL.
fn parse_scram(text: &str) -> Option<ScramVerifier> {
    let rest = text.strip_prefix(scram::SCRAM_SHA_256)?.strip_prefix('$')?;
    let (salting, keys) = rest.split_once('$')?;
    let (iterations, salt) = salting.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let digits = !iterations.is_empty() && iterations.bytes().all(|byte| byte.is_ascii_digit());
    let iterations = iterations.parse().ok().filter(|count| digits && *count > 0)?;
    let salt = scram::decode(salt.as_bytes()).filter(|salt| !salt.is_empty())?;
    let stored_key = scram::decode_key(stored.as_bytes())?;
    let server_key = scram::decode_key(server.as_bytes())?;
    Some(ScramVerifier { iterations, salt, stored_key, server_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stored_forms_are_read() {
        let scram = ScramVerifier::derive(b"secret", b"0123456789abcdef", 3);
        assert_eq!(Verifier::from_rolpassword(&scram.to_rolpassword()), Some(Verifier::Scram(scram)));
        let md5 = postgres_protocol::authentication::md5_hash(b"ann", b"secret", [1, 2, 3, 4]);
        let hash = Md5Hash::of(b"secret", "ann");
        assert_eq!(&hash.response([1, 2, 3, 4])[..], md5.as_bytes());
        let stored = format!("md5{}", std::str::from_utf8(&hash.0).unwrap());
        assert_eq!(Verifier::from_rolpassword(&stored), Some(Verifier::Md5(hash)));
    }

    #[test]
    fn made_by_another_implementation() {
        let stored = postgres_protocol::password::scram_sha_256(b"sesame");
        let Some(Verifier::Scram(verifier)) = Verifier::from_rolpassword(&stored) else { panic!("{stored}") };
        assert!(verifier.check_password(b"sesame").is_some());
    }

    #[test]
    fn other_text_is_no_verifier_and_in_a_file_a_password() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for text in [
            "",
            "md5",
            "md5ABCDEFabcdefabcdefabcdefabcdefab",
            "md50123456789012345678901234567890",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$0:c2FsdA==$x:y",
            &format!("SCRAM-SHA-256$0:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$+1:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$4294967296:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$4096:${key}:{key}"),
            &format!("SCRAM-SHA-256$4096:c2FsdA==${key}:AAAA"),
            &format!("SCRAM-SHA-256$4096:c2FsdA==${key}"),
        ] {
            assert_eq!(Verifier::from_rolpassword(text), None, "{text}");
            assert_eq!(Verifier::from_file(text).is_some(), !text.is_empty(), "{text}");
        }
        assert_eq!(format!("{:?}", Verifier::from_file("hush")), "Some(Plain(Secret(..)))");
    }
}
