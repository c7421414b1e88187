//! All that a decision is made from, in one place.

use std::time::Duration;

use super::facts::{Facts, Upstream};
use super::key::{Key, ProxyName};
use super::known::{Known, Nodes, Sort};
use super::lineage::{Kinship, Lineage};
use super::memory::Memory;
use super::moment::Moment;
use super::mutation::Mutation;
use super::observers::Observers;
use super::order::Command;
use super::records::{Config, Durability, Member, Operation, Opinion, Phase, Record, Rule, Step, Sync, Term};
use super::settings::{Settings, Timings};
use super::sync_names::SyncNames;
use super::transaction::{Revision, Txn, View};
use super::verdict::Votes;
use super::wait::Wait;
use crate::pg::Lsn;
use crate::topology::NodeName;

/// What the active coordinator knows at one moment. The store's part was read after its last transaction ended.
pub(super) struct Situation<'a> {
    pub(super) now: Moment,
    pub(super) settings: &'a Settings,
    pub(super) view: &'a View,
    pub(super) term: &'a Term,
    pub(super) nodes: &'a Nodes,
    pub(super) observers: &'a Observers,
    pub(super) memory: &'a Memory,
}

/// What to do next. Orders are wishes: the coordinator gives those a node is ready for, and takes ownership first.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// At most one transaction, with a line for people.
    pub(super) txn: Option<(Txn, String)>,
    /// What nodes are to do.
    pub(super) orders: Vec<(NodeName, Command)>,
    /// What is waited for.
    pub(super) waits: Vec<Wait>,
    /// When to look again if nothing happens.
    pub(super) wake: Option<Moment>,
    /// Somebody is waiting: read and probe as fast as answers come.
    pub(super) hurry: bool,
    /// The operation is being undone: keep to that.
    pub(super) aborting: Option<String>,
}

impl Plan {
    pub(super) fn order(&mut self, node: &NodeName, command: Command) {
        self.orders.push((node.clone(), command));
    }

    pub(super) fn wake_at(&mut self, moment: Moment) {
        self.wake = super::moment::earliest(self.wake, Some(moment));
    }
}

