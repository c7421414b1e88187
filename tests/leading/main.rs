//! Fault stories of a cluster that Bellwether leads: real servers, real etcd, real proxies.

mod command_line;
mod failover;
mod nodes;
mod operators;
mod rounds;
mod store;
mod support;
