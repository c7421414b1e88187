//! How a coordinator looks at the nodes, and shows what it sees.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ASK_AGAIN, Action, Coordinator, SELDOM};
use crate::cluster::facts::Report;
use crate::cluster::key::Key;
use crate::cluster::known::Known;
use crate::cluster::moment::Moment;
use crate::cluster::records::{Observation, Opinion, Phase, Record};
use crate::cluster::transaction::{CallId, View};
use crate::topology::NodeName;

impl Coordinator {
    /// Takes what other observers saw of the leader's position.
    pub(super) fn note_leader_end(&mut self, now: Moment, view: &View) {
        let Some(term) = view.term() else { return };
        let seen = view.observations().filter(|(_, seen)| seen.term == term.number);
        let end = seen.map(|(_, seen)| seen.leader_end).max();
        if let Some(end) = end.filter(|end| *end > self.sample.0) {
            self.sample = (end, now);
        }
    }

    /// Keeps the list of nodes that of the store, or that of the settings while there is none.
    pub(super) fn meet_nodes(&mut self) {
        let members: BTreeMap<NodeName, String> = match &self.view {
            Some(view) if view.identity().is_some() => {
                view.members().map(|(name, member)| (name.clone(), member.address.clone())).collect()
            }
            _ => self
                .settings
                .nodes
                .iter()
                .map(|(name, member)| (name.clone(), member.address.clone()))
                .collect(),
        };
        self.nodes.retain(|name, _| members.contains_key(name));
        for (name, address) in members {
            self.nodes.entry(name).or_default().address = address;
        }
    }

    pub(super) fn handle_report(&mut self, now: Moment, call: CallId, report: Report) {
        let Some(term) = self.view.as_ref().and_then(View::term) else {
            self.nodes.values_mut().any(|known| known.reported(now, call, report.clone()));
            return;
        };
        let found = self.nodes.iter_mut().find_map(|(name, known)| {
            known.reported(now, call, report.clone()).then_some((name.clone(), known))
        });
        let (Some((name, known)), Report::Answered(facts)) = (found, &report) else { return };
        let asked = known.asked_at().unwrap_or(now);
        if name == term.leader && facts.is_primary() && facts.lineage == term.lineage {
            // What the last leader writes while the term is frozen is not the next one's.
            if term.phase != Phase::Frozen {
                self.memory.leader_reached(term.number, facts.position());
            }
            if facts.position() > self.sample.0 || asked > self.sample.1 {
                self.sample = (facts.position(), asked);
            }
        } else if facts.lineage.kinship(facts.position(), &term.lineage).shared() >= self.sample.0 {
            known.level_at = known.level_at.max(Some(self.sample.1));
        }
    }

    /// Whether this proxy sees no living node while another one does: it had better leave the decisions to that one.
    pub(super) fn is_blind(&self, now: Moment, view: &View) -> bool {
        let (timings, me) = (&self.settings.timings, &self.settings.me);
        let sees = |known: &Known| known.opinion(now, timings).is_none_or(|own| own == Opinion::Alive);
        if self.nodes.values().any(sees) {
            return false;
        }
        view.observations().any(|(name, observation)| {
            let fresh = name != me && self.observers.is_fresh(name, now, timings);
            fresh && observation.nodes.values().any(|opinion| *opinion == Opinion::Alive)
        })
    }

    /// How long to wait between two probes of a node.
    pub(super) fn apart(&self, name: &NodeName) -> Duration {
        let probe = self.settings.timings.probe;
        let leader = self.view.as_ref().and_then(View::term).map(|term| &term.leader);
        match leader {
            _ if self.hurry && self.epoch.is_some() => ASK_AGAIN,
            Some(leader) if leader != name => probe * SELDOM,
            _ => probe,
        }
    }

    pub(super) fn probe(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.nodes.is_empty() && self.view.is_none() {
            self.meet_nodes();
        }
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            let (apart, within) = (self.apart(&name), self.settings.timings.probe);
            let call = CallId(self.calls + 1);
            let Some(known) = self.nodes.get_mut(&name) else { continue };
            if known.probe_due(apart).is_some_and(|due| due <= now) {
                self.calls += 1;
                known.asked(now, call);
                actions.push(Action::Probe { call, node: name, address: known.address.clone(), within });
            }
        }
    }

    /// Shows what this proxy sees of the nodes: at once when it changes, and now and then so that it is known to live.
    pub(super) fn show(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let timings = &self.settings.timings;
        let term = self.view.as_ref().and_then(View::term);
        let mut seen = Observation { incarnation: self.settings.incarnation, ..Observation::default() };
        for (name, known) in &self.nodes {
            let opinion = match term {
                Some(term) if term.leader == *name => {
                    known.leads(now, timings, &term.lineage, self.memory.last_opened())
                }
                _ => known.opinion(now, timings),
            };
            seen.nodes.extend(opinion.map(|opinion| (name.clone(), opinion)));
        }
        if let Some(term) = term {
            (seen.term, seen.leader_end) = (term.number, self.memory.leader_end(term.number));
        }
        let same = self.shown.as_ref().is_some_and(|shown| shown.nodes == seen.nodes);
        if same && now < self.show_at {
            return;
        }
        self.show_at = now + timings.observe;
        seen.count = self.shown.as_ref().map_or(1, |shown| shown.count + 1);
        self.shown = Some(seen.clone());
        actions.push(Action::Show(Key::Observe(self.settings.me.clone()), Record::Observation(seen)));
    }
}
