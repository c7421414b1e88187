//! Takes in a cluster that is not in the store yet: as it runs, nothing restarted.

use super::facts::Facts;
use super::key::Key;
use super::known::Nodes;
use super::lineage::Kinship;
use super::records::{Asked, Config, Durability, History, Identity, Phase, Record, Rule, Sync, Term};
use super::settings::Settings;
use super::situation::Plan;
use super::transaction::{Revision, Txn, View};
use super::wait::Wait;
use crate::topology::NodeName;

/// Plans the adoption. Every node must answer: a silent one might be a second primary.
pub(super) fn plan(settings: &Settings, view: &View, nodes: &Nodes) -> Plan {
    let mut plan = Plan::default();
    let mut found: Vec<(&NodeName, &Facts)> = Vec::new();
    for name in settings.nodes.keys() {
        match nodes.get(name).filter(|known| known.answers()).and_then(|known| known.last_facts()) {
            Some(facts) => found.push((name, facts)),
            None => {
                let why = "a cluster is taken in with all its nodes".to_owned();
                plan.waits.push(Wait::NoAnswer { node: name.clone(), why });
            }
        }
    }
    let mut primaries = found.iter().filter(|(_, facts)| facts.is_primary());
    let Some((leader, facts)) = primaries.next() else {
        plan.waits.push(Wait::NoCandidate);
        return plan;
    };
    plan.waits.extend(primaries.map(|(name, _)| Wait::Stray { node: (*name).clone() }));
    for (name, theirs) in found.iter().filter(|(_, facts)| !facts.is_primary()) {
        let (node, system_identifier) = ((*name).clone(), theirs.system_identifier);
        let kinship = theirs.lineage.kinship(theirs.position(), &facts.lineage);
        if system_identifier != facts.system_identifier {
            plan.waits.push(Wait::Stranger { node, system_identifier });
        } else if !matches!(kinship, Kinship::Same(_) | Kinship::Ancestor(_)) {
            plan.waits.push(Wait::OtherHistory { node, kinship });
        }
    }
    if plan.waits.is_empty() {
        let say =
            format!("term 1: {leader} leads a cluster of {} nodes, as it was found", settings.nodes.len());
        plan.txn = Some((adopted(settings, view, leader, facts), say));
    }
    plan
}

fn adopted(settings: &Settings, view: &View, leader: &NodeName, facts: &Facts) -> Txn {
    let timeline = facts.lineage.last().timeline.0;
    let term = Term {
        number: 1,
        phase: Phase::Open,
        leader: leader.clone(),
        lineage: facts.lineage.clone(),
        run: matches!(settings.durability, Durability::Sync { .. }).then_some(facts.started),
        permission_us: u64::try_from(settings.timings.permission.as_micros()).unwrap_or(u64::MAX),
        highest_timeline: timeline,
        suspects: Default::default(),
    };
    let history = History {
        leader: leader.clone(),
        before: None,
        lineage: facts.lineage.clone(),
        kind: None,
        reason: "taken in as it was found".to_owned(),
        asked: Asked::default(),
        lost_bytes: 0,
        at_ms: 0,
        steps_ms: Vec::new(),
    };
    let sync = Sync { leader: leader.clone(), rule: Rule::default(), next: None, heir: None };
    let config = Config { paused: false, durability: settings.durability };
    let identity = Identity { system_identifier: facts.system_identifier };
    let new = [Key::Identity, Key::Term, Key::Op, Key::Sync, Key::Config, Key::History(1)];
    let txn = new.into_iter().fold(Txn::new(), |txn, key| txn.if_at(key, Revision(0)));
    let txn = txn
        .if_at(Key::Epoch, view.modified(&Key::Epoch))
        .put(Key::Identity, Record::Identity(identity))
        .put(Key::Term, Record::Term(term))
        .put(Key::Sync, Record::Sync(sync))
        .put(Key::Config, Record::Config(config))
        .put(Key::History(1), Record::History(history));
    settings
        .nodes
        .iter()
        .fold(txn, |txn, (name, member)| txn.put(Key::Node(name.clone()), Record::Member(member.clone())))
}