impl Situation<'_> {
    pub(super) fn is(&self, bug: Mutation) -> bool {
        self.settings.mutated.is(bug)
    }

    pub(super) fn timings(&self) -> &Timings {
        &self.settings.timings
    }

    /// Starts a transaction that only happens while everything decided upon still stands (rule C1).
    pub(super) fn txn(&self) -> Txn {
        let keys = [Key::Epoch, Key::Term, Key::Op, Key::Sync, Key::Config];
        let unchanged = |txn: Txn, key: Key| {
            let at = self.view.modified(&key);
            txn.if_at(key, at)
        };
        if self.is(Mutation::EpochNotCompared) {
            return Txn::new();
        }
        keys.into_iter().fold(Txn::new(), unchanged)
    }

    pub(super) fn modified(&self, key: &Key) -> Revision {
        self.view.modified(key)
    }

    /// Returns the operation under way.
    pub(super) fn operation(&self) -> Option<&Operation> {
        self.view.operation().filter(|operation| operation.step != Step::Settled)
    }

    /// Tells whether `name` is being promoted to lead.
    pub(super) fn is_chosen(&self, name: &NodeName) -> bool {
        let chosen = |operation: &Operation| {
            operation.step == Step::Chosen && operation.candidate.as_ref() == Some(name)
        };
        self.operation().is_some_and(chosen)
    }

    pub(super) fn config(&self) -> Config {
        let default = Config { paused: false, durability: self.settings.durability };
        self.view.config().cloned().unwrap_or(default)
    }

    /// Returns how many followers must have a commit; `None` when none must.
    pub(super) fn strictness(&self) -> Option<(u32, bool)> {
        match self.config().durability {
            Durability::Async => None,
            Durability::Sync { k, strict } => Some((k, strict)),
        }
    }

    /// Returns who may hold acknowledged commits.
    pub(super) fn sync(&self) -> Sync {
        let none = Sync { leader: self.term.leader.clone(), rule: Rule::default(), next: None, heir: None };
        self.view.sync().cloned().unwrap_or(none)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&NodeName, &Member)> {
        self.view.members()
    }

    pub(super) fn member(&self, name: &NodeName) -> Option<&Member> {
        match self.view.record(&Key::Node(name.clone()))? {
            Record::Member(member) => Some(member),
            _ => None,
        }
    }

    /// Returns what is known of a node; nothing is known of one that was never asked.
    pub(super) fn known(&self, name: &NodeName) -> Option<&Known> {
        self.nodes.get(name)
    }

    /// Returns what a node said last, if that still holds. Ownership comes first: before, an earlier coordinator
    /// might still change it.
    pub(super) fn facts(&self, name: &NodeName) -> Option<&Facts> {
        let known = self.known(name)?;
        let facts = known.facts()?;
        let ours = self.view.identity().is_none_or(|own| own.system_identifier == facts.system_identifier);
        (ours && (known.owned || self.is(Mutation::NodesNotOwned))).then_some(facts)
    }

    /// Returns what the leader said last, if it still is the primary of this history.
    pub(super) fn leader_facts(&self) -> Option<&Facts> {
        let facts = self.facts(&self.term.leader)?;
        (facts.is_primary() && facts.lineage == self.term.lineage).then_some(facts)
    }

    /// Returns how the node's data relates to the leader's history.
    pub(super) fn kinship(&self, facts: &Facts) -> Kinship {
        self.relation(facts, facts.whole())
    }

    /// Returns how much it may hold of the history that counts: be the last record whole or not, nobody has more who
    /// reached less.
    pub(super) fn reach(&self, facts: &Facts) -> Lsn {
        self.relation(facts, facts.position()).shared()
    }

    fn relation(&self, facts: &Facts, position: Lsn) -> Kinship {
        let received = || facts.standby().map_or(position, |standby| standby.received.unwrap_or(Lsn(0)));
        let position = if self.is(Mutation::ReceivedPositionOnly) { received() } else { position };
        if self.is(Mutation::AncestryIgnored) {
            return Kinship::Same(position);
        }
        facts.lineage.kinship(position, &self.term.lineage)
    }

    /// Whether the node's data may only look like what it seems: it needs a new copy.
    pub(super) fn is_suspect(&self, name: &NodeName, lineage: &Lineage) -> bool {
        let from = self.term.suspects.get(name);
        from.is_some_and(|from| lineage.last().timeline.0 >= *from) && !self.is(Mutation::SuspectsForgotten)
    }

    /// Collects what is said of the leader. The own opinion counts if it was formed after `after`.
    pub(super) fn votes(&self, after: Option<Moment>) -> Votes {
        let (leader, timings) = (&self.term.leader, self.timings());
        let mut votes = Votes::default();
        let others = self.view.grants().filter(|(_, grant)| !grant.evicted).map(|(name, _)| name);
        votes.proxies = others.chain([&self.settings.me]).collect::<std::collections::BTreeSet<_>>().len();
        let own =
            self.known(leader).filter(|known| after.is_none_or(|after| known.asked_at() >= Some(after)));
        if let Some(opinion) = own
            .and_then(|known| known.leads(self.now, timings, &self.term.lineage, self.memory.last_opened()))
        {
            votes.observers.insert(self.settings.me.to_string(), opinion);
        }
        for (name, observation) in self.view.observations() {
            let counts = *name != self.settings.me && self.observers.is_fresh(name, self.now, timings);
            if let Some(opinion) = observation.nodes.get(leader).filter(|_| counts) {
                votes.observers.insert(name.to_string(), *opinion);
            }
        }
        for (name, _) in self.members().filter(|(name, _)| *name != leader) {
            if let Some(opinion) = self.witness(name) {
                votes.witnesses.insert(name.to_string(), opinion);
            }
        }
        votes
    }

    /// What a follower's walreceiver tells of the leader. Only one that was pointed at it, long enough ago to have
    /// connected, can tell of its absence.
    fn witness(&self, name: &NodeName) -> Option<Opinion> {
        let known = self.known(name)?;
        let standby = known.last_facts()?.standby()?;
        let ours = match &standby.upstream {
            Upstream::Leader { node, .. } => *node == self.term.leader,
            Upstream::None | Upstream::DeadEnd { .. } => return None,
            Upstream::Foreign => false,
        };
        let length = self.timings().witness;
        match standby.receiver {
            Some(receiver) if receiver.heard < length => Some(Opinion::Alive),
            _ => {
                let pointed = known.done(Sort::Follow).map(|follow| follow.at).max(self.memory.last_opened());
                let settled = pointed.is_some_and(|at| self.now.since(at) >= length);
                (ours && settled).then_some(Opinion::Silent)
            }
        }
    }

    /// Returns the furthest position the leader is known to have flushed.
    pub(super) fn known_end(&self) -> Lsn {
        let seen = self.view.observations().filter(|(_, observation)| observation.term == self.term.number);
        let seen = seen.map(|(_, observation)| observation.leader_end).max().unwrap_or(Lsn(0));
        seen.max(self.memory.leader_end(self.term.number))
    }

    /// Returns the names PostgreSQL must wait for under a rule.
    pub(super) fn names(&self, rule: &Rule) -> SyncNames {
        if rule.k == 0 {
            return SyncNames::Nobody;
        }
        SyncNames::Any { k: rule.k, names: rule.voters.clone() }
    }

    /// Whether a commit went through the rule in force on the node, in this term and run.
    pub(super) fn is_proven(&self, name: &NodeName, facts: &Facts) -> bool {
        let proof = self.known(name).and_then(Known::proof);
        proof.is_some_and(|proof| {
            proof.term == self.term.number
                && proof.run == Some(facts.started)
                && proof.names.as_ref() == Some(&facts.sync_names)
        })
    }

    /// Returns the proxies that have not acknowledged the term as `kind` since it was last written.
    pub(super) fn unacknowledged(&self, kind: super::records::AckKind) -> Vec<ProxyName> {
        let written = self.modified(&Key::Term);
        let missing = self.view.grants().filter(|(name, grant)| {
            let said = self.view.ack(name).is_some_and(|ack| {
                ack.kind == kind
                    && ack.term == self.term.number
                    && ack.incarnation == grant.incarnation
                    && self.modified(&Key::Ack((*name).clone())) > written
            });
            !said
        });
        missing.map(|(name, _)| name.clone()).collect()
    }

    /// Returns how long the present step has been known to this coordinator.
    pub(super) fn in_step(&self) -> Duration {
        self.now.since(self.memory.step_since())
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.term.phase == Phase::Frozen
    }
}
