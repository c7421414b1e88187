//! Server connections by node, database and user.
pub mod tls;
