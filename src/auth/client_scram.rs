//! The client's side of a SCRAM exchange, towards a server: with keys from a client's login, or with a password.

use subtle::ConstantTimeEq;

use super::channel_binding::EndPointHash;
use super::credentials::Credentials;
use super::scram::{self, Key, NONCE_BYTES, ScramKeys};
use super::server_login::ServerLoginError;

/// One exchange, from the choice of the mechanism on.
pub(crate) struct ClientScram {
    nonce: String,
    gs2_header: &'static str,
    /// Header and binding data, in base64.
    binding: String,
    /// Expected from the server at the end; known once we have answered its challenge.
    server_signature: Option<Key>,
}

impl ClientScram {
    /// Begins an exchange; `bound` has the certificate's hash when SCRAM-SHA-256-PLUS was chosen. `able` says that we
    /// could bind: a server that offered no binding, but could, then notices whoever came between us.
    pub(crate) fn new(nonce: &[u8; NONCE_BYTES], bound: Option<&EndPointHash>, able: bool) -> Self {
        let (gs2_header, data) = match bound {
            Some(hash) => (scram::BOUND_HEADER, hash.as_bytes()),
            None if able => ("y,,", &[][..]),
            None => ("n,,", &[][..]),
        };
        let binding = scram::encode(&[gs2_header.as_bytes(), data].concat());
        ClientScram { nonce: scram::encode(nonce), gs2_header, binding, server_signature: None }
    }

    /// Returns the first message. The user is empty: servers take the startup packet's.
    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.first_bare())
    }

    fn first_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Returns the answer to the server's challenge.
    pub(crate) fn answer(
        &mut self,
        challenge: &[u8],
        user: &str,
        known: &Credentials,
    ) -> Result<String, ServerLoginError> {
        if self.server_signature.is_some() {
            return Err(ServerLoginError::Scram("a second challenge"));
        }
        let text = std::str::from_utf8(challenge).map_err(|_| ServerLoginError::Scram("not UTF-8"))?;
        let asked = Challenge::read(text)?;
        // A nonce that is only ours would let an old exchange be played again.
        if !asked.nonce.starts_with(&self.nonce) || asked.nonce.len() == self.nonce.len() {
            return Err(ServerLoginError::Scram("nonce does not continue ours"));
        }
        let keys = keys_for(&asked, user, known)?;
        let without_proof = format!("c={},r={}", self.binding, asked.nonce);
        let first_bare = self.first_bare();
        let message = [first_bare.as_bytes(), b",", challenge, b",", without_proof.as_bytes()];
        let proof = scram::xor(&keys.client_key, &scram::hmac(&keys.verifier.stored_key, &message));
        self.server_signature = Some(scram::hmac(&keys.verifier.server_key, &message));
        Ok(format!("{without_proof},p={}", scram::encode(&proof)))
    }

    /// Checks that the server holds the verifier.
    pub(crate) fn check_server(&self, message: &[u8]) -> Result<(), ServerLoginError> {
        let Some(expected) = self.server_signature else {
            return Err(ServerLoginError::NotProven);
        };
        if let Some(error) = message.strip_prefix(b"e=") {
            let shown = error.get(..error.len().min(100)).unwrap_or_default();
            return Err(ServerLoginError::Refused(String::from_utf8_lossy(shown).into_owned()));
        }
        let signature = message.strip_prefix(b"v=").ok_or(ServerLoginError::Scram("no server signature"))?;
        // Extensions may follow.
        let signature = signature.split(|byte| *byte == b',').next().unwrap_or_default();
        let signature =
            scram::decode_key(signature).ok_or(ServerLoginError::Scram("bad server signature"))?;
        if bool::from(signature.ct_eq(&expected)) { Ok(()) } else { Err(ServerLoginError::ServerSignature) }
    }
}

/// The server's first message.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> Challenge<'a> {
    fn read(text: &'a str) -> Result<Self, ServerLoginError> {
        let mut attributes = text.split(',');
        let mut value = |prefix: &str, missing| {
            let attribute = attributes.next().and_then(|attribute| attribute.strip_prefix(prefix));
            attribute.ok_or(ServerLoginError::Scram(missing))
        };
        let nonce = value("r=", "no nonce")?;
        let salt = value("s=", "no salt")?;
        let iterations = value("i=", "no iteration count")?;
        let salt = scram::decode(salt.as_bytes()).filter(|salt| !salt.is_empty());
        let salt = salt.ok_or(ServerLoginError::Scram("bad salt"))?;
        let iterations: u64 =
            iterations.parse().map_err(|_| ServerLoginError::Scram("bad iteration count"))?;
        match u32::try_from(iterations) {
            Ok(0) => Err(ServerLoginError::Scram("bad iteration count")),
            Ok(iterations) => Ok(Challenge { nonce, salt, iterations }),
            Err(_) => Err(ServerLoginError::Iterations(iterations)),
        }
    }
}

/// Finds the keys for the verifier that the server announced: those we have, if they are of the same salt, or else those
/// of the password.
fn keys_for(asked: &Challenge<'_>, user: &str, known: &Credentials) -> Result<ScramKeys, ServerLoginError> {
    let fits =
        |keys: &&ScramKeys| keys.verifier.salt == asked.salt && keys.verifier.iterations == asked.iterations;
    if let Some(keys) = known.scram.as_ref().filter(fits) {
        return Ok(keys.clone());
    }
    let Some(password) = &known.password else {
        return Err(ServerLoginError::OtherVerifier { user: user.to_owned() });
    };
    if asked.iterations > scram::MAX_ITERATIONS {
        return Err(ServerLoginError::Iterations(asked.iterations.into()));
    }
    Ok(ScramKeys::derive(password.expose(), &asked.salt, asked.iterations))
}
