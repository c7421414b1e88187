//! The login of one client: what to ask for, and whether the answers do. Rules and words are those of `auth.c`.

use subtle::ConstantTimeEq;

use super::certificate::ClientCertificate;
use super::channel_binding::EndPointHash;
use super::credentials::Credentials;
use super::host_rules::{ClientCert, Method};
use super::scram::{self, NONCE_BYTES, ScramVerifier};
use super::server_scram::{self, Exchange, ServerScram};
use super::verifier::{Md5Hash, Verifier};
use crate::pg::SqlState;
use crate::wire::error_response::PgError;
use crate::wire::frame::{Body, Malformed};
use crate::wire::frontend::tag::PASSWORD;
use crate::wire::write;

/// All that is known when a login begins.
#[derive(Clone, Debug)]
pub struct LoginFacts {
    /// The user named in the startup packet.
    pub user: String,
    /// How the host rules want it (see [`super::HostRules::decide`]).
    pub method: Method,
    /// Whether the rule wants a certificate besides.
    pub client_cert: ClientCert,
    /// What the password is checked against. `None` for a user that does not exist, has no password, or whose password
    /// has expired (`rolvaliduntil` is past): all three look alike to the client, as with PostgreSQL.
    pub verifier: Option<Verifier>,
    /// The hash of **our** certificate, when the client is on TLS and the certificate has one: channel binding is then
    /// offered.
    pub end_point: Option<EndPointHash>,
    /// The client's certificate, if it showed one in the TLS handshake.
    pub certificate: Option<ClientCertificate>,
}

/// The randomness of one login, from the operating system's generator.
#[derive(Clone)]
pub struct LoginRandom {
    /// Our part of the SCRAM nonce; fresh for each login.
    pub nonce: [u8; NONCE_BYTES],
    /// The salt of md5; fresh for each login.
    pub md5_salt: [u8; 4],
    /// Made once when the process starts: salts for users that do not exist stay the same by it.
    pub mock_secret: [u8; 32],
}

/// What follows from a step.
#[derive(Debug)]
pub enum LoginStep {
    /// What was appended to `out` waits for the client's answer.
    Continue,
    /// The user is who it says. AuthenticationOk is the caller's to write, after what was appended to `out`.
    Done(Proof),
}

/// A login that has succeeded.
#[derive(Debug)]
pub struct Proof {
    /// What it lets us log in to servers with; empty after `trust` and `cert`, unless a verifier file knows more.
    pub credentials: Credentials,
}

/// The login of one client, from the startup packet to AuthenticationOk.
pub struct ClientLogin {
    facts: LoginFacts,
    random: LoginRandom,
    state: State,
}

enum State {
    Begun,
    Cleartext,
    Md5,
    SaslOffered,
    Scram(Box<ServerScram>),
    Finished,
}

impl ClientLogin {
    /// Longest password taken (`PG_MAX_AUTH_TOKEN_LENGTH`).
    const MAX_PASSWORD: usize = 65_535;
    /// Longest SASL message taken (`PG_MAX_SASL_MESSAGE_LENGTH`).
    const MAX_SASL: usize = 1024;

    /// Prepares a login; [`ClientLogin::begin`] comes next.
    pub fn new(facts: LoginFacts, random: LoginRandom) -> Self {
        ClientLogin { facts, random, state: State::Begun }
    }

