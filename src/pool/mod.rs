//! Server connections by node, database and user.
