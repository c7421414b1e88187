//! From the choice to the opening: promote, prove, open; or give the candidate up (steps Chosen and Open).

use std::collections::BTreeSet;

use super::election;
use super::facts::{Facts, Upstream};
use super::failover::{follow, heir, permission_us, soften};
use super::key::Key;
use super::known::Sort;
use super::lineage::Kinship;
use super::moment::Moment;
use super::mutation::Mutation;
use super::order::Command;
use super::records::{History, Operation, Phase, Record, Rule, Step, Sync, Term};
use super::situation::{Plan, Situation};
use super::sync_names::SyncNames;
use super::wait::Wait;
use crate::topology::NodeName;

/// Plans the step Chosen: `candidate` and nobody else is promoted in this term.
pub(super) fn chosen(s: &Situation<'_>, operation: &Operation, candidate: &NodeName) -> Plan {
    let mut plan = Plan { hurry: true, ..Plan::default() };
    for (name, _) in s.members() {
        // Whoever is back may be needed for the commit that proves the candidate.
        if s.known(name).is_some_and(|known| !known.owned && known.answers()) {
            plan.order(name, Command::Own);
        }
    }
    if *candidate != s.term.leader {
        // For those who reach it directly; nothing waits for this.
        soften(s, &mut plan, &s.term.leader);
    }
    let heard = s.known(candidate).and_then(|known| known.heard_at()).unwrap_or(Moment(0));
    let since = heard.max(s.memory.step_since());
    let Some(facts) = s.facts(candidate) else {
        let silent = s.known(candidate).is_none_or(|known| !known.answers());
        if silent && s.now >= since + s.timings().promote {
            return give_up(s, operation, candidate, "it does not answer");
        }
        if s.known(candidate).is_some_and(|known| !known.owned) {
            plan.order(candidate, Command::Own);
        }
        plan.wake_at(since + s.timings().promote);
        plan.waits.push(Wait::Promotion { node: candidate.clone() });
        return plan;
    };
    if facts.is_primary() {
        prove(s, operation, candidate, facts, plan)
    } else {
        promote(s, operation, candidate, facts, plan)
    }
}

/// The candidate is a standby yet: preset its names (H10), then promote it, guarded by the term's token.
fn promote(
    s: &Situation<'_>,
    operation: &Operation,
    candidate: &NodeName,
    facts: &Facts,
    mut plan: Plan,
) -> Plan {
    let deadline = s.memory.step_since() + s.timings().promote;
    plan.wake_at(deadline);
    plan.waits.push(Wait::Promotion { node: candidate.clone() });
    if s.now >= deadline {
        return give_up(s, operation, candidate, "it is still a standby");
    }
    match election::recruit(s, operation, candidate) {
        Ok(recruit) if recruit.position >= operation.required => {}
        Ok(_) => return give_up(s, operation, candidate, "it lost WAL it had"),
        Err(wait) => {
            plan.waits.push(wait);
            return plan;
        }
    }
    let late = s.is(Mutation::SyncNamesAfterPromotion);
    if let Some(names) = preset(s).filter(|names| facts.sync_names != *names && !late) {
        plan.order(candidate, Command::SetSyncNames(names));
        return plan;
    }
    let sent = s.known(candidate).and_then(|known| known.done(Sort::Promote));
    if !sent.is_some_and(|sent| sent.term == s.term.number && sent.run == Some(facts.started)) {
        plan.order(candidate, Command::Promote { term: s.term.number });
    }
    plan
}