    /// Appends the first request to `out`, or finishes at once.
    ///
    /// An error is to be sent, and the connection closed.
    pub fn begin(&mut self, out: &mut Vec<u8>) -> Result<LoginStep, PgError> {
        let wants_certificate =
            self.facts.client_cert != ClientCert::Off || self.facts.method == Method::Cert;
        if wants_certificate && self.facts.certificate.is_none() {
            let message = "connection requires a valid client certificate";
            return Err(PgError::fatal(SqlState::INVALID_AUTHORIZATION, message));
        }
        let hashed = matches!(self.facts.verifier, Some(Verifier::Md5(_) | Verifier::Plain(_)));
        self.state = match self.facts.method {
            Method::Trust | Method::Cert => {
                let known = self.facts.verifier.as_ref().map(Verifier::credentials).unwrap_or_default();
                return self.finish(known);
            }
            Method::Reject => return Err(self.failed()),
            Method::Password => {
                write::authentication_cleartext(out);
                State::Cleartext
            }
            // With a SCRAM verifier, or with none, `md5` means SCRAM (`CheckPWChallengeAuth`).
            Method::Md5 if hashed => {
                write::authentication_md5(out, self.random.md5_salt);
                State::Md5
            }
            Method::Md5 | Method::Scram => {
                let plus = self.facts.end_point.as_ref().map(|_| scram::SCRAM_SHA_256_PLUS);
                let mechanisms: Vec<&str> = plus.into_iter().chain([scram::SCRAM_SHA_256]).collect();
                write::authentication_sasl(out, &mechanisms);
                State::SaslOffered
            }
        };
        Ok(LoginStep::Continue)
    }

    /// Takes the client's next message and appends the answer to `out`.
    ///
    /// An error is to be sent, and the connection closed. A verifier that was derived from a plain password, or a
    /// password checked against a SCRAM verifier, costs about 1 ms here.
    pub fn handle(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<LoginStep, PgError> {
        self.check_head(tag, body.len())?;
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Cleartext => self.cleartext(password(body)?),
            State::Md5 => self.md5(password(body)?),
            State::SaslOffered => self.sasl_initial(body, out),
            State::Scram(exchange) => self.scram(exchange, body, out),
            State::Begun | State::Finished => {
                Err(violation(format!("expected no authentication response, got message type {tag}")))
            }
        }
    }

    /// Returns the longest body the next message may have; a longer one need not be read.
    pub fn max_body(&self) -> usize {
        match self.state {
            State::Cleartext | State::Md5 => Self::MAX_PASSWORD,
            _ => Self::MAX_SASL,
        }
    }

    fn check_head(&self, tag: u8, length: usize) -> Result<(), PgError> {
        let kind = match self.state {
            State::Cleartext | State::Md5 => "password",
            _ => "SASL",
        };
        if tag != PASSWORD {
            return Err(violation(format!("expected {kind} response, got message type {tag}")));
        }
        if length > self.max_body() {
            return Err(violation("invalid message length"));
        }
        Ok(())
    }

    fn cleartext(&mut self, given: &[u8]) -> Result<LoginStep, PgError> {
        let mut proven = Credentials::from_password(given);
        let right = match &self.facts.verifier {
            Some(Verifier::Plain(known)) => known.expose().ct_eq(given).into(),
            Some(Verifier::Md5(known)) => {
                let hash = Md5Hash::of(given, &self.facts.user);
                bool::from(hash.response([0; 4]).ct_eq(&known.response([0; 4])))
            }
            Some(Verifier::Scram(known)) => {
                proven.scram = known.check_password(given);
                proven.scram.is_some()
            }
            None => false,
        };
        if right { self.finish(proven) } else { Err(self.failed()) }
    }

    fn md5(&mut self, given: &[u8]) -> Result<LoginStep, PgError> {
        let known = match &self.facts.verifier {
            Some(Verifier::Md5(hash)) => hash.clone(),
            Some(Verifier::Plain(password)) => Md5Hash::of(password.expose(), &self.facts.user),
            Some(Verifier::Scram(_)) | None => return Err(self.failed()),
        };
        if bool::from(known.response(self.random.md5_salt).ct_eq(given)) {
            let known = self.facts.verifier.as_ref().map(Verifier::credentials).unwrap_or_default();
            return self.finish(known);
        }
        Err(self.failed())
    }

