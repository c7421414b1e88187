//! Chooses the node: of two random standbys the better one, and the primary where no standby will do.
//!
//! Standbys are drawn at random, each as often as its weight says; the first one drawn stands unless the second is
//! clearly better by requests in flight and latency. At rest the shares are those of the weights, under load no
//! standby waits while another is idle, and no two proxies have to agree on anything.
//!
//! | Of the standbys that serve reads and are admitted | Chosen |
//! |---|---|
//! | some are in the proxy's zone | among these, as below; else among all |
//! | the session's home is one | home, unless another drawn is [`CLEARLY`] better |
//! | two or more | the first drawn, unless the second is [`CLEARLY`] better |
//! | none is admitted | the primary; whether it may, the caller decides |
//! | none serves reads | the primary, or nothing, as the policy says |

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Load, Target};
use crate::topology::{NodeId, NodeView, Snapshot};

/// What the operator says about the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a standby's share grows after it came back to others that were serving. 10 s: caches fill again.
    pub slow_start: Duration,
    /// Where this proxy stands; standbys of the same zone go first. `None`: zones do not matter.
    pub zone: Option<Arc<str>>,
    /// What becomes of a read while no standby serves reads.
    pub no_standby: NoStandby,
}

/// What becomes of a read while no standby serves reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoStandby {
    /// The primary serves it.
    #[default]
    Primary,
    /// It fails.
    Error,
}

/// A request for a node.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Which kind of node.
    pub target: Target,
    /// The standby this session read on last: kept as long as it is about as good as others, because a session that
    /// changes standbys must make sure that it does not step back in time.
    pub home: Option<NodeId>,
    /// 64 random bits.
    pub pick: u64,
    /// The present.
    pub now: Instant,
}

/// The node chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which one.
    pub node: NodeId,
    /// Set when it is the primary for want of a standby.
    pub fallback: Option<Fallback>,
}

/// Why a read goes to the primary although it might have run on a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// No standby takes reads.
    NoneServes,
    /// Some take reads, and the caller admits none of them.
    NoneAdmitted,
}

/// There is no node to serve the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// It needs the primary.
    #[error("no primary is known")]
    NoPrimary,
    /// It needs a standby, because the policy keeps such reads off the primary.
    #[error("no standby serves the read")]
    NoStandby,
}

/// How many times better another standby must be. Below this the difference is noise: following it would spoil the
/// shares, and have sessions change their standby all the time.
const CLEARLY: f32 = 1.5;

/// One read in so many is placed as if its session had no home: so that long sessions, too, come to the shares the
/// weights say, and to a standby that is back.
const REPLACE_ONE_IN: u64 = 32;

/// The least part of its share that a standby gets after its return, in thousandths.
const LEAST_RAMP: u64 = 100;

impl Default for Policy {
    fn default() -> Self {
        Policy { slow_start: Duration::from_secs(10), zone: None, no_standby: NoStandby::Primary }
    }
}

/// Chooses a node for `ask`. `load` tells how busy each one is; standbys that `admit` refuses are passed over (it may
/// be asked several times about one). Allocates nothing.
pub fn choose(
    snapshot: &Snapshot,
    ask: Ask,
    policy: &Policy,
    load: impl Fn(NodeId) -> Load,
    admit: impl Fn(&NodeView) -> bool,
) -> Result<Choice, NoNode> {
    let primary = |fallback| {
        let choice = snapshot.primary.map(|node| Choice { node, fallback });
        choice.ok_or(NoNode::NoPrimary)
    };
    if ask.target == Target::Primary {
        return primary(None);
    }
    let share = |view: &NodeView| share(view, policy.slow_start, ask.now);
    let admitted = || snapshot.readable_standbys().filter(|view| share(view) > 0 && admit(view));
    let is_near = |view: &NodeView| policy.zone.is_some() && view.node.zone == policy.zone;
    let near_only = admitted().any(is_near);
    let candidates = || admitted().filter(|view| !near_only || is_near(view)).map(|view| (view, share(view)));

    // Three numbers from one: 26 bits for each draw, the rest for the odds of leaving home.
    let (first, second, odds) = (ask.pick & LOW_BITS, (ask.pick >> 26) & LOW_BITS, ask.pick >> 52);
    let home = candidates().find(|(view, _)| ask.home == Some(view.node.id) && odds % REPLACE_ONE_IN != 0);
    let Some(chosen) = home.or_else(|| draw(candidates(), first)) else {
        if snapshot.readable_standbys().next().is_some() {
            return primary(Some(Fallback::NoneAdmitted));
        }
        // While nothing was ever seen of the cluster, there is something to wait for.
        return match policy.no_standby {
            NoStandby::Error if snapshot.term > 0 => Err(NoNode::NoStandby),
            _ => primary(Some(Fallback::NoneServes)),
        };
    };
    let others = candidates().filter(|(view, _)| view.node.id != chosen.0.node.id);
    let node = match draw(others, second) {
        Some(other) if is_better(other, chosen, load) => other.0.node.id,
        _ => chosen.0.node.id,
    };
    Ok(Choice { node, fallback: None })
}

const LOW_BITS: u64 = (1 << 26) - 1;

/// A standby and its share.
type Candidate<'a> = (&'a NodeView, u64);

/// Takes one, each as likely as its share says; `random` has 26 bits.
fn draw<'a>(candidates: impl Iterator<Item = Candidate<'a>> + Clone, random: u64) -> Option<Candidate<'a>> {
    // At most 2^16 nodes of 10^6 each: the product fits.
    let total: u64 = candidates.clone().map(|(_, share)| share).sum();
    let mut place = (total * random) >> 26;
    for candidate in candidates {
        if place < candidate.1 {
            return Some(candidate);
        }
        place -= candidate.1;
    }
    None
}

/// The standby's part of the reads relative to others: its weight in thousandths, less while it has just come back.
fn share(view: &NodeView, slow_start: Duration, now: Instant) -> u64 {
    let ramp = match view.back_since {
        Some(since) => {
            let elapsed = now.saturating_duration_since(since).as_secs_f64();
            // Without a slow start 0 / 0 is no number, and min makes 1 of it.
            ((elapsed / slow_start.as_secs_f64()).min(1.0) * 1000.0).max(LEAST_RAMP as f64) as u64
        }
        None => 1000,
    };
    u64::from(view.node.weight) * ramp
}

/// Whether one more request would fare [`CLEARLY`] better at `other`: by the requests there already, in relation
/// to the shares, times the latency where both are known.
fn is_better(other: Candidate, chosen: Candidate, load: impl Fn(NodeId) -> Load) -> bool {
    let (there, here) = (load(other.0.node.id), load(chosen.0.node.id));
    let largest = other.1.max(chosen.1) as f32;
    let queue = |load: Load, share: u64| 1.0 + load.in_flight as f32 * (largest / share as f32);
    let (mut worse, mut better) = (queue(here, chosen.1), queue(there, other.1));
    if let (Some(here), Some(there)) = (here.latency, there.latency) {
        (worse, better) = (worse * here, better * there);
    }
    better * CLEARLY < worse
}

#[cfg(test)]
mod tests;
