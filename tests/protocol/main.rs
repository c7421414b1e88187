//! Scripted frontends and backends around the session machine, over in-memory streams.
//!
//! Each script runs with its bytes whole, one at a time, cut at random, and with notices between all answers, and
//! must come out the same.

#![allow(dead_code)]

mod bereft;
mod copy;
mod endpoint;
mod extended;
mod fake;
mod heal;
mod large;
mod lost;
mod malformed;
mod messages;
mod own;
mod pins;
mod prepared;
mod random;
mod read_only;
mod routing;
mod settings;
mod simple;
mod types;
mod world;