    /// SASLInitialResponse: the mechanism, and usually its first message.
    fn sasl_initial(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<LoginStep, PgError> {
        let mut body = Body::new(body);
        let mechanism = body.cstr().map_err(malformed)?;
        let exchange = self.begin_exchange(mechanism)?;
        let length = body.i32().map_err(malformed)?;
        if length == -1 {
            body.end().map_err(malformed)?;
            // No message came along: an empty challenge asks for it.
            write::authentication_sasl_continue(out, b"");
            self.state = State::Scram(exchange);
            return Ok(LoginStep::Continue);
        }
        let length = usize::try_from(length).map_err(|_| malformed(Malformed::Short))?;
        let message = body.bytes(length).map_err(malformed)?;
        body.end().map_err(malformed)?;
        self.scram(exchange, message, out)
    }

    fn begin_exchange(&self, mechanism: &[u8]) -> Result<Box<ServerScram>, PgError> {
        let end_point = &self.facts.end_point;
        let bound = match (mechanism, end_point) {
            (b"SCRAM-SHA-256-PLUS", Some(hash)) => Some(hash.clone()),
            (b"SCRAM-SHA-256", _) => None,
            _ => return Err(violation("client selected an invalid SASL authentication mechanism")),
        };
        let (user, nonce) = (&self.facts.user, &self.random.nonce);
        let mock = server_scram::mock_verifier(user, &self.random.mock_secret);
        let exchange = |verifier| ServerScram::new(verifier, bound, end_point.is_some(), nonce);
        Ok(Box::new(match &self.facts.verifier {
            Some(Verifier::Scram(verifier)) => exchange(verifier.clone()),
            Some(Verifier::Plain(password)) => {
                exchange(ScramVerifier::derive(password.expose(), &mock.salt, mock.iterations))
            }
            Some(Verifier::Md5(_)) | None => exchange(mock).doomed(),
        }))
    }

    fn scram(
        &mut self,
        mut exchange: Box<ServerScram>,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<LoginStep, PgError> {
        match exchange.step(message)? {
            Exchange::Challenge(challenge) => {
                write::authentication_sasl_continue(out, challenge.as_bytes());
                self.state = State::Scram(exchange);
                Ok(LoginStep::Continue)
            }
            Exchange::Proven { server_final, keys } => {
                write::authentication_sasl_final(out, server_final.as_bytes());
                let known = self.facts.verifier.as_ref().map(Verifier::credentials).unwrap_or_default();
                self.finish(Credentials { scram: Some(keys), ..known })
            }
            Exchange::Refused => Err(self.failed()),
        }
    }

    /// The method is content; what is left is the name in the certificate, where the rule wants it.
    fn finish(&mut self, credentials: Credentials) -> Result<LoginStep, PgError> {
        self.state = State::Finished;
        let named = self.facts.client_cert == ClientCert::VerifyFull || self.facts.method == Method::Cert;
        let name = self.facts.certificate.as_ref().and_then(|certificate| certificate.common_name.as_ref());
        if named && name != Some(&self.facts.user) {
            return Err(self.failed());
        }
        Ok(LoginStep::Done(Proof { credentials }))
    }

    /// `auth_failed`: never says why.
    fn failed(&self) -> PgError {
        let user = &self.facts.user;
        let refused = |text: String| PgError::fatal(SqlState::INVALID_AUTHORIZATION, text);
        match self.facts.method {
            Method::Password | Method::Md5 | Method::Scram => {
                let message = format!("password authentication failed for user \"{user}\"");
                PgError::fatal(SqlState::INVALID_PASSWORD, message)
            }
            Method::Cert => refused(format!("certificate authentication failed for user \"{user}\"")),
            Method::Trust => refused(format!("\"trust\" authentication failed for user \"{user}\"")),
            Method::Reject => refused(format!("authentication failed for user \"{user}\": host rejected")),
        }
    }
}

/// Reads PasswordMessage (`recv_password_packet`).
fn password(body: &[u8]) -> Result<&[u8], PgError> {
    match body.split_last() {
        Some((0, [])) => Err(PgError::fatal(SqlState::INVALID_PASSWORD, "empty password returned by client")),
        Some((0, text)) if !text.contains(&0) => Ok(text),
        _ => Err(violation("invalid password packet size")),
    }
}

fn malformed(error: Malformed) -> PgError {
    violation(error.to_string())
}

fn violation(message: impl Into<String>) -> PgError {
    PgError::fatal(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests;
