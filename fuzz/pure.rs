//! The parts of the house that read hostile bytes, apart from all that the rest of it needs: with every check compiled in
//! the whole takes a quarter of an hour to build.
#![allow(clippy::disallowed_methods, dead_code)]

#[path = "../src/auth/mod.rs"]
pub mod auth;
#[path = "../src/pg/mod.rs"]
pub mod pg;
#[path = "../src/routing/mod.rs"]
pub mod routing;
#[path = "../src/session/mod.rs"]
pub mod session;
#[path = "../src/sql/mod.rs"]
pub mod sql;
#[path = "../src/topology/mod.rs"]
pub mod topology;
#[path = "../src/wire/mod.rs"]
pub mod wire;

/// Of the shell only what reads a client's wishes.
#[path = "../src/proxy"]
pub mod proxy {
    pub mod exercise;
    mod startup;
}
