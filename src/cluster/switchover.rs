//! Moves the lead away from a leader that is well: hold, drain, freeze, stop its commits, catch up.

use super::election;
use super::facts::{Facts, Standing};
use super::failover::{self, Begin};
use super::key::{Key, ProxyName};
use super::known::Sort;
use super::lineage::Kinship;
use super::moment::Moment;
use super::mutation::Mutation;
use super::order::Command;
use super::records::{AckKind, Asked, Operation, OperationKind, Phase, Record, Request, Step, Term};
use super::situation::{Plan, Situation};
use super::transaction::Txn;
use super::verdict::Verdict;
use super::wait::Wait;
use crate::pg::Lsn;
use crate::topology::NodeName;

/// Chooses whom to move the lead to: the node wanted, or the best one. Errs with what speaks against it.
pub(super) fn target(s: &Situation<'_>, to: Option<&NodeName>) -> Result<NodeName, Vec<Wait>> {
    let mut waits = Vec::new();
    let mut fit = Vec::new();
    for (name, member) in s.members().filter(|(name, _)| **name != s.term.leader) {
        if to.is_some_and(|to| to != name) {
            continue;
        }
        if to.is_none() && member.no_failover {
            waits.push(Wait::NoFailover { node: name.clone() });
            continue;
        }
        match ready(s, name) {
            Ok(facts) => fit.push((facts.position(), member.priority, std::cmp::Reverse(name.clone()))),
            Err(wait) => waits.push(wait),
        }
    }
    match fit.into_iter().max() {
        Some((_, _, std::cmp::Reverse(name))) => Ok(name),
        None if waits.is_empty() => Err(vec![Wait::NoCandidate]),
        None => Err(waits),
    }
}

/// Tells whether a follower could take the lead now.
fn ready<'a>(s: &'a Situation<'_>, name: &NodeName) -> Result<&'a Facts, Wait> {
    let node = name.clone();
    let Some(facts) = s.known(name).filter(|known| known.answers()).and_then(|known| known.last_facts())
    else {
        return Err(Wait::NoAnswer { node, why: "no answer to probes".to_owned() });
    };
    if s.is_suspect(name, &facts.lineage) {
        return Err(Wait::Suspect { node });
    }
    let kinship = s.kinship(facts);
    let fits = matches!(facts.standing, Standing::Standby(_)) && kinship.can_follow();
    if !fits {
        return Err(Wait::OtherHistory { node, kinship });
    }
    let lag_bytes = s.known_end().bytes_since(facts.position());
    let limit_bytes = s.settings.limits.switch_lag_bytes;
    let level = s.known(name).and_then(|known| known.level_at).is_some();
    if lag_bytes > limit_bytes || !level {
        return Err(Wait::Behind { node, lag_bytes, limit_bytes });
    }
    Ok(facts)
}

/// Prepares what costs time while clients still run: ownership, and checkpoints, so that the promotion has little
/// to write; and waits for followers to count, where they are about to. `None` once that is done or has taken long enough.
pub(super) fn prepare(s: &Situation<'_>, request: &str, candidate: &NodeName) -> Option<Plan> {
    let since = s.memory.prepared_since(request).unwrap_or(s.now);
    let mut plan = Plan { hurry: true, ..Plan::default() };
    let mut missing = Vec::new();
    for node in [&s.term.leader, candidate] {
        let known = s.known(node);
        let done = known.and_then(|known| known.done(Sort::Checkpoint)).is_some_and(|done| done.at >= since);
        let failed = known.is_some_and(|known| known.trouble.is_some());
        if !done && !failed {
            plan.order(node, Command::Checkpoint);
            missing.push(node.clone());
        }
    }
    for (name, _) in s.members() {
        if s.known(name).is_some_and(|known| !known.owned && known.answers()) {
            plan.order(name, Command::Own);
        }
    }
    let end = since + s.timings().hold;
    let alone = only_leader(s);
    if (missing.is_empty() && alone.is_none()) || s.now >= end {
        return None;
    }
    plan.wake_at(end);
    if !missing.is_empty() {
        plan.waits.push(Wait::Checkpoints { nodes: missing });
    }
    plan.waits.extend(alone);
    Some(plan)
}

/// Waits for news of the nodes that speak against a switchover, where what is known of them is older than the request: one that
/// was down until now is asked seldom. `None` once they were asked, or could not be.
pub(super) fn look_again(s: &Situation<'_>, request: &str, against: &[Wait]) -> Option<Plan> {
    let since = s.memory.prepared_since(request).unwrap_or(s.now);
    let end = since + s.timings().hold;
    let open = |wait: &Wait| match wait {
        Wait::NoAnswer { node, .. } => {
            s.known(node).is_some_and(|known| known.asked_at().is_none_or(|asked| asked < since))
        }
        // How far it is shows only after the leader was asked as well.
        Wait::Behind { node, lag_bytes, limit_bytes } => {
            lag_bytes <= limit_bytes && s.known(node).is_some_and(|known| known.level_at.is_none())
        }
        _ => false,
    };
    if s.now >= end || !against.iter().any(open) {
        return None;
    }
    let mut plan = Plan { hurry: true, waits: against.to_vec(), ..Plan::default() };
    plan.wake_at(end);
    Some(plan)
}

