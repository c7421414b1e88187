//! The data plane: listener, handshake, client relay, cancel.
pub mod tls;
