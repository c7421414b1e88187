//! Fault stories of a cluster that Bellwether leads: real servers, real etcd, real proxies.

mod command_line;
mod coordinator;
mod failover;
mod lacking;
mod lag;
mod load;
mod moves;
mod network;
mod nodes;
mod operators;
mod rounds;
mod store;
mod support;
mod sync;
