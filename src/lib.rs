//! Bellwether: a leader/follower proxy for PostgreSQL.
//!
//! One endpoint for a primary and its standbys. The modules below stand in layer order; imports point
//! down only (`tests/architecture.rs` holds the table). Everything above the line is pure: no socket, no
//! clock, no task, no randomness, no logging. A pure group is given events and `now`, and returns actions.
#![warn(missing_docs)]
// The pure groups turn this on again in their `mod.rs`.
#![allow(clippy::disallowed_methods)]

#[rustfmt::skip]
pub mod pg;
pub mod auth;
pub mod cluster;
pub mod routing;
pub mod session;
pub mod sql;
pub mod topology;
pub mod wire;
// ---- everything above is pure ----
pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod lab;
pub mod pool;
pub mod proxy;
pub mod store;
pub mod telemetry;
