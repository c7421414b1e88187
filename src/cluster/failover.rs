//! From the freeze to the choice: fence, look at the old leader again, recruit, choose (steps Frozen and Chosen).

use super::election::{self, Choice};
use super::facts::{Facts, Standing, Upstream};
use super::fencing::{self, Fence};
use super::key::Key;
use super::known::{Known, Sort};
use super::lineage::Kinship;
use super::moment::Moment;
use super::mutation::Mutation;
use super::order::Command;
use super::records::{
    Asked, History, Operation, OperationKind, Opinion, Phase, Record, Rule, Step, Sync, Term,
};
use super::situation::{Plan, Situation};
use super::switchover;
use super::sync_names::SyncNames;
use super::transaction::Txn;
use super::verdict::{Verdict, Votes};
use super::wait::Wait;
use crate::pg::Lsn;
use crate::topology::NodeName;

/// What an operation begins with.
pub(super) struct Begin {
    pub(super) kind: OperationKind,
    pub(super) reason: String,
    pub(super) asked: Asked,
    pub(super) wanted: Option<NodeName>,
    pub(super) accept_loss: bool,
}

/// Freezes: from the moment this happens no proxy gets a new permission.
pub(super) fn freeze(s: &Situation<'_>, begin: Begin) -> Txn {
    let Begin { kind, reason, asked, wanted, accept_loss } = begin;
    let term = Term { number: s.term.number + 1, phase: Phase::Frozen, ..s.term.clone() };
    let operation = Operation {
        kind,
        term: term.number,
        step: Step::Frozen,
        reason,
        asked,
        wanted,
        accept_loss,
        candidate: None,
        given_up: Default::default(),
        fenced: false,
        known_end: s.known_end(),
        required: Lsn(0),
    };
    s.txn().put(Key::Term, Record::Term(term)).put(Key::Op, Record::Operation(operation))
}

/// Plans the step Frozen.
pub(super) fn frozen(s: &Situation<'_>, operation: &Operation) -> Plan {
    let mut plan = Plan { hurry: true, ..Plan::default() };
    for (name, _) in s.members() {
        if s.known(name).is_some_and(|known| !known.owned && known.answers()) {
            plan.order(name, Command::Own);
        }
    }
    let fence = fencing::judge(s);
    if let Fence::Until(until, wait) = &fence {
        plan.waits.push(wait.clone());
        plan.wake_at(*until);
    }
    let fenced = fence == Fence::Complete;
    let votes = s.votes(s.memory.frozen_since(s.term.number));
    let alive = incumbent(s, &votes);
    if operation.kind == OperationKind::Switchover && alive == Some(false) {
        return convert(s, operation, format!("the leader died meanwhile ({votes})"));
    }
    if let Some(why) = s.memory.aborting().filter(|_| alive != Some(false)) {
        return reopen(s, operation, plan, fenced, why);
    }
    if operation.kind == OperationKind::Failover {
        if fenced && alive == Some(true) {
            // A false alarm: it is there after all. Cheap, as nothing was promoted.
            let why = format!("it lives ({votes})");
            plan.aborting = Some(why.clone());
            return reopen(s, operation, plan, fenced, &why);
        }
        if alive.is_none() {
            plan.waits.push(Wait::Verdict { votes: votes.to_string(), because: "no majority yet" });
        }
    } else if operation.kind == OperationKind::Switchover || answers(s, &s.term.leader) {
        // Also while an order to the leader is under way and its facts are not known: what it wrote last must not
        // be left behind for that.
        return switchover::frozen(s, operation, plan, fenced);
    }
    let decided = operation.kind != OperationKind::Failover || alive == Some(false);
    // With synchronous commit the proof is in the recruits, so they need not wait for the fence.
    if fenced || s.strictness().is_some() {
        let all: Vec<NodeName> = s.members().map(|(name, _)| name.clone()).collect();
        recruit(s, operation, &mut plan, all.iter());
    }
    if fenced && decided {
        let since = s.memory.fenced_at(s.term.number).unwrap_or(s.now);
        take(s, operation, plan, since)
    } else {
        plan
    }
}

