//! The server's side of a SCRAM exchange, towards a client: checks, words and order of `auth-scram.c`.

use subtle::ConstantTimeEq;

use super::channel_binding::EndPointHash;
use super::scram::{self, Key, NONCE_BYTES, ScramKeys, ScramVerifier};
use crate::pg::SqlState;
use crate::wire::error_response::PgError;

/// One exchange, from the mechanism chosen by the client on.
pub(crate) struct ServerScram {
    verifier: ScramVerifier,
    /// The verifier is made up: the exchange runs to its end and then fails, whatever the proof.
    doomed: bool,
    /// The certificate's hash, when the client chose the mechanism with channel binding.
    bound: Option<EndPointHash>,
    /// We offered channel binding: a client that says it could but we could not was lied to by someone between us.
    offered: bool,
    nonce: String,
    state: State,
}

enum State {
    Begun,
    Challenged { gs2_flag: u8, first_bare: Vec<u8>, server_first: String, nonce: String },
    Finished,
}

/// What follows from a message of the client.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// Send this as AuthenticationSASLContinue.
    Challenge(String),
    /// The client has proven itself; send the text as AuthenticationSASLFinal.
    Proven { server_final: String, keys: ScramKeys },
    /// The proof is wrong, or there was never a right one.
    Refused,
}

impl ServerScram {
    /// Starts an exchange for the verifier of a known user.
    pub(crate) fn new(
        verifier: ScramVerifier,
        bound: Option<EndPointHash>,
        offered: bool,
        nonce: &[u8; NONCE_BYTES],
    ) -> Self {
        let nonce = scram::encode(nonce);
        ServerScram { verifier, doomed: false, bound, offered, nonce, state: State::Begun }
    }

    /// Makes the exchange fail at its end. The verifier is then a made-up one, see [`mock_verifier`].
    pub(crate) fn doomed(self) -> Self {
        ServerScram { doomed: true, ..self }
    }

    /// Takes the client's next message.
    pub(crate) fn step(&mut self, message: &[u8]) -> Result<Exchange, PgError> {
        if message.is_empty() {
            return Err(malformed("The message is empty."));
        }
        if message.contains(&0) {
            return Err(malformed("Message length does not match input length."));
        }
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Begun => self.client_first(message).map(Exchange::Challenge),
            State::Challenged { gs2_flag, first_bare, server_first, nonce } => {
                let last = ClientFinal::read(message, |binding| self.check_binding(gs2_flag, binding))?;
                if last.nonce != nonce.as_bytes() {
                    return Err(PgError::fatal(SqlState::PROTOCOL_VIOLATION, "invalid SCRAM response")
                        .detail("Nonce does not match."));
                }
                let parts = [&first_bare[..], b",", server_first.as_bytes(), b",", last.without_proof];
                Ok(self.verify(&parts, &last.proof))
            }
            State::Finished => Err(PgError::fatal(SqlState::INTERNAL_ERROR, "invalid SCRAM exchange state")),
        }
    }

    fn client_first(&mut self, message: &[u8]) -> Result<String, PgError> {
        let mut rest = Attributes(message);
        let gs2_flag = rest.peek();
        self.check_gs2_flag(&mut rest)?;
        if rest.peek() == b'a' {
            return Err(PgError::fatal(
                SqlState::FEATURE_NOT_SUPPORTED,
                "client uses authorization identity, but it is not supported",
            ));
        }
        if rest.peek() != b',' {
            let found = sanitized(rest.peek());
            return Err(malformed(format!("Unexpected attribute \"{found}\" in client-first-message.")));
        }
        rest.skip();
        let first_bare = rest.0.to_vec();
        if rest.peek() == b'm' {
            return Err(PgError::fatal(
                SqlState::FEATURE_NOT_SUPPORTED,
                "client requires an unsupported SCRAM extension",
            ));
        }
        rest.value(b'n')?; // The user is the startup packet's.
        let client_nonce = rest.value(b'r')?;
        if !client_nonce.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b',') {
            return Err(PgError::fatal(
                SqlState::PROTOCOL_VIOLATION,
                "non-printable characters in SCRAM nonce",
            ));
        }
        let nonce = format!("{}{}", String::from_utf8_lossy(client_nonce), self.nonce);
        while !rest.0.is_empty() {
            rest.any()?;
        }
        let salt = scram::encode(&self.verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        self.state = State::Challenged { gs2_flag, first_bare, server_first: server_first.clone(), nonce };
        Ok(server_first)
    }

    /// Reads the channel-binding flag that begins the first message, up to the comma after it.
    fn check_gs2_flag(&self, rest: &mut Attributes<'_>) -> Result<(), PgError> {
        match rest.peek() {
            b'n' | b'y' if self.bound.is_some() => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            b'y' if self.offered => {
                return Err(PgError::fatal(
                    SqlState::INVALID_AUTHORIZATION,
                    "SCRAM channel binding negotiation error",
                )
                .detail(
                    "The client supports SCRAM channel binding but thinks the server does not.  \
                     However, this server does support channel binding.",
                ));
            }
            b'n' | b'y' => rest.skip(),
            b'p' if self.bound.is_none() => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, \
                     but the SCRAM message includes channel binding data.",
                ));
            }
            b'p' => return check_binding_type(rest.value(b'p')?),
            other => {
                return Err(malformed(format!("Unexpected channel-binding flag \"{}\".", sanitized(other))));
            }
        }
        if rest.peek() != b',' {
            return Err(malformed(format!(
                "Comma expected, but found character \"{}\".",
                sanitized(rest.peek())
            )));
        }
        rest.skip();
        Ok(())
    }

    fn check_binding(&self, gs2_flag: u8, binding: &[u8]) -> Result<(), PgError> {
        match &self.bound {
            Some(hash) => {
                let expected = scram::encode(&[scram::BOUND_HEADER.as_bytes(), hash.as_bytes()].concat());
                if binding == expected.as_bytes() {
                    return Ok(());
                }
                Err(PgError::fatal(SqlState::INVALID_AUTHORIZATION, "SCRAM channel binding check failed"))
            }
            // "n,," and "y,," in base64.
            None if matches!((binding, gs2_flag), (b"biws", b'n') | (b"eSws", b'y')) => Ok(()),
            None => Err(PgError::fatal(
                SqlState::PROTOCOL_VIOLATION,
                "unexpected SCRAM channel-binding attribute in client-final-message",
            )),
        }
    }

    fn verify(&self, auth_message: &[&[u8]], proof: &Key) -> Exchange {
        let signature = scram::hmac(&self.verifier.stored_key, auth_message);
        let client_key = scram::xor(proof, &signature);
        let proven = scram::sha256(&[&client_key]).ct_eq(&self.verifier.stored_key);
        if !bool::from(proven) || self.doomed {
            return Exchange::Refused;
        }
        let signature = scram::hmac(&self.verifier.server_key, auth_message);
        Exchange::Proven {
            server_final: format!("v={}", scram::encode(&signature)),
            keys: ScramKeys { verifier: self.verifier.clone(), client_key },
        }
    }
}

