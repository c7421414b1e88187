//! Authentication: SCRAM and md5 in both roles, verifiers, credentials to log in onward with, host rules, and
//! what TLS contributes to a login (channel binding, the client's certificate).
//!
//! Sources of the rules: RFC 5802, 7677 and 5929; `auth.c`, `auth-scram.c`, `crypt.c` and `hba.c` of PostgreSQL, whose
//! texts and codes a client sees from us in the same cases. Everything here reads hostile bytes: lengths are
//! checked before use, nothing panics, nothing allocates by a length it was told.
//!
//! Absent on purpose: sockets, files, clocks and randomness. Nonces, salts and the contents of files are given.
#![deny(clippy::disallowed_methods)]

mod certificate;
pub(crate) mod certificate_v1;
mod channel_binding;
mod client_login;
mod client_scram;
mod credentials;
pub mod exercise;
mod host_rule_parse;
mod host_rules;
mod scram;
mod server_login;
mod server_scram;
mod verifier;
mod verifier_file;

pub use certificate::{ClientCertificate, names_host_by_common_name};
pub use certificate_v1::{CertificateKey, CertificateV1, RootCertificate};
pub use channel_binding::EndPointHash;
pub use client_login::{ClientLogin, LoginFacts, LoginRandom, LoginStep, Proof};
pub use credentials::{CredentialCell, Credentials, Secret};
pub use host_rule_parse::HostRuleError;
pub use host_rules::{ClientCert, ConnectionFacts, HostRule, HostRules, Method};
pub use scram::{NONCE_BYTES, ScramKeys, ScramVerifier};
pub use server_login::{ChannelBinding, ServerLogin, ServerLoginError, ServerLoginFacts, ServerLoginStep};
pub use verifier::{Md5Hash, Verifier};
pub use verifier_file::{VerifierFile, VerifierFileError};
