//! End to end: real servers from the lab, the real proxy, real clients.
//!
//! Every test starts its own cluster (about half a second) and takes it down again. What is missing on the
//! machine is an error that says how to install it; nothing is skipped.

mod balance;
mod bulk;
mod cancel;
mod catalog;
mod catalog_changes;
mod corpus;
mod counting;
mod demo;
mod demo_keys;
mod drivers;
mod encryption;
mod endpoints;
mod failures;
mod freshness;
mod healing;
mod leaks;
mod logins;
mod malformed;
mod oracle;
mod process;
mod programs;
mod psql;
mod raw;
mod raw_protocol;
mod read_only;
mod replication;
mod routing;
mod rust_driver;
mod schema_changes;
mod sessions;
mod siege;
mod sizes;
mod story;
mod support;
