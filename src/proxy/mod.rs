//! The data plane: listener, handshake, client relay, cancel.
