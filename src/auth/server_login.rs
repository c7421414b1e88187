//! Our login to a PostgreSQL server: what to answer to its Authentication messages with what we know of the user.

use std::sync::Arc;

use super::channel_binding::EndPointHash;
use super::client_scram::ClientScram;
use super::credentials::Credentials;
use super::scram::{self, NONCE_BYTES};
use super::verifier::Md5Hash;
use crate::wire::backend::AuthenticationRequest;
use crate::wire::frame::Malformed;
use crate::wire::write;

/// Whether a login binds to the TLS channel; libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where TLS, certificate and server allow it; libpq's default.
    #[default]
    Prefer,
    /// Always, or the login fails.
    Require,
}

/// All that is known when the login begins.
#[derive(Clone, Debug)]
pub struct ServerLoginFacts {
    /// The user we log in as.
    pub user: String,
    /// What is known of its password.
    pub credentials: Arc<Credentials>,
    /// Whether to bind to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// Whether the connection is on TLS.
    pub tls: bool,
    /// The hash of the server's certificate, where it has one.
    pub end_point: Option<EndPointHash>,
    /// Our part of the SCRAM nonce, from the operating system's generator; fresh for each login.
    pub nonce: [u8; NONCE_BYTES],
}

/// What follows from a message of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerLoginStep {
    /// What was appended to `out`, if anything, is to be sent; another Authentication message comes.
    Continue,
    /// AuthenticationOk, and all we asked for has happened. The server goes on by itself.
    Done,
}

