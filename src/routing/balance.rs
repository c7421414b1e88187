//! Chooses the node: of two random standbys the better one, and the primary where no standby will do.
//!
//! Standbys are drawn at random, each as often as its weight says; the first one drawn stands unless the second is
//! clearly better by requests in flight and latency. At rest the shares are those of the weights, under load no
//! standby waits while another is idle, and no two proxies have to agree on anything.
//!
//! | Of the standbys that serve reads and are admitted | Chosen |
//! |---|---|
//! | some are in the proxy's zone | among these, as below; else among all |
//! | the session's home is one, and was not away since | home, unless another drawn is [`CLEARLY`] better |
//! | two or more | the first drawn, unless the second is [`CLEARLY`] better |
//! | one of them has just come back | as often as its share says, and never for being better: it is idle, and was empty |
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
    /// The standby this session read on last, and when: kept as long as it is about as good as others, because a session
    /// that changes standbys must make sure that it does not step back in time.
    pub home: Option<(NodeId, Instant)>,
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

/// The whole of a share, in thousandths.
const FULL: u64 = 1000;

/// The least part of its share that a standby gets after its return, in thousandths.
const LEAST_RAMP: u64 = 100;

impl Default for Policy {
    fn default() -> Self {
        Policy { slow_start: Duration::from_secs(10), zone: None, no_standby: NoStandby::Primary }
    }
}

/// Chooses a node for `ask`. `load` tells how busy each one is; standbys that `admit` refuses are passed over. Allocates
/// nothing.
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
    // The candidates are gone through several times, and each is asked about once.
    let may = |view: &NodeView| view.node.weight > 0 && admit(view);
    let standbys = || snapshot.readable_standbys().enumerate();
    let noted =
        standbys().take(NOTED).fold(0u64, |noted, (place, view)| noted | u64::from(may(view)) << place);
    let is_admitted = |(place, view): (usize, &'_ NodeView)| {
        if place < NOTED { noted >> place & 1 == 1 } else { may(view) }
    };
    let admitted = || standbys().filter(|standby| is_admitted(*standby)).map(|(_, view)| view);
    let is_near = |view: &NodeView| policy.zone.is_some() && view.node.zone == policy.zone;
    let near_only = admitted().any(is_near);
    let near = || admitted().filter(|view| !near_only || is_near(view));
    let candidates = || near().map(|view| Candidate { view, ramp: ramp(view, policy.slow_start, ask.now) });

    // Three numbers from one: 26 bits for each draw, the rest for the odds of leaving home.
    let (first, second, odds) = (ask.pick & LOW_BITS, (ask.pick >> 26) & LOW_BITS, ask.pick >> 52);
    // Of all sessions that read on one before it went away, only its share goes on there.
    let is_home = |view: &NodeView| {
        let there = ask.home.filter(|(node, _)| *node == view.node.id);
        there.is_some_and(|(_, read_at)| view.back_since.is_none_or(|back| back <= read_at))
    };
    let home = candidates().find(|one| odds % REPLACE_ONE_IN != 0 && is_home(one.view));
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
    let others = candidates().filter(|other| other.view.node.id != chosen.view.node.id);
    let node = match draw(others, second) {
        Some(other) if is_better(other, chosen, load) => other.view.node.id,
        _ => chosen.view.node.id,
    };
    Ok(Choice { node, fallback: None })
}

const LOW_BITS: u64 = (1 << 26) - 1;

/// So many of the standbys have a bit that tells whether they are admitted.
const NOTED: usize = 64;

/// A standby that may be chosen.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    view: &'a NodeView,
    /// How much of its share it gets, in thousandths.
    ramp: u64,
}

impl Candidate<'_> {
    /// Its part of the reads relative to others.
    fn share(&self) -> u64 {
        u64::from(self.view.node.weight) * self.ramp
    }
}

/// Takes one, each as likely as its share says; `random` has 26 bits.
fn draw<'a>(candidates: impl Iterator<Item = Candidate<'a>> + Clone, random: u64) -> Option<Candidate<'a>> {
    // At most 2^16 nodes of 10^6 each: the product fits.
    let total: u64 = candidates.clone().map(|one| one.share()).sum();
    let mut place = (total * random) >> 26;
    for candidate in candidates {
        if place < candidate.share() {
            return Some(candidate);
        }
        place -= candidate.share();
    }
    None
}

/// How much of its share a standby gets, in thousandths: less while it has just come back.
fn ramp(view: &NodeView, slow_start: Duration, now: Instant) -> u64 {
    let Some(since) = view.back_since else { return FULL };
    let elapsed = now.saturating_duration_since(since).as_secs_f64();
    // Without a slow start 0 / 0 is no number, and min makes 1 of it.
    ((elapsed / slow_start.as_secs_f64()).min(1.0) * FULL as f64).max(LEAST_RAMP as f64) as u64
}

/// Whether one more request would fare [`CLEARLY`] better at `other`: by the requests there already, in relation
/// to the shares, times the latency where both are known. One that has just come back has little to do, and would take
/// every request that looks its way.
fn is_better(other: Candidate, chosen: Candidate, load: impl Fn(NodeId) -> Load) -> bool {
    if other.ramp < chosen.ramp {
        return false;
    }
    let (there, here) = (load(other.view.node.id), load(chosen.view.node.id));
    let largest = other.share().max(chosen.share()) as f32;
    let queue = |load: Load, share: u64| 1.0 + load.in_flight as f32 * (largest / share as f32);
    let (mut worse, mut better) = (queue(here, chosen.share()), queue(there, other.share()));
    if let (Some(here), Some(there)) = (here.latency, there.latency) {
        (worse, better) = (worse * here, better * there);
    }
    better * CLEARLY < worse
}

#[cfg(test)]
mod tests;
