//! While a term is open: notice the leader's death, and keep every node where it belongs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::facts::{Facts, Standing, Upstream};
use super::failover::{self, Begin, follow};
use super::key::Key;
use super::known::{Known, Sort};
use super::lineage::Kinship;
use super::mutation::Mutation;
use super::order::Command;
use super::records::{Asked, Grant, Operation, OperationKind, Record, Step};
use super::settings::Mode;
use super::situation::{Plan, Situation};
use super::sync_names::SyncNames;
use super::verdict::Verdict;
use super::wait::Wait;
use super::{requests, sync_set};
use crate::topology::NodeName;

/// How long followers are waited for before an operation counts as settled without them.
pub(super) const SETTLING: Duration = Duration::from_secs(30);

/// Plans while the term is open.
pub(super) fn open(s: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(freeze) = restarted(s) {
        return freeze;
    }
    if let Some(freeze) = judge(s, &mut plan) {
        return freeze;
    }
    if let Some(request) = requests::open(s) {
        if request.txn.is_some() {
            return request;
        }
        // It is being prepared; everything else goes on.
        let Plan { waits, hurry, .. } = plan;
        plan = request;
        plan.waits.extend(waits);
        plan.hurry |= hurry;
    }
    let settling = s.operation();
    if s.config().paused && settling.is_none() {
        return plan;
    }
    keep_nodes(s, &mut plan);
    if plan.txn.is_none() {
        evict(s, &mut plan);
    }
    if let (Some(operation), None) = (settling, &plan.txn) {
        settle(s, operation, &mut plan);
    }
    plan
}

/// With synchronous commit another run of the leader needs another term: what its recovery made visible is not
/// on the followers for certain.
fn restarted(s: &Situation<'_>) -> Option<Plan> {
    s.strictness()?;
    let facts = s.leader_facts()?;
    let run = s.term.run?;
    if facts.started == run || s.is(Mutation::RestartIgnored) {
        return None;
    }
    let reason = format!("{} was restarted", s.term.leader);
    Some(begin(s, reason))
}

/// Judges the leader, and says what keeps a verdict from leading to anything.
fn judge(s: &Situation<'_>, plan: &mut Plan) -> Option<Plan> {
    let votes = s.votes(None);
    let verdict = votes.verdict();
    plan.hurry = verdict != Verdict::Alive || s.known(&s.term.leader).is_none_or(Known::is_doubtful);
    let Verdict::Dead { hard } = verdict else { return None };
    let leader = &s.term.leader;
    let because = if s.config().paused {
        "paused"
    } else if s.settings.mode == Mode::Manual {
        "failover is manual"
    } else if !somebody_else(s) {
        "no other node answers"
    } else {
        if let Some(left) = too_soon(s).filter(|_| !hard) {
            plan.waits.push(Wait::TooSoon { left });
            plan.wake_at(s.now + left);
            return None;
        }
        return Some(begin(s, format!("{leader} is dead ({votes})")));
    };
    plan.waits.push(Wait::Verdict { votes: votes.to_string(), because });
    None
}

fn begin(s: &Situation<'_>, reason: String) -> Plan {
    let say = format!("term {}: frozen, {reason}", s.term.number + 1);
    let asked = Asked::default();
    let begin = Begin { kind: OperationKind::Failover, reason, asked, wanted: None, accept_loss: false };
    Plan { txn: Some((failover::freeze(s, begin), say)), hurry: true, ..Plan::default() }
}

fn somebody_else(s: &Situation<'_>) -> bool {
    s.members().any(|(name, _)| {
        let standby = s.known(name).filter(|known| known.answers()).and_then(Known::last_facts);
        standby.is_some_and(|facts| !facts.is_primary() || *name == s.term.leader)
    })
}

/// Returns how long the last failover forbids the next one.
fn too_soon(s: &Situation<'_>) -> Option<Duration> {
    let last = s.view.operation().filter(|operation| operation.kind == OperationKind::Failover)?;
    let since = s.memory.opened_since(s.term.number).filter(|_| last.term == s.term.number)?;
    let end = since + s.timings().between_failovers;
    (s.now < end).then(|| end.since(s.now))
}

/// Points every node where it belongs.
fn keep_nodes(s: &Situation<'_>, plan: &mut Plan) {
    let leader = &s.term.leader;
    let others: BTreeSet<NodeName> =
        s.members().map(|(name, _)| name).filter(|name| *name != leader).cloned().collect();
    if let Some(facts) = s.leader_facts() {
        sync_set::keep(s, facts, plan);
        keep_leader(s, facts, &others, plan);
    } else if s.known(leader).is_some_and(|known| known.answers() && !known.owned) {
        plan.order(leader, Command::Own);
    }
    // As last seen, so that nobody is sent there while the slots are being made; see `promotion::gather`.
    let slots = s.known(leader).and_then(Known::last_facts).map(|facts| &facts.slots);
    for name in &others {
        match s.facts(name) {
            Some(facts) => {
                keep_follower(s, name, facts, slots.is_none_or(|slots| slots.contains(name)), plan)
            }
            None if s.known(name).is_some_and(|known| known.answers() && !known.owned) => {
                plan.order(name, Command::Own);
            }
            None => {}
        }
    }
}