/// Why we cannot log in, apart from the server's own ErrorResponse (which is not ours to read).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerLoginError {
    /// The server wants the password itself.
    #[error(
        "server asks for a password in clear and none is known for user \"{user}\": a verifier file or a login with method \"password\" gives one"
    )]
    NoPassword {
        /// The user.
        user: String,
    },
    /// The server wants md5.
    #[error("server asks for md5 and neither password nor md5 hash is known for user \"{user}\"")]
    NoMd5 {
        /// The user.
        user: String,
    },
    /// The server wants SCRAM, and the user came in by a method that shows no SCRAM keys.
    #[error(
        "server asks for SCRAM and no password is known for user \"{user}\": log in with SCRAM or \"password\", or use a verifier file"
    )]
    NoScram {
        /// The user.
        user: String,
    },
    /// The keys we have belong to another verifier.
    #[error(
        "verifier of user \"{user}\" on this server differs from the one the client logged in with (was its password changed, and not replicated yet?)"
    )]
    OtherVerifier {
        /// The user.
        user: String,
    },
    /// The server wants something we do not speak.
    #[error("server asks for authentication of type {0}, which is not supported")]
    UnknownRequest(i32),
    /// SASL, but none of the mechanisms is SCRAM-SHA-256.
    #[error("server offers no SASL mechanism we know: {0}")]
    UnknownMechanisms(String),
    /// The server offers channel binding where there is no channel to bind to.
    #[error("server offers SCRAM-SHA-256-PLUS over a connection without TLS")]
    BindingWithoutTls,
    /// `channel_binding = require` cannot be had.
    #[error("channel binding is required: {0}")]
    BindingRequired(&'static str),
    /// More iterations than we run on a server's word.
    #[error("server asks for {0} SCRAM iterations; at most {max} are run", max = scram::MAX_ITERATIONS)]
    Iterations(u64),
    /// A SCRAM message that is not as RFC 5802 says.
    #[error("malformed SCRAM message from server: {0}")]
    Scram(&'static str),
    /// The server does not know the verifier: it is not the server it says it is.
    #[error("server signature is wrong: the server does not hold the password's verifier")]
    ServerSignature,
    /// The server refused within SASL.
    #[error("server reports a SCRAM error: {0}")]
    Refused(String),
    /// AuthenticationOk, or another request, before SCRAM was through.
    #[error("server broke off the SCRAM exchange before it had proven itself")]
    NotProven,
    /// An Authentication message that cannot be read, or is not expected now.
    #[error("unexpected authentication message from server: {0}")]
    Protocol(&'static str),
}

impl From<Malformed> for ServerLoginError {
    fn from(_: Malformed) -> Self {
        ServerLoginError::Protocol("malformed")
    }
}

/// One login, from the first Authentication message to AuthenticationOk.
pub struct ServerLogin {
    facts: ServerLoginFacts,
    state: State,
}

enum State {
    /// Nothing was asked yet.
    Begun,
    /// A password or its md5 was sent.
    Answered,
    /// A SCRAM exchange is under way.
    Scram { exchange: ClientScram, bound: bool },
    /// The server has proven that it holds the verifier.
    Proven { bound: bool },
}

impl ServerLogin {
    /// Prepares a login; the startup packet is the caller's to send.
    pub fn new(facts: ServerLoginFacts) -> Self {
        ServerLogin { facts, state: State::Begun }
    }

    /// Takes the body of an Authentication message and appends the answer to `out`.
    ///
    /// After an error the connection is to be closed. PBKDF2 runs here when a password is known but no keys of this
    /// server's verifier: about 1 ms for 4096 iterations.
    pub fn handle(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<ServerLoginStep, ServerLoginError> {
        let request = AuthenticationRequest::read(body)?;
        if request == AuthenticationRequest::Ok {
            return self.check_done();
        }
        match (std::mem::replace(&mut self.state, State::Answered), request) {
            (State::Begun, AuthenticationRequest::Cleartext) => self.cleartext(out)?,
            (State::Begun, AuthenticationRequest::Md5 { salt }) => self.md5(salt, out)?,
            (State::Begun, AuthenticationRequest::Sasl(offered)) => self.state = self.sasl(&offered, out)?,
            (State::Begun, AuthenticationRequest::Other(kind)) => {
                return Err(ServerLoginError::UnknownRequest(kind));
            }
            (State::Scram { mut exchange, bound }, AuthenticationRequest::SaslContinue(message)) => {
                let answer = exchange.answer(message, &self.facts.user, &self.facts.credentials)?;
                write::password(out, answer.as_bytes());
                self.state = State::Scram { exchange, bound };
            }
            (State::Scram { exchange, bound }, AuthenticationRequest::SaslFinal(message)) => {
                exchange.check_server(message)?;
                self.state = State::Proven { bound };
            }
            (State::Scram { .. }, _) => return Err(ServerLoginError::NotProven),
            _ => return Err(ServerLoginError::Protocol("a second request, or out of order")),
        }
        Ok(ServerLoginStep::Continue)
    }

    fn check_done(&self) -> Result<ServerLoginStep, ServerLoginError> {
        if matches!(self.state, State::Scram { .. }) {
            return Err(ServerLoginError::NotProven);
        }
        let bound = matches!(self.state, State::Proven { bound: true });
        if self.facts.channel_binding == ChannelBinding::Require && !bound {
            return Err(ServerLoginError::BindingRequired(
                "the server authenticated us without channel binding",
            ));
        }
        Ok(ServerLoginStep::Done)
    }

    fn cleartext(&self, out: &mut Vec<u8>) -> Result<(), ServerLoginError> {
        self.refuse_unbound()?;
        let Some(password) = &self.facts.credentials.password else {
            return Err(ServerLoginError::NoPassword { user: self.facts.user.clone() });
        };
        write::password(out, &[password.expose(), b"\0"].concat());
        Ok(())
    }

    fn md5(&self, salt: [u8; 4], out: &mut Vec<u8>) -> Result<(), ServerLoginError> {
        self.refuse_unbound()?;
        let known = &self.facts.credentials;
        let from_password = || Some(Md5Hash::of(known.password.as_ref()?.expose(), &self.facts.user));
        let Some(hash) = known.md5.clone().or_else(from_password) else {
            return Err(ServerLoginError::NoMd5 { user: self.facts.user.clone() });
        };
        write::password(out, &[&hash.response(salt)[..], b"\0"].concat());
        Ok(())
    }

    /// Before a password goes out: with `require` only SCRAM-SHA-256-PLUS will do.
    fn refuse_unbound(&self) -> Result<(), ServerLoginError> {
        match self.facts.channel_binding {
            ChannelBinding::Require => {
                Err(ServerLoginError::BindingRequired("the server does not use SCRAM"))
            }
            _ => Ok(()),
        }
    }

    fn sasl(&self, offered: &[&[u8]], out: &mut Vec<u8>) -> Result<State, ServerLoginError> {
        let offers = |name: &str| offered.contains(&name.as_bytes());
        let (plus, plain) = (offers(scram::SCRAM_SHA_256_PLUS), offers(scram::SCRAM_SHA_256));
        if plus && !self.facts.tls {
            return Err(ServerLoginError::BindingWithoutTls);
        }
        if !plus && !plain {
            let names: Vec<_> = offered.iter().map(|name| String::from_utf8_lossy(name)).collect();
            return Err(ServerLoginError::UnknownMechanisms(names.join(", ")));
        }
        let wish = self.facts.channel_binding;
        let able =
            self.facts.end_point.as_ref().filter(|_| self.facts.tls && wish != ChannelBinding::Disable);
        let bound = able.filter(|_| plus);
        if wish == ChannelBinding::Require && bound.is_none() {
            return Err(ServerLoginError::BindingRequired(match (self.facts.tls, plus) {
                (false, _) => "the connection is not on TLS",
                (true, false) => "the server does not offer it",
                (true, true) => "the server's certificate has no hash to bind to",
            }));
        }
        if bound.is_none() && !plain {
            return Err(ServerLoginError::UnknownMechanisms(scram::SCRAM_SHA_256_PLUS.to_owned()));
        }
        if self.facts.credentials.scram.is_none() && self.facts.credentials.password.is_none() {
            return Err(ServerLoginError::NoScram { user: self.facts.user.clone() });
        }
        let exchange = ClientScram::new(&self.facts.nonce, bound, able.is_some());
        let mechanism = if bound.is_some() { scram::SCRAM_SHA_256_PLUS } else { scram::SCRAM_SHA_256 };
        write::sasl_initial(out, mechanism, exchange.first().as_bytes());
        Ok(State::Scram { exchange, bound: bound.is_some() })
    }
}

#[cfg(test)]
mod tests;
