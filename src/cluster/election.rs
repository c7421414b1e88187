//! Which node may be promoted, and why another one may not (rules C5-C7).

use std::collections::BTreeSet;

use super::facts::{Facts, Standby, Standing, Upstream};
use super::failover;
use super::lineage::Kinship;
use super::mutation::Mutation;
use super::records::{Operation, Opinion, Rule};
use super::situation::Situation;
use super::wait::Wait;
use crate::pg::Lsn;
use crate::topology::NodeName;

/// A node that holds still: nothing reaches it any more from the leader that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recruit {
    /// How much it holds of the history that counts, at most: the last record may not have come as a whole.
    pub(super) position: Lsn,
    /// How much of it is whole, and so will be there when it leads.
    pub(super) certain: Lsn,
    /// It also has what a candidate that was given up wrote: others can follow it, it could follow no other.
    pub(super) descends: bool,
}

/// Whom to promote.
#[derive(Debug)]
pub(super) enum Choice {
    /// This one.
    Take {
        /// The node.
        candidate: NodeName,
        /// What it holds in whole records: its own branch must not begin before. It may begin before the end of what it received,
        /// when the leader was lost in the middle of a record.
        required: Lsn,
    },
    /// Nobody yet, and why.
    Nobody(Vec<Wait>),
}

/// Tells whether a node is recruited for the present term, or what is missing (rule C5).
pub(super) fn recruit(s: &Situation<'_>, operation: &Operation, name: &NodeName) -> Result<Recruit, Wait> {
    let node = name.clone();
    let facts = standing(s, operation, name)?;
    let kinship = s.kinship(facts);
    let found = Recruit {
        position: s.reach(facts),
        certain: kinship.shared(),
        descends: matches!(kinship, Kinship::Descendant(_)),
    };
    let Standing::Standby(standby) = &facts.standing else { return Ok(found) };
    let token = match &standby.upstream {
        Upstream::DeadEnd { term } => *term == s.term.number || s.is(Mutation::RecruitOfAnyTerm),
        _ => false,
    };
    if !token || standby.restores {
        return Err(Wait::Recruiting { node });
    }
    if standby.receiver.is_some() && !s.is(Mutation::ReceiverIgnored) {
        return Err(Wait::ReceiverRuns { node });
    }
    if !has_replayed(standby) {
        return Err(Wait::Replaying { node });
    }
    Ok(found)
}

/// Whether the startup process has replayed all there is on disk.
fn has_replayed(standby: &Standby) -> bool {
    standby.idle || standby.received.is_none_or(|received| standby.replayed >= received)
}

/// Returns the facts of a node that is fit to take part, or what is wrong with it.
pub(super) fn standing<'a>(
    s: &'a Situation<'_>,
    operation: &Operation,
    name: &NodeName,
) -> Result<&'a Facts, Wait> {
    let node = name.clone();
    let Some(known) = s.known(name) else {
        return Err(Wait::NoAnswer { node, why: "never asked".to_owned() });
    };
    let own = s.view.identity().map(|identity| identity.system_identifier);
    if let Some(facts) =
        known.last_facts().filter(|facts| own.is_some_and(|own| own != facts.system_identifier))
    {
        return Err(Wait::Stranger { node, system_identifier: facts.system_identifier });
    }
    let Some(facts) = s.facts(name) else {
        let why = known.trouble.clone();
        return Err(match why {
            None if known.answers() => Wait::Recruiting { node },
            why => Wait::NoAnswer { node, why: why.unwrap_or_else(|| "no answer to probes".to_owned()) },
        });
    };
    if s.is_suspect(name, &facts.lineage) {
        return Err(Wait::Suspect { node });
    }
    let kinship = s.kinship(facts);
    let abandoned = operation.given_up.contains(name) || operation.candidate.as_ref() == Some(name);
    let fit = match (&facts.standing, kinship) {
        (Standing::Standby(_), Kinship::Same(_) | Kinship::Ancestor(_)) => true,
        // It follows the candidate, or one that was given up: nothing was acknowledged there, and nothing is missing.
        (Standing::Standby(_), Kinship::Descendant(_)) => {
            operation.candidate.is_some() || !operation.given_up.is_empty()
        }
        // That candidate itself, promoted after all; or the leader that was, promoted once more by hand.
        (Standing::Primary { .. }, Kinship::Descendant(_)) => abandoned || *name == s.term.leader,
        _ => false,
    };
    if fit { Ok(facts) } else { Err(Wait::OtherHistory { node, kinship }) }
}