/// Looks at the old leader once more, after the freeze: whether it lives, `None` while that is open. When votes
/// stay even, the own eyes decide, since a frozen cluster serves nobody.
fn incumbent(s: &Situation<'_>, votes: &Votes) -> Option<bool> {
    let own = votes.observers.get(s.settings.me.as_str())?;
    match votes.verdict() {
        // It may be back in a moment; after that it counts as silent.
        Verdict::Alive if s.known(&s.term.leader).is_some_and(Known::is_starting) => None,
        Verdict::Alive => Some(true),
        Verdict::Dead { .. } => Some(false),
        Verdict::Unsure => (s.in_step() > s.timings().recruit).then_some(*own == Opinion::Alive),
    }
}

/// Orders the nodes that are fit and not recruited yet to stop following.
pub(super) fn recruit<'a>(
    s: &Situation<'_>,
    operation: &Operation,
    plan: &mut Plan,
    nodes: impl Iterator<Item = &'a NodeName>,
) {
    for name in nodes {
        let Ok(facts) = election::standing(s, operation, name) else { continue };
        let Standing::Standby(standby) = &facts.standing else { continue };
        let token = Upstream::DeadEnd { term: s.term.number };
        let any = s.is(Mutation::RecruitOfAnyTerm) && matches!(standby.upstream, Upstream::DeadEnd { .. });
        if (standby.upstream != token && !any) || standby.restores {
            plan.order(name, Command::Recruit { term: s.term.number });
        }
    }
}

/// Chooses, waiting since `since` for those that are not recruited yet.
pub(super) fn take(s: &Situation<'_>, operation: &Operation, mut plan: Plan, since: Moment) -> Plan {
    let patience = since + s.timings().recruit;
    match election::choose(s, operation, s.now >= patience) {
        Choice::Nobody(waits) => {
            plan.waits.extend(waits);
            if s.now < patience {
                plan.wake_at(patience);
            }
        }
        Choice::Take { candidate, required } => {
            let lost = operation.known_end.bytes_since(required);
            let say =
                format!("term {}: {candidate} at {required} is to lead ({lost} bytes lost)", s.term.number);
            if s.is(Mutation::CandidateNotRecorded) && !is_primary(s, &candidate) {
                plan.order(&candidate, Command::Promote { term: s.term.number });
                return plan;
            }
            plan.txn = Some((chosen(s, operation, &candidate, required), say));
        }
    }
    plan
}

pub(super) fn is_primary(s: &Situation<'_>, name: &NodeName) -> bool {
    s.known(name).and_then(Known::last_facts).is_some_and(Facts::is_primary)
}

/// Writes the candidate down; only then may it be promoted (H9).
fn chosen(s: &Situation<'_>, operation: &Operation, candidate: &NodeName, required: Lsn) -> Txn {
    let operation = Operation {
        step: Step::Chosen,
        candidate: Some(candidate.clone()),
        fenced: true,
        required,
        ..operation.clone()
    };
    let txn = s.txn().put(Key::Op, Record::Operation(operation.clone()));
    match heir(s, &operation, candidate) {
        None => txn,
        Some(rule) => {
            let sync = Sync { heir: Some(rule), ..s.sync() };
            txn.put(Key::Sync, Record::Sync(sync))
        }
    }
}

/// Returns the rule under which the candidate will lead: the nodes at hand vote. `None` without synchronous commit.
pub(super) fn heir(s: &Situation<'_>, operation: &Operation, candidate: &NodeName) -> Option<Rule> {
    let (k, strict) = s.strictness()?;
    let votes = |name: &&NodeName| {
        let counts = s.member(name).is_some_and(|member| !member.no_sync);
        let there = election::standing(s, operation, name).is_ok_and(|facts| {
            // A promotion asked for earlier may come through yet, and what such a node says it has is worth nothing
            // then. One that streams has none before it.
            !facts.is_primary() && (!operation.given_up.contains(*name) || streams(s, facts, candidate))
        });
        *name != candidate && counts && there
    };
    let voters: std::collections::BTreeSet<NodeName> =
        s.members().map(|(name, _)| name).filter(votes).cloned().collect();
    let k = if strict { k } else { k.min(voters.len() as u32) };
    Some(Rule { voters, k })
}