/// Says that commits need wait for no follower now, though they are meant to: nobody could be chosen (rule C7). That is
/// so for a moment when followers begin to count.
pub(super) fn only_leader(s: &Situation<'_>) -> Option<Wait> {
    let sync = s.sync();
    let mut rules = [&sync.rule].into_iter().chain(&sync.next);
    let alone = s.strictness().is_some() && rules.any(|rule| rule.k == 0);
    alone.then(|| Wait::OnlyLeader { leader: s.term.leader.clone() })
}

/// Holds: proxies let running transactions end and begin none. Begins the operation for `candidate`.
pub(super) fn hold(s: &Situation<'_>, candidate: &NodeName, reason: String, asked: Asked) -> Txn {
    let term = Term { phase: Phase::Hold, ..s.term.clone() };
    let operation = Operation {
        kind: OperationKind::Switchover,
        term: term.number,
        step: Step::Held,
        reason,
        asked,
        wanted: Some(candidate.clone()),
        accept_loss: false,
        candidate: None,
        given_up: Default::default(),
        fenced: false,
        known_end: s.known_end(),
        required: Lsn(0),
    };
    s.txn().put(Key::Term, Record::Term(term)).put(Key::Op, Record::Operation(operation))
}

/// Plans the step Held.
pub(super) fn held(s: &Situation<'_>, operation: &Operation) -> Plan {
    let mut plan = Plan { hurry: true, ..Plan::default() };
    let votes = s.votes(Some(s.memory.step_since()));
    if matches!(votes.verdict(), Verdict::Dead { .. }) {
        let begin = Begin {
            kind: OperationKind::Failover,
            reason: format!("{}; the leader died meanwhile ({votes})", operation.reason),
            asked: operation.asked.clone(),
            wanted: None,
            accept_loss: false,
        };
        let say = format!("term {}: the leader died while held ({votes})", s.term.number + 1);
        plan.txn = Some((failover::freeze(s, begin), say));
        return plan;
    }
    let running = running(s);
    let deadline = s.memory.step_since() + s.timings().drain;
    let cancelled = s.view.requests().find(|(_, request)| **request == Request::Cancel);
    if let Some((id, _)) = cancelled {
        let txn = super::requests::answered(
            s,
            cancel(s, operation, "by request"),
            id,
            true,
            "cancelled".to_owned(),
        );
        plan.txn = Some((txn, format!("term {}: the switchover is cancelled", s.term.number)));
    } else if running.is_empty() {
        let say = format!("term {}: all is drained, frozen", s.term.number + 1);
        plan.txn = Some((freeze(s, operation), say));
    } else if s.now >= deadline {
        let names: Vec<String> = running.iter().map(ProxyName::to_string).collect();
        let why = format!("transactions still run at {}", names.join(", "));
        let say = format!("term {}: the switchover is cancelled: {why}", s.term.number);
        plan.txn = Some((cancel(s, operation, &why), say));
    } else {
        plan.wake_at(deadline);
        plan.waits.push(Wait::Transactions { proxies: running, left: deadline.since(s.now) });
    }
    plan
}

/// Returns the proxies that have something under way. One that is believed dead has not.
fn running(s: &Situation<'_>) -> Vec<ProxyName> {
    let mut running = s.unacknowledged(AckKind::Held);
    running.retain(|name| s.view.grant(name).is_some_and(|grant| !grant.evicted));
    running
}

fn cancel(s: &Situation<'_>, operation: &Operation, why: &str) -> Txn {
    let term = Term { phase: Phase::Open, ..s.term.clone() };
    let reason = format!("{}; cancelled: {why}", operation.reason);
    let settled = Operation { step: Step::Settled, reason, ..operation.clone() };
    s.txn().put(Key::Term, Record::Term(term)).put(Key::Op, Record::Operation(settled))
}

fn freeze(s: &Situation<'_>, operation: &Operation) -> Txn {
    let term = Term { number: s.term.number + 1, phase: Phase::Frozen, ..s.term.clone() };
    let frozen = Operation {
        term: term.number,
        step: Step::Frozen,
        known_end: operation.known_end.max(s.known_end()),
        ..operation.clone()
    };
    s.txn().put(Key::Term, Record::Term(term)).put(Key::Op, Record::Operation(frozen))
}