fn keep_leader(s: &Situation<'_>, facts: &Facts, others: &BTreeSet<NodeName>, plan: &mut Plan) {
    let (leader, known) = (&s.term.leader, s.known(&s.term.leader));
    let beat =
        known.and_then(|known| known.done(Sort::Heartbeat)).map(|done| done.at + s.timings().heartbeat);
    match beat {
        Some(next) if s.now < next => plan.wake_at(next),
        _ if others.is_empty() => {}
        _ => plan.order(leader, Command::Heartbeat),
    }
    if facts.slots != *others {
        plan.order(leader, Command::SetSlots(others.clone()));
    }
}

/// A member that does not lead: follows, or is kept from harm, or is left alone because it needs a new copy.
fn keep_follower(s: &Situation<'_>, name: &NodeName, facts: &Facts, slot: bool, plan: &mut Plan) {
    let node = name.clone();
    let Standing::Standby(standby) = &facts.standing else {
        plan.waits.push(Wait::Stray { node });
        // Nobody is routed to it; those who reach it directly shall at least not believe their commits.
        failover::soften(s, plan, name);
        return;
    };
    if s.is_suspect(name, &facts.lineage) {
        plan.waits.push(Wait::Suspect { node });
        return;
    }
    let kinship = s.kinship(facts);
    if !matches!(kinship, Kinship::Same(_) | Kinship::Ancestor(_)) {
        plan.waits.push(Wait::OtherHistory { node, kinship });
        return;
    }
    let there = matches!(&standby.upstream, Upstream::Leader { node, .. } if *node == s.term.leader);
    if !there && slot {
        follow(s, plan, name, &s.term.leader);
    }
    if !there || standby.receiver.is_none() {
        plan.waits.push(Wait::Following { node });
    }
    if !facts.slots.is_empty() {
        plan.order(name, Command::SetSlots(BTreeSet::new()));
    }
}

/// Takes the grant of a proxy that has not been heard for long away, in two steps: marked first, and removed once
/// its permission has certainly ended. It comes back by itself if it lives.
fn evict(s: &Situation<'_>, plan: &mut Plan) {
    for (name, grant) in s.view.grants() {
        let key = Key::Grant(name.clone());
        let at = s.modified(&key);
        let longest = Duration::from_micros(s.term.permission_us);
        let over = s.memory.evicted_since(name).map(|since| since + s.timings().fence_wait(longest));
        if !grant.evicted {
            let lost = match s.is(Mutation::EvictedAtOnce) {
                true => !s.observers.is_fresh(name, s.now, s.timings()),
                false => s.observers.is_lost(name, s.now, s.timings()),
            };
            let lost = lost && *name != s.settings.me;
            if lost && !s.is(Mutation::EvictedAtOnce) {
                let marked = Record::Grant(Grant { evicted: true, ..grant.clone() });
                let txn = s.txn().if_at(key.clone(), at).put(key, marked);
                plan.txn = Some((txn, format!("proxy {name} has not been heard for long")));
                return;
            }
            if !lost {
                continue;
            }
        } else if over.is_none_or(|over| s.now < over) {
            over.into_iter().for_each(|over| plan.wake_at(over));
            continue;
        }
        let txn = s.txn().if_at(key.clone(), at).delete(key).delete(Key::Ack(name.clone()));
        plan.txn = Some((txn, format!("proxy {name} is not waited for any more")));
        return;
    }
}

/// The operation is over once everybody follows who can.
fn settle(s: &Situation<'_>, operation: &Operation, plan: &mut Plan) {
    let coming = plan.waits.iter().any(|wait| matches!(wait, Wait::Following { .. }));
    let unknown = s.members().any(|(name, _)| {
        let known = s.known(name);
        *name != s.term.leader && s.facts(name).is_none() && known.is_some_and(Known::answers)
    });
    let end = s.memory.step_since() + SETTLING;
    if (coming || unknown) && s.now < end {
        plan.wake_at(end);
        return;
    }
    // A new leader's checkpoint lets others be rewound against it.
    let (leader, known) = (&s.term.leader, s.known(&s.term.leader));
    let checked = known.and_then(|known| known.done(Sort::Checkpoint));
    let silent = known.is_none_or(|known| !known.answers());
    if checked.is_none_or(|done| done.term != s.term.number) && !silent && s.now < end {
        plan.order(leader, Command::Checkpoint);
        return;
    }
    let settled = Operation { step: Step::Settled, ..operation.clone() };
    let txn = s.txn().put(Key::Op, Record::Operation(settled));
    plan.txn = Some((txn, format!("term {}: settled", s.term.number)));
}

/// Whether the names of a node are ones that only we write.
pub(super) fn are_ours(names: &SyncNames) -> bool {
    matches!(names, SyncNames::Fence | SyncNames::Any { .. })
}
