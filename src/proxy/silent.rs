//! Nodes that fall silent without a word: whoever waits for an answer from there is told.
//!
//! A machine that freezes, or loses its network, closes no connection. Its probes are missed, and after `health.fall` of them
//! the topology gives it up; the requests it has been sent are as lost as those of a server that died.

use std::sync::Arc;

use super::state::Shared;

/// Tells the clients at every change of the topology; ends with the topology.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut changes = shared.topology.changes.clone();
    while changes.changed().await.is_ok() {
        let snapshot = shared.topology.snapshot.load_full();
        shared.clients.give_up_servers(|node| snapshot.has_fallen_silent(node));
    }
}