/// The candidate takes writes: it must be on the branch that was meant, and a commit must go through its rule
/// (rule C10).
fn prove(
    s: &Situation<'_>,
    operation: &Operation,
    candidate: &NodeName,
    facts: &Facts,
    mut plan: Plan,
) -> Plan {
    // A candidate that had not reached the leader's last branch yet leaves an earlier one; what counts is the same.
    let (Kinship::Descendant(forked) | Kinship::Diverged(forked)) = s.kinship(facts) else {
        return give_up(s, operation, candidate, "it is primary without a promotion");
    };
    if forked < operation.required {
        return give_up(s, operation, candidate, "it left the history before the position it had");
    }
    let rule = s.sync().heir.filter(|_| s.strictness().is_some());
    if s.is(Mutation::SyncNamesAfterPromotion) {
        return open(s, operation, candidate, facts, rule, plan);
    }
    if let Some(rule) = &rule {
        if let Some(mended) = mended(s, operation, candidate, rule) {
            let sync = Sync { heir: Some(mended), ..s.sync() };
            let say = format!("term {}: other nodes vote", s.term.number);
            plan.txn = Some((s.txn().put(Key::Sync, Record::Sync(sync)), say));
            return plan;
        }
        let names = s.names(rule);
        if facts.sync_names != names {
            plan.order(candidate, Command::SetSyncNames(names.clone()));
            plan.waits.push(Wait::Names { node: candidate.clone(), names });
            return plan;
        }
        gather(s, operation, candidate, facts, &mut plan);
    } else if matches!(facts.sync_names, SyncNames::Fence | SyncNames::Any { .. }) {
        plan.order(candidate, Command::SetSyncNames(SyncNames::Nobody));
        return plan;
    }
    if !s.is_proven(candidate, facts) && !s.is(Mutation::NoProbeCommit) {
        plan.order(candidate, Command::ProbeCommit);
        plan.waits.push(Wait::ProbeCommit { node: candidate.clone() });
        return plan;
    }
    open(s, operation, candidate, facts, rule, plan)
}

/// Returns the names to be in force before the candidate can commit anything.
fn preset(s: &Situation<'_>) -> Option<SyncNames> {
    let rule = s.sync().heir.filter(|_| s.strictness().is_some())?;
    Some(s.names(&rule))
}

/// Nodes that came back in the meantime vote as well, and one that turned out to be suspect does not: nothing was
/// acknowledged under the heir's rule, so it may change as it likes until the term opens.
fn mended(s: &Situation<'_>, operation: &Operation, candidate: &NodeName, rule: &Rule) -> Option<Rule> {
    let now = heir(s, operation, candidate)?;
    let sound =
        |name: &&NodeName| !matches!(election::standing(s, operation, name), Err(Wait::Suspect { .. }));
    let kept: BTreeSet<NodeName> = rule.voters.iter().filter(sound).cloned().collect();
    let short = kept.len() < rule.k as usize;
    let voters = if short { now.voters.union(&kept).cloned().collect() } else { kept };
    let mended = Rule { voters, k: now.k.max(rule.k) };
    (mended.voters != rule.voters).then_some(mended)
}

/// Points the recruits at the candidate at once: its commits wait for them. Each once its slot is there, since one that
/// finds none tries again only after `wal_retrieve_retry_interval`, 5 seconds where nobody changed it.
fn gather(s: &Situation<'_>, operation: &Operation, candidate: &NodeName, facts: &Facts, plan: &mut Plan) {
    for (name, _) in s.members().filter(|(name, _)| *name != candidate) {
        let Ok(theirs) = election::standing(s, operation, name) else { continue };
        let Some(standby) = theirs.standby() else { continue };
        let fits = theirs.lineage.kinship(theirs.whole(), &facts.lineage).can_follow();
        let there = matches!(&standby.upstream, Upstream::Leader { node, term }
            if node == candidate && *term == s.term.number);
        if fits && !there && facts.slots.contains(name) {
            follow(s, plan, name, candidate);
        }
    }
    let keep = s.members().map(|(name, _)| name).filter(|name| *name != candidate).cloned().collect();
    if facts.slots != keep {
        plan.order(candidate, Command::SetSlots(keep));
    }
}

