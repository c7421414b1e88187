//! The frontend/backend protocol, version 3: frames, messages of both directions, error fields.
//!
//! Source of the rules: <https://www.postgresql.org/docs/current/protocol.html>. Every reader here takes bytes
//! from the network: lengths are checked before use, nothing panics, nothing allocates by a length it was told.
//!
//! Absent on purpose: sockets and state. What a message means for a session is decided in `session`.
#![deny(clippy::disallowed_methods)]

pub mod backend;
pub mod error_response;
#[doc(hidden)]
pub mod exercise;
pub mod frame;
pub mod frontend;
pub mod startup;
pub mod write;
