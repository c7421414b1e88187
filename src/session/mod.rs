//! One client's protocol machine: pipeline, transaction, prepared statements, settings, pins.
//!
//! Absent on purpose: sockets and clocks. The machine is shown the bytes of both sides and says what to write
//! where, when it needs a server, and when it can give one back.
#![deny(clippy::disallowed_methods)]

mod server;

pub use server::ServerState;