/// Chooses among the nodes that are recruited. `patience` is over when those that could still be need not be
/// waited for any longer.
pub(super) fn choose(s: &Situation<'_>, operation: &Operation, patience_over: bool) -> Choice {
    let mut waits = Vec::new();
    let mut recruits = Vec::new();
    let mut pending = false;
    for (name, _) in s.members() {
        match recruit(s, operation, name) {
            Ok(recruit) => recruits.push((name, recruit)),
            Err(wait) => {
                let coming = matches!(
                    wait,
                    Wait::Recruiting { .. } | Wait::ReceiverRuns { .. } | Wait::Replaying { .. }
                );
                pending |= coming && is_there(s, name) && !failover::is_primary(s, name);
                waits.push(wait);
            }
        }
    }
    if pending && !patience_over {
        return Choice::Nobody(waits);
    }
    let furthest = quorum(s, operation, &recruits, &mut waits);
    let Some(furthest) = furthest else { return Choice::Nobody(waits) };
    let mut fit = Vec::new();
    for (name, recruit) in &recruits {
        match objection(s, operation, name, recruit.position, furthest) {
            None => fit.push((name, recruit)),
            Some(wait) => waits.push(wait),
        }
    }
    let rank = |(name, recruit): &&(&&NodeName, &Recruit)| {
        let priority = s.member(name).map_or(0, |member| member.priority);
        let reliable = !operation.given_up.contains(**name);
        (reliable, recruit.position, recruit.descends, priority, std::cmp::Reverse((**name).clone()))
    };
    let best = if s.is(Mutation::AnyCandidate) { fit.first() } else { fit.iter().max_by_key(rank) };
    match best {
        Some((name, recruit)) => Choice::Take { candidate: (**name).clone(), required: recruit.certain },
        None => {
            if recruits.is_empty() && waits.is_empty() {
                waits.push(Wait::NoCandidate);
            }
            Choice::Nobody(waits)
        }
    }
}

/// Says what speaks against a node for good, as far as that is known: what it lacks does not come any more.
pub(super) fn refusal(s: &Situation<'_>, operation: &Operation, name: &NodeName) -> Option<Wait> {
    match recruit(s, operation, name) {
        Ok(recruit) => objection(s, operation, name, recruit.position, Lsn(0)),
        Err(wait @ (Wait::OtherHistory { .. } | Wait::Suspect { .. } | Wait::Stranger { .. })) => Some(wait),
        Err(_) => None,
    }
}

/// Whether a node answers now: one that does not is not waited for.
fn is_there(s: &Situation<'_>, name: &NodeName) -> bool {
    s.known(name).is_some_and(|known| {
        !known.is_doubtful() && known.opinion(s.now, s.timings()) == Some(Opinion::Alive)
    })
}

/// Rule C7: of every rule under which commits may have been acknowledged, so many voters must be at hand that one
/// of them holds any such commit. Returns the position a candidate must have; `None` when that is not so.
fn quorum(
    s: &Situation<'_>,
    operation: &Operation,
    recruits: &[(&NodeName, Recruit)],
    waits: &mut Vec<Wait>,
) -> Option<Lsn> {
    let synchronous = s.strictness().is_some();
    let sync = s.sync();
    let mut furthest = Lsn(0);
    // The leader itself, back as a standby or by another promotion, holds everything.
    if let Some((_, leader)) = recruits.iter().find(|(name, _)| **name == s.term.leader) {
        return Some(if synchronous { leader.position } else { furthest });
    }
    let next = sync.next.iter().filter(|_| !s.is(Mutation::NextRuleIgnored));
    for rule in [&sync.rule].into_iter().chain(next) {
        if rule.k == 0 {
            if synchronous && !operation.accept_loss {
                waits.push(Wait::OnlyLeader { leader: s.term.leader.clone() });
                return None;
            }
            continue;
        }
        let have: BTreeSet<NodeName> = at_hand(rule, recruits).map(|(name, _)| name.clone()).collect();
        let need = rule.voters.len().saturating_sub(rule.k as usize) + 1;
        let need = if s.is(Mutation::QuorumIgnored) { 1 } else { need };
        if have.len() < need && !operation.accept_loss {
            let missing = rule.voters.difference(&have).cloned().collect();
            waits.push(Wait::Quorum { have, missing, need: rule.k as usize });
            return None;
        }
        furthest = furthest.max(at_hand(rule, recruits).map(|(_, lsn)| lsn).max().unwrap_or(Lsn(0)));
    }
    Some(furthest)
}

fn at_hand<'a>(
    rule: &'a Rule,
    recruits: &'a [(&NodeName, Recruit)],
) -> impl Iterator<Item = (&'a NodeName, Lsn)> {
    let voting = recruits.iter().filter(|(name, _)| rule.voters.contains(*name));
    voting.map(|(name, recruit)| (*name, recruit.position))
}

/// Says why a recruited node must not lead.
fn objection(
    s: &Situation<'_>,
    operation: &Operation,
    name: &NodeName,
    position: Lsn,
    furthest: Lsn,
) -> Option<Wait> {
    let node = name.clone();
    match &operation.wanted {
        Some(wanted) if wanted != name => return Some(Wait::NotWanted { node }),
        None if s.member(name).is_some_and(|member| member.no_failover) => {
            return Some(Wait::NoFailover { node });
        }
        _ => {}
    }
    if operation.accept_loss {
        return None;
    }
    if position < furthest && !s.is(Mutation::AnyCandidate) {
        return Some(Wait::NotFurthest { node, position, furthest });
    }
    let (limits, lag_bytes) = (&s.settings.limits, operation.known_end.bytes_since(position));
    if lag_bytes == 0 || *name == s.term.leader || s.is(Mutation::LagIgnored) {
        return None;
    }
    if lag_bytes > limits.max_lag_bytes {
        return Some(Wait::Behind { node, lag_bytes, limit_bytes: limits.max_lag_bytes });
    }
    let level = s.known(name).and_then(|known| known.level_at);
    let age = s.memory.closed_since().zip(level).map(|(closed, level)| closed.since(level));
    age.filter(|age| *age > limits.max_lag_age).map(|age| Wait::Old { node, age, limit: limits.max_lag_age })
}