/// Opens the term.
fn open(
    s: &Situation<'_>,
    operation: &Operation,
    candidate: &NodeName,
    facts: &Facts,
    rule: Option<Rule>,
    mut plan: Plan,
) -> Plan {
    let timeline = facts.lineage.last().timeline.0;
    let mut suspects = s.term.suspects.clone();
    suspects.remove(candidate);
    if timeline <= s.term.highest_timeline {
        // Another promotion may have chosen the same number, at the same position: whoever was not seen to hold
        // still in this term may have followed that one. A candidate that was given up may hold still and be
        // promoted all the same, as the promotion it was asked for goes on inside it.
        for (name, _) in s.members().filter(|(name, _)| *name != candidate) {
            if !holds_still(s, operation, name) || operation.given_up.contains(name) {
                let from = suspects.get(name).copied().unwrap_or(timeline);
                suspects.insert(name.clone(), from.min(timeline));
            }
        }
    }
    let term = Term {
        number: s.term.number,
        phase: Phase::Open,
        leader: candidate.clone(),
        lineage: facts.lineage.clone(),
        run: s.strictness().is_some().then_some(facts.started),
        permission_us: permission_us(s),
        highest_timeline: s.term.highest_timeline.max(timeline),
        suspects,
    };
    let sync = Sync { leader: candidate.clone(), rule: rule.unwrap_or_default(), next: None, heir: None };
    let history = History {
        leader: candidate.clone(),
        before: Some(s.term.leader.clone()),
        lineage: facts.lineage.clone(),
        kind: Some(operation.kind),
        reason: operation.reason.clone(),
        asked: operation.asked.clone(),
        lost_bytes: operation.known_end.bytes_since(facts.lineage.last().forked_at),
        at_ms: 0,
        steps_ms: s.memory.times(s.now),
    };
    let done = Operation { step: Step::Open, ..operation.clone() };
    let say = format!("term {}: {candidate} leads on timeline {timeline}", term.number);
    let txn = s
        .txn()
        .put(Key::History(term.number), Record::History(history))
        .put(Key::Term, Record::Term(term))
        .put(Key::Sync, Record::Sync(sync))
        .put(Key::Op, Record::Operation(done));
    plan.txn = Some((txn, say));
    plan
}

/// Whether the node carries a token of this very term, so that whatever it followed, it was stopped by us since, and
/// has nothing of a promotion that never led.
fn holds_still(s: &Situation<'_>, operation: &Operation, name: &NodeName) -> bool {
    let Ok(facts) = election::standing(s, operation, name) else { return false };
    if matches!(s.kinship(facts), Kinship::Descendant(_)) {
        return false;
    }
    let upstream = facts.standby().map(|standby| &standby.upstream);
    matches!(upstream, Some(Upstream::DeadEnd { term } | Upstream::Leader { term, .. }) if *term == s.term.number)
}

/// Rule C11: another candidate only in another term. This one may be promoted yet, or may have been.
fn give_up(s: &Situation<'_>, operation: &Operation, candidate: &NodeName, why: &str) -> Plan {
    let number = if s.is(Mutation::SecondCandidateSameTerm) { s.term.number } else { s.term.number + 1 };
    let parent = s.term.lineage.last().timeline.0;
    let chosen = s.known(candidate).and_then(|known| known.last_facts()).map_or(parent + 1, |facts| {
        let last = facts.lineage.last().timeline.0;
        if facts.is_primary() { last } else { last.max(parent) + 1 }
    });
    // Its promotion may be through at any moment from now on, with a timeline that the next one chooses as well.
    let mut suspects = s.term.suspects.clone();
    let from = suspects.get(candidate).copied().unwrap_or(chosen);
    suspects.insert(candidate.clone(), from.min(chosen));
    let term = Term {
        number,
        phase: Phase::Frozen,
        highest_timeline: s.term.highest_timeline.max(chosen),
        suspects,
        ..s.term.clone()
    };
    let mut given_up = operation.given_up.clone();
    given_up.insert(candidate.clone());
    let reason = format!("{}; {candidate} was given up: {why}", operation.reason);
    // Who was asked for had its chance; waiting for it would be waiting for ever.
    let wanted = operation.wanted.clone().filter(|wanted| wanted != candidate);
    let next = Operation {
        term: number,
        step: Step::Frozen,
        candidate: None,
        given_up,
        wanted,
        reason,
        ..operation.clone()
    };
    let sync = Sync { heir: None, ..s.sync() };
    let txn = s
        .txn()
        .put(Key::Term, Record::Term(term))
        .put(Key::Op, Record::Operation(next))
        .put(Key::Sync, Record::Sync(sync));
    let say = format!("term {number}: {candidate} is given up: {why}");
    Plan { txn: Some((txn, say)), hurry: true, ..Plan::default() }
}