/// Plans the step Frozen of an operation whose leader is there: it stops committing, the candidate gets what it has,
/// and is recruited only then. The others are recruited before, so that none is ahead of it: at once where it is known
/// who the candidate is.
pub(super) fn frozen(s: &Situation<'_>, operation: &Operation, mut plan: Plan, fenced: bool) -> Plan {
    let leader = &s.term.leader;
    let since = s.memory.fenced_at(s.term.number).unwrap_or(s.now);
    let deadline = since + s.timings().catch_up;
    if fenced {
        plan.wake_at(deadline);
        if s.now >= deadline {
            return late(s, operation, plan, since);
        }
    }
    if let Some(candidate) = operation.wanted.as_ref().filter(|_| !s.is(Mutation::NoDrain)) {
        failover::recruit(s, operation, &mut plan, all_but(s, candidate).iter());
    }
    if !failover::soften(s, &mut plan, leader) {
        plan.waits.push(Wait::SoftFence { node: leader.clone() });
        return plan;
    }
    if !fenced {
        return plan;
    }
    // Asked after the sessions were ended and after nobody could deliver anything any more.
    let Some(facts) = s.known(leader).and_then(|known| known.facts_after(since)) else { return plan };
    if operation.required == Lsn(0) {
        // Written down, as the end moves on with WAL that nobody was told of.
        return ended(s, operation, facts.position(), plan);
    }
    let mut end = operation.required;
    let candidate = match &operation.wanted {
        Some(candidate) => candidate.clone(),
        None => match target(s, None) {
            Ok(candidate) => candidate,
            Err(waits) => {
                plan.waits.extend(waits);
                return plan;
            }
        },
    };
    if !s.is(Mutation::NoDrain) {
        match others(s, operation, &candidate, &mut plan) {
            Some(reached) => end = end.max(reached),
            None => return plan,
        }
    }
    catch_up(s, operation, &candidate, end, since, plan)
}

/// Writes the old leader's end down.
fn ended(s: &Situation<'_>, operation: &Operation, end: Lsn, mut plan: Plan) -> Plan {
    let known_end = operation.known_end.max(end);
    let next = Operation { required: end, known_end, ..operation.clone() };
    let say = format!("term {}: {} committed nothing after {end}", s.term.number, s.term.leader);
    plan.txn = Some((s.txn().put(Key::Op, Record::Operation(next)), say));
    plan
}

/// Recruits everybody but the candidate; returns the furthest position among them once they all hold still.
fn others(s: &Situation<'_>, operation: &Operation, candidate: &NodeName, plan: &mut Plan) -> Option<Lsn> {
    let others = all_but(s, candidate);
    failover::recruit(s, operation, plan, others.iter());
    let mut furthest = Lsn(0);
    for name in &others {
        match election::recruit(s, operation, name) {
            Ok(recruit) => furthest = furthest.max(recruit.position),
            // It takes no part, so it cannot be ahead of anybody.
            Err(Wait::OtherHistory { .. } | Wait::Suspect { .. } | Wait::Stranger { .. }) => {}
            Err(wait) => {
                plan.waits.push(wait);
                return None;
            }
        }
    }
    Some(furthest)
}

/// Returns those that answer and neither lead nor shall lead.
fn all_but(s: &Situation<'_>, candidate: &NodeName) -> Vec<NodeName> {
    let names = s.members().map(|(name, _)| name);
    let others = names.filter(|name| **name != s.term.leader && *name != candidate);
    others.filter(|name| s.known(name).is_some_and(|known| known.answers())).cloned().collect()
}

/// Waits until the candidate has replayed up to `end`, recruits it, and lets it be chosen.
fn catch_up(
    s: &Situation<'_>,
    operation: &Operation,
    candidate: &NodeName,
    end: Lsn,
    since: Moment,
    mut plan: Plan,
) -> Plan {
    let Ok(facts) = election::standing(s, operation, candidate) else {
        plan.waits.push(Wait::NoAnswer { node: candidate.clone(), why: "no answer to probes".to_owned() });
        return plan;
    };
    let replayed = facts.standby().map_or(facts.position(), |standby| standby.replayed);
    let can_follow = matches!(s.kinship(facts), Kinship::Same(_) | Kinship::Ancestor(_));
    if replayed < end && can_follow && !s.is(Mutation::NoDrain) {
        plan.waits.push(Wait::CatchUp { node: candidate.clone(), bytes: end.bytes_since(replayed) });
        return plan;
    }
    failover::recruit(s, operation, &mut plan, [candidate].into_iter());
    failover::take(s, operation, plan, since)
}

/// The candidate did not get there in time. A switchover is undone; a forced failover goes on with what there is.
fn late(s: &Situation<'_>, operation: &Operation, mut plan: Plan, since: Moment) -> Plan {
    let why = "nobody caught up in time";
    if operation.kind == OperationKind::Switchover {
        plan.aborting = Some(why.to_owned());
        return failover::reopen(s, operation, plan, true, why);
    }
    let all: Vec<NodeName> = s.members().map(|(name, _)| name.clone()).collect();
    failover::recruit(s, operation, &mut plan, all.iter());
    let patience = since + s.timings().catch_up + s.timings().recruit;
    if s.now >= patience + s.timings().recruit {
        plan.aborting = Some("no node may take over".to_owned());
    }
    plan.wake_at(patience + s.timings().recruit);
    failover::take(s, operation, plan, since + s.timings().catch_up)
}