/// Whether a standby streams from `candidate`, pointed there in this term.
fn streams(s: &Situation<'_>, facts: &Facts, candidate: &NodeName) -> bool {
    let pointed = |upstream: &Upstream| matches!(upstream, Upstream::Leader { node, term } if node == candidate && *term == s.term.number);
    facts.standby().is_some_and(|standby| standby.receiver.is_some() && pointed(&standby.upstream))
}

/// A planned operation whose leader died is a failover from here on.
fn convert(s: &Situation<'_>, operation: &Operation, why: String) -> Plan {
    let reason = format!("{}; {why}", operation.reason);
    let next = Operation { kind: OperationKind::Failover, wanted: None, reason, ..operation.clone() };
    let txn = s.txn().put(Key::Op, Record::Operation(next));
    Plan { txn: Some((txn, format!("term {}: {why}", s.term.number))), hurry: true, ..Plan::default() }
}

/// Lets the leader that was open again, in the term that was frozen: nothing was promoted in it.
///
/// A run that is another one than before must get a commit through first, if commits wait for followers: its
/// recovery made commits visible that nobody else may have.
pub(super) fn reopen(
    s: &Situation<'_>,
    operation: &Operation,
    mut plan: Plan,
    fenced: bool,
    why: &str,
) -> Plan {
    let leader = s.term.leader.clone();
    plan.waits.push(Wait::Incumbent { node: leader.clone(), why: why.to_owned() });
    let sync = s.sync();
    let run = match s.leader_facts() {
        Some(facts) => {
            let restarted = s.strictness().is_some() && s.term.run != Some(facts.started);
            let names = names_to_reopen(s, &sync, facts, restarted);
            let foreign = s.strictness().is_none() && matches!(facts.sync_names, SyncNames::Foreign(_));
            if facts.sync_names != names && !foreign {
                plan.order(&leader, Command::SetSyncNames(names.clone()));
                plan.waits.push(Wait::Names { node: leader, names });
                return plan;
            }
            if restarted && !s.is_proven(&leader, facts) && !s.is(Mutation::NoProbeCommit) {
                follow_again(s, &mut plan);
                plan.order(&leader, Command::ProbeCommit);
                plan.waits.push(Wait::ProbeCommit { node: leader });
                return plan;
            }
            s.strictness().is_some().then_some(facts.started)
        }
        // Others see it, we do not. What we may have set on it must be taken back first.
        None if operation.kind != OperationKind::Failover || answers(s, &leader) => return plan,
        // A run that is another one for certain would need a term of its own at once.
        None if runs_anew(s, &leader) => return plan,
        None => s.term.run,
    };
    if !fenced {
        return plan;
    }
    let term = Term { phase: Phase::Open, run, permission_us: permission_us(s), ..s.term.clone() };
    let history = History {
        leader: leader.clone(),
        before: Some(leader.clone()),
        lineage: s.term.lineage.clone(),
        kind: Some(operation.kind),
        reason: format!("{}; {leader} goes on: {why}", operation.reason),
        asked: operation.asked.clone(),
        lost_bytes: 0,
        at_ms: 0,
        steps_ms: s.memory.times(s.now),
    };
    let done = Operation { step: Step::Open, candidate: Some(leader.clone()), ..operation.clone() };
    let txn = s
        .txn()
        .put(Key::Op, Record::Operation(done))
        .put(Key::Sync, Record::Sync(Sync { heir: None, ..sync }))
        .put(Key::History(term.number), Record::History(history))
        .put(Key::Term, Record::Term(term.clone()));
    plan.txn = Some((txn, format!("term {}: {leader} goes on: {why}", term.number)));
    plan
}

