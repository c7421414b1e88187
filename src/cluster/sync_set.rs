//! Keeps PostgreSQL's list of synchronous standbys and the recorded rule together (rule C12).
//!
//! ```text
//!   rule A ---> rule A, next B ---> PostgreSQL waits for B ---> a commit went through B ---> rule B
//! ```
//!
//! While two rules stand in the record, a promotion must satisfy both, and PostgreSQL waits for one of the two. Once
//! one commit went through the one in force, every commit before it is on enough of its voters as well, be it
//! acknowledged under whatever rule; then the other one may go. So widening, narrowing, adding and removing are one
//! and the same walk, and a successor finds its place on it. The empty rule (`k = 0`) lets nobody but the leader
//! lead, so it may replace a next rule that cannot be reached.

use std::collections::BTreeSet;

use super::facts::{Facts, Upstream};
use super::keeping::{SETTLING, are_ours};
use super::key::Key;
use super::known::{Known, Sort};
use super::mutation::Mutation;
use super::order::Command;
use super::records::{Record, Rule, Sync};
use super::situation::{Plan, Situation};
use super::sync_names::SyncNames;
use super::wait::Wait;
use crate::topology::NodeName;

/// Plans the next step towards the rule that fits the nodes as they are.
pub(super) fn keep(s: &Situation<'_>, leader: &Facts, plan: &mut Plan) {
    let sync = s.sync();
    let target = target(s, &sync);
    match &sync.next {
        None if target == sync.rule => {
            let names = s.names(&sync.rule);
            let left_alone = sync.rule.k == 0 && s.strictness().is_none() && !are_ours(&leader.sync_names);
            if leader.sync_names != names && !left_alone {
                set_names(s, names, plan);
            }
        }
        None => {
            let say = format!("synchronous commit: from {} to {}", Shown(&sync.rule), Shown(&target));
            let next = if s.is(Mutation::NarrowBeforeWiden) {
                Sync { rule: target, ..sync }
            } else {
                Sync { next: Some(target), ..sync }
            };
            plan.txn = Some((s.txn().put(Key::Sync, Record::Sync(next)), say));
        }
        Some(next) if target.k == 0 && next.k != 0 && !reachable(s, next) => {
            let say = "synchronous commit: too few followers, commits wait for nobody".to_owned();
            let empty = Sync { next: Some(target), ..sync };
            plan.txn = Some((s.txn().put(Key::Sync, Record::Sync(empty)), say));
        }
        Some(next) => {
            let back =
                *next != target && !reachable(s, next) && (sync.rule == target || reachable(s, &sync.rule));
            let aim = if back { sync.rule.clone() } else { next.clone() };
            finish(s, leader, &sync, aim, plan);
        }
    }
}

/// Brings one of the two rules into force, and drops the other once that is proven.
fn finish(s: &Situation<'_>, leader: &Facts, sync: &Sync, aim: Rule, plan: &mut Plan) {
    let node = &s.term.leader;
    let names = s.names(&aim);
    let touched = s.known(node).and_then(|known| known.done(Sort::SyncNames)).is_some();
    if leader.sync_names != names && !(s.is(Mutation::SyncNamesNotVerified) && touched) {
        set_names(s, names, plan);
        return;
    }
    let certain = aim.k == 0 || s.is_proven(node, leader);
    if !certain && !s.is(Mutation::NoCatchUp) && !s.is(Mutation::SyncNamesNotVerified) {
        plan.order(node, Command::ProbeCommit);
        plan.waits.push(Wait::ProbeCommit { node: node.clone() });
        return;
    }
    let say = format!("synchronous commit: {}", Shown(&aim));
    let done = Sync { rule: aim, next: None, ..sync.clone() };
    plan.txn = Some((s.txn().put(Key::Sync, Record::Sync(done)), say));
}

fn set_names(s: &Situation<'_>, names: SyncNames, plan: &mut Plan) {
    let node = s.term.leader.clone();
    plan.order(&node, Command::SetSyncNames(names.clone()));
    plan.waits.push(Wait::Names { node, names });
}

/// Returns the rule that fits the followers as they are now.
fn target(s: &Situation<'_>, sync: &Sync) -> Rule {
    let Some((k, strict)) = s.strictness() else { return Rule::default() };
    let present = sync.next.as_ref().unwrap_or(&sync.rule);
    let good: BTreeSet<NodeName> =
        s.members().map(|(name, _)| name).filter(|name| is_good(s, name, present)).cloned().collect();
    match (good.len() >= k as usize, strict) {
        (true, _) => Rule { voters: good, k },
        // Whom to count instead is no question while commits wait in any case. Before the first rule holds only the
        // leader could lead, so followers on their way are waited for, for a while, instead of making commits wait.
        (false, true) if present.k > 0 || is_new(s) => present.clone(),
        (false, true) => Rule { voters: good, k },
        (false, false) => Rule { k: good.len() as u32, voters: good },
    }
}

/// Whether the term opened a moment ago, so that followers may be on their way.
fn is_new(s: &Situation<'_>) -> bool {
    s.memory.opened_since(s.term.number).is_none_or(|since| s.now.since(since) < SETTLING)
}

/// Whether a follower counts: it is level with the leader, or was a moment ago if it counted already.
fn is_good(s: &Situation<'_>, name: &NodeName, present: &Rule) -> bool {
    let allowed = *name != s.term.leader && s.member(name).is_some_and(|member| !member.no_sync);
    let Some(known) = s.known(name).filter(|_| allowed) else { return false };
    let suspect = known.last_facts().is_some_and(|facts| s.is_suspect(name, &facts.lineage));
    let level = known.level_at.is_some_and(|at| s.now.since(at) < s.timings().voter_stall);
    level && !suspect && (present.voters.contains(name) || follows(s, name, known))
}

fn follows(s: &Situation<'_>, name: &NodeName, known: &Known) -> bool {
    let Some(facts) = known.last_facts() else { return false };
    let Some(standby) = facts.standby() else { return false };
    let there = matches!(&standby.upstream, Upstream::Leader { node, .. } if *node == s.term.leader);
    there
        && standby.receiver.is_some()
        && s.kinship(facts).can_follow()
        && !s.is_suspect(name, &facts.lineage)
}

/// Whether commits can go through this rule now.
fn reachable(s: &Situation<'_>, rule: &Rule) -> bool {
    rule.voters.iter().filter(|name| is_good(s, name, rule)).count() >= rule.k as usize
}

/// A rule for people: `1 of n2, n3`.
struct Shown<'a>(&'a Rule);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.k == 0 {
            return f.write_str("nobody");
        }
        let names: Vec<&str> = self.0.voters.iter().map(NodeName::as_str).collect();
        write!(f, "{} of {}", self.0.k, names.join(", "))
    }
}
