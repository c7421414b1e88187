//! One node's workers: a task that asks it, and a task that commands it, each one thing after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::aside::Aside;
use super::hand::{self, Hand};
use super::prober::Prober;
use super::{Reach, target};
use crate::cluster::decide::Event;
use crate::cluster::{CallId, Order};
use crate::topology::NodeName;

/// The two queues of a node at an address. The workers end with the set they were spawned on.
pub(super) struct Workers {
    probes: mpsc::UnboundedSender<(CallId, Duration)>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Workers {
    /// Starts the workers for the node called `name` at `address`; what comes of their work is sent to `events`.
    pub(super) fn start(
        name: &NodeName,
        address: &str,
        reach: &Arc<Reach>,
        events: &mpsc::UnboundedSender<Event>,
        tasks: &mut JoinSet<()>,
    ) -> Workers {
        let node = target::node(name, address);
        // The core has one probe and a few orders under way for a node, so these queues are short.
        let (probes, asked) = mpsc::unbounded_channel();
        let (orders, given) = mpsc::unbounded_channel();
        let aside = Aside::new(node.clone(), reach.clone());
        tasks.spawn(probe(Prober::new(node.clone(), reach.clone(), aside.clone()), asked, events.clone()));
        tasks.spawn(obey(Hand::new(node, reach.clone()), aside, reach.clone(), given, events.clone()));
        Workers { probes, orders }
    }

    /// Has the node asked once.
    pub(super) fn probe(&self, call: CallId, within: Duration) {
        // A worker that ended took the whole set with it.
        let _ = self.probes.send((call, within));
    }

    /// Has an order carried out after those given before.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

async fn probe(
    mut prober: Prober,
    mut asked: mpsc::UnboundedReceiver<(CallId, Duration)>,
    events: mpsc::UnboundedSender<Event>,
) {
    while let Some((call, within)) = asked.recv().await {
        let report = prober.ask(within).await;
        let _ = events.send(Event::Probed { call, report });
    }
}

async fn obey(
    mut hand: Hand,
    aside: Aside,
    reach: Arc<Reach>,
    mut given: mpsc::UnboundedReceiver<Order>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut beside = JoinSet::new();
    while let Some(order) = given.recv().await {
        while beside.try_join_next().is_some() {}
        let call = order.call;
        if hand::needs_no_owner(&order) {
            let (aside, events) = (aside.clone(), events.clone());
            beside.spawn(async move {
                let done = aside.checkpoint().await;
                let _ = events.send(Event::NodeDone { call, done });
            });
            continue;
        }
        reach.failpoint.pass("before", &order.command);
        let done = hand.carry_out(&order).await;
        reach.failpoint.pass("after", &order.command);
        tracing::debug!(node = %order.node, epoch = order.epoch, command = ?order.command, ?done, "order");
        let _ = events.send(Event::NodeDone { call, done });
    }
}