/// Returns the names the leader is to wait for when it goes on. While two rules are recorded either will do; a commit
/// that has to go through first takes the one that has the voters for it.
fn names_to_reopen(s: &Situation<'_>, sync: &Sync, facts: &Facts, restarted: bool) -> SyncNames {
    let rules = || std::iter::once(&sync.rule).chain(&sync.next);
    let has_voters = |rule: &&Rule| {
        let there = rule.voters.iter().filter(|name| {
            let known = s.known(name).filter(|known| known.answers());
            known.and_then(|known| known.last_facts()).is_some_and(|facts| {
                facts.standby().is_some()
                    && s.kinship(facts).can_follow()
                    && !s.is_suspect(name, &facts.lineage)
            })
        });
        there.count() >= rule.k as usize
    };
    let in_force = rules().find(|rule| s.names(rule) == facts.sync_names);
    let fit = in_force.filter(|rule| !restarted || has_voters(rule)).or_else(|| rules().find(has_voters));
    s.names(fit.or(in_force).unwrap_or(&sync.rule))
}

/// Whether the leader was last seen in another run than the term is for.
fn runs_anew(s: &Situation<'_>, name: &NodeName) -> bool {
    let seen = s.known(name).and_then(|known| known.last_facts()).map(|facts| facts.started);
    s.strictness().is_some() && seen.is_some() && seen != s.term.run
}

fn answers(s: &Situation<'_>, name: &NodeName) -> bool {
    s.known(name).is_some_and(|known| known.answers() && known.trouble.is_none())
}

/// Points followers that were recruited at the leader again, so that its commits can go through.
fn follow_again(s: &Situation<'_>, plan: &mut Plan) {
    for (name, _) in s.members().filter(|(name, _)| **name != s.term.leader) {
        let Some(facts) = s.facts(name) else { continue };
        let Some(standby) = facts.standby() else { continue };
        let fits = matches!(s.kinship(facts), Kinship::Same(_) | Kinship::Ancestor(_));
        if fits && !s.is_suspect(name, &facts.lineage) && matches!(standby.upstream, Upstream::DeadEnd { .. })
        {
            follow(s, plan, name, &s.term.leader);
        }
    }
}

/// Orders `name` to follow `leader`.
pub(super) fn follow(s: &Situation<'_>, plan: &mut Plan, name: &NodeName, leader: &NodeName) {
    let Some(member) = s.member(leader) else { return };
    let term = s.term.number;
    let address = member.address.clone();
    plan.order(name, Command::Follow { leader: leader.clone(), address, term });
}

/// Returns the length of permissions in a term that opens now: none of an earlier one is left.
pub(super) fn permission_us(s: &Situation<'_>) -> u64 {
    u64::try_from(s.timings().permission.as_micros()).unwrap_or(u64::MAX)
}

/// Makes the old leader commit nothing and ends its clients' sessions; says whether all that is done.
pub(super) fn soften(s: &Situation<'_>, plan: &mut Plan, node: &NodeName) -> bool {
    let Some(facts) = s.facts(node).filter(|facts| facts.is_primary()) else { return false };
    if s.is(Mutation::NoSoftFence) {
        return true;
    }
    if facts.sync_names != SyncNames::Fence {
        plan.order(node, Command::SetSyncNames(SyncNames::Fence));
        return false;
    }
    let known = s.known(node);
    let ended = known.and_then(|known| known.done(Sort::Terminate));
    let ended = ended.is_some_and(|done| done.term == s.term.number && done.names == Some(SyncNames::Fence));
    // Not being allowed to end sessions is no reason to stop: none of them can commit.
    let cannot = known.is_some_and(|known| known.trouble.is_some());
    if !ended && !cannot {
        plan.order(node, Command::TerminateSessions);
    }
    ended || cannot
}
