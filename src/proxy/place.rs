//! Where a client's requests go: asks `routing` with what this session knows of the nodes, and counts the answer.

use std::time::Instant;

use super::client::ClientTask;
use super::freshness::Must;
use crate::pg::{SqlState, Timeline};
use crate::routing::{self, Ask, Fallback, InFlight, Need, NoNode, NoStandby, Seen, Token};
use crate::topology::{NodeId, NodeView, Snapshot};
use crate::wire::error_response::PgError;

/// Why reads went to the primary, as it is counted.
pub(super) const FALLBACKS: &[&str] = &["none_serves", "none_admitted", "out_of_reach", "stale"];

/// What a session knows of the standbys.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The standby it read on last, and since when it had it.
    pub home: Option<(NodeId, Instant)>,
    /// The one that was lost under its last read.
    pub lost: Option<NodeId>,
    /// What it wrote and saw.
    pub seen: Seen,
    /// What the standby that it read on last was known to show.
    pub shown: Option<Token>,
    /// When it last looked at other standbys than the one it reads on.
    pub considered: Option<Instant>,
}

/// Standbys that one request found out of reach.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OutOfReach(u64);

/// A node for a request, which counts it from here on.
#[derive(Debug)]
pub(super) struct Placed {
    pub node: NodeId,
    pub is_primary: bool,
    /// The timeline it is on, as far as known.
    pub timeline: Option<Timeline>,
    /// What the read must see, which the node shows.
    pub must: Must,
    /// Index in [`FALLBACKS`].
    pub fallback: Option<usize>,
    pub in_flight: InFlight,
}

impl Placed {
    /// For want of a standby that is fresh enough.
    pub(super) const STALE: usize = 3;
}

impl OutOfReach {
    /// None further is worth the time.
    pub(super) const ALL: OutOfReach = OutOfReach(u64::MAX);

    pub(super) fn add(&mut self, node: NodeId) {
        self.0 |= Self::bit(node);
    }

    pub(super) fn holds(self, node: NodeId) -> bool {
        self.0 & Self::bit(node) != 0
    }

    /// From the 64th on, nodes share a bit: then a read passes over more standbys than it must.
    fn bit(node: NodeId) -> u64 {
        1 << node.0.min(63)
    }
}

impl ClientTask {
    /// What this request knows to be out of reach before it asks.
    pub(super) fn out_of_reach(&self) -> OutOfReach {
        let mut known = OutOfReach::default();
        self.reads.lost.into_iter().for_each(|node| known.add(node));
        known
    }

    /// Chooses the node for `need`, however fresh.
    pub(super) fn place(&self, need: Need, avoid: OutOfReach, now: Instant) -> Result<Placed, NoNode> {
        self.place_if(need, avoid, self.reads.home, now, |_, _| true)
    }

    /// Chooses the node for `need` among the standbys that `admit` lets through; `home` is the one read last, unless all
    /// are to be as good.
    pub(super) fn place_if(
        &self,
        need: Need,
        avoid: OutOfReach,
        home: Option<(NodeId, Instant)>,
        now: Instant,
        admit: impl Fn(&NodeView, &Snapshot) -> bool,
    ) -> Result<Placed, NoNode> {
        let shared = &self.worker.shared;
        let snapshot = shared.snapshot();
        let ask = Ask { target: need.target, home, pick: fastrand::u64(..), now };
        let load = |node| shared.loads.load(node, now);
        let admit = |view: &NodeView| !avoid.holds(view.node.id) && admit(view, &snapshot);
        let policy = &self.settings.balance;
        let choice = routing::choose(&snapshot, ask, policy, load, admit)?;
        let fallback = match choice.fallback {
            None => None,
            Some(Fallback::NoneServes) => Some(0),
            Some(Fallback::NoneAdmitted) if avoid.0 == 0 => Some(1),
            // Those that serve by what is known of them do not: it comes to the same as if none did.
            Some(Fallback::NoneAdmitted) if policy.no_standby == NoStandby::Error => {
                return Err(NoNode::NoStandby);
            }
            Some(Fallback::NoneAdmitted) => Some(2),
        };
        Ok(Placed {
            node: choice.node,
            is_primary: snapshot.primary == Some(choice.node),
            timeline: snapshot.node(choice.node).and_then(|view| view.timeline),
            must: Must::default(),
            fallback,
            in_flight: shared.loads.begin(choice.node),
        })
    }
}

/// What a client is told whose read no standby may serve, where the operator keeps such reads off the primary.
pub(super) fn no_standby() -> PgError {
    PgError::error(SqlState::CANNOT_CONNECT_NOW, "no standby can serve this read now")
        .detail("None is up, streams from the primary and is within the limits of lag.")
        .hint(
            "Try again later, or set routing.no_standby = \"primary\" to have the primary serve such reads.",
        )
}