/// Makes up a verifier for a user that has none, always the same for that user, so that the exchange does not tell
/// which users there are. `secret` is random and lives as long as the process.
pub(crate) fn mock_verifier(user: &str, secret: &[u8; 32]) -> ScramVerifier {
    let salt = scram::sha256(&[user.as_bytes(), secret]);
    ScramVerifier {
        iterations: scram::DEFAULT_ITERATIONS,
        salt: salt[..16].to_vec(),
        stored_key: [0; 32],
        server_key: [0; 32],
    }
}

/// The client's last message.
struct ClientFinal<'a> {
    nonce: &'a [u8],
    proof: Key,
    without_proof: &'a [u8],
}

impl<'a> ClientFinal<'a> {
    /// `check_binding` judges the channel-binding attribute before the rest is read, as PostgreSQL does.
    fn read(
        message: &'a [u8],
        check_binding: impl FnOnce(&[u8]) -> Result<(), PgError>,
    ) -> Result<Self, PgError> {
        let mut rest = Attributes(message);
        check_binding(rest.value(b'c')?)?;
        let nonce = rest.value(b'r')?;
        loop {
            let before = message.len() - rest.0.len();
            let (attribute, value) = rest.any()?;
            if attribute != b'p' {
                continue;
            }
            let proof = scram::decode_key(value)
                .ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
            if !rest.0.is_empty() {
                return Err(malformed("Garbage found at the end of client-final-message."));
            }
            // Without the comma before the proof.
            let without_proof = message.get(..before.saturating_sub(1)).unwrap_or_default();
            return Ok(ClientFinal { nonce, proof, without_proof });
        }
    }
}

/// The attributes of a message that have not been read yet. The end reads as a zero byte, as in C.
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    fn skip(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    /// `read_attr_value`: the value of the attribute that must come next.
    fn value(&mut self, name: u8) -> Result<&'a [u8], PgError> {
        if self.peek() != name {
            let found = sanitized(self.peek());
            return Err(malformed(format!(
                "Expected attribute \"{}\" but found \"{found}\".",
                char::from(name)
            )));
        }
        self.skip();
        self.after_equals(name)
    }

    /// `read_any_attr`: name and value of whatever attribute comes next.
    fn any(&mut self) -> Result<(u8, &'a [u8]), PgError> {
        let name = self.peek();
        if name == 0 {
            return Err(malformed("Attribute expected, but found end of string."));
        }
        if !name.is_ascii_alphabetic() {
            let found = sanitized(name);
            return Err(malformed(format!("Attribute expected, but found invalid character \"{found}\".")));
        }
        self.skip();
        Ok((name, self.after_equals(name)?))
    }

    fn after_equals(&mut self, name: u8) -> Result<&'a [u8], PgError> {
        if self.peek() != b'=' {
            let name = char::from(name);
            return Err(malformed(format!("Expected character \"=\" for attribute \"{name}\".")));
        }
        self.skip();
        let end = memchr::memchr(b',', self.0).unwrap_or(self.0.len());
        let (value, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(value)
    }
}

fn check_binding_type(kind: &[u8]) -> Result<(), PgError> {
    if kind == b"tls-server-end-point" {
        return Ok(());
    }
    let kind: String = kind
        .iter()
        .take(30)
        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' })
        .collect();
    let message = format!("unsupported SCRAM channel-binding type \"{kind}\"");
    Err(PgError::fatal(SqlState::PROTOCOL_VIOLATION, message))
}

/// `sanitize_char`: a character that may not be printable, for a message.
fn sanitized(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("'{}'", char::from(byte)) } else { format!("0x{byte:02x}") }
}

fn malformed(detail: impl Into<String>) -> PgError {
    PgError::fatal(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message").detail(detail)
}
