//! What one proxy may believe about who leads, and until when (rules P1-P4).
//!
//! ```text
//!            good reading, connections of earlier terms closed
//!   Closed ------------------------------------------------------> Open(T) <-> Hold(T)
//!      ^                                                              |
//!      +--- frozen, a higher term, or permission ran out: close all --+
//! ```
//!
//! The shell closes and opens as told, and asks [`Permission::may_send`] and [`Permission::may_deliver`] (or keeps
//! [`Permission::pass`] in a cell of its own and compares the moment itself).

mod interface;

pub use interface::{Action, Event, Gate, Lead, Pass};

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::{Key, ProxyName};
use super::moment::{Moment, earliest};
use super::mutation::{Mutated, Mutation};
use super::records::{Ack, AckKind, Grant, Phase, Record, Term};
use super::settings::Timings;
use super::transaction::{CallId, Revision, Selector, Txn, TxnAnswer, View};
use crate::topology::NodeName;

/// One proxy's permission to talk to the primary.
#[derive(Clone, Debug, Hash)]
pub struct Permission {
    me: ProxyName,
    incarnation: u64,
    timings: Timings,
    mutated: Mutated,
    calls: u64,
    /// Readings under way and when they were asked for.
    reads: BTreeMap<CallId, Moment>,
    next_read: Moment,
    /// The transaction under way.
    write: Option<(CallId, Wish)>,
    /// What was seen is older than the last transaction's answer, which came after this call.
    stale: bool,
    written: CallId,
    seen: Option<Seen>,
    granted: Option<Granted>,
    /// The node connections may exist to, since the gate opened to it.
    opened: Option<NodeName>,
    closing: Option<(CallId, NodeName)>,
    drained: Revision,
    acknowledged: Option<(Revision, AckKind)>,
    /// The grant was last seen with another run of this proxy.
    predecessor: bool,
    /// Until then that run may still hold permission.
    predecessor_until: Option<Moment>,
    gate: Gate,
    leaving: Leaving,
}

/// The newest reading.
#[derive(Clone, Debug, Hash)]
struct Seen {
    revision: Revision,
    term: Option<(Term, Revision)>,
    grant: Option<(Grant, Revision)>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Granted {
    term: u64,
    until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wish {
    Grant,
    Ack { term: Revision, kind: AckKind },
    Goodbye,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leaving {
    No,
    Asked,
    Left,
}

/// More readings than this are not kept under way.
const READS: usize = 4;

impl Permission {
    /// Starts without permission, at `now`. `incarnation` is another number with each start of the proxy.
    pub fn new(me: ProxyName, incarnation: u64, timings: Timings, mutated: Mutated, now: Moment) -> Self {
        Permission {
            me,
            incarnation,
            timings,
            mutated,
            calls: 0,
            reads: BTreeMap::new(),
            next_read: now,
            write: None,
            stale: false,
            written: CallId(0),
            seen: None,
            granted: None,
            opened: None,
            closing: None,
            drained: Revision(0),
            acknowledged: None,
            predecessor: false,
            predecessor_until: None,
            gate: Gate::Closed,
            leaving: Leaving::No,
        }
    }

    /// Takes an event and says what to do, in this order. `now` never falls from one call to the next.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {}
            Event::Nudged => self.next_read = now,
            Event::StoreRead { call, view } => {
                if let (Some(asked), Some(view)) = (self.reads.remove(&call), view) {
                    self.stale &= call <= self.written;
                    self.handle_view(now, asked, &view);
                }
            }
            Event::TxnAnswered { call, answer } => self.handle_answer(now, call, answer, &mut actions),
            Event::ServersClosed { closing } => {
                if self.closing.take_if(|(call, _)| *call == closing).is_some() {
                    self.opened = None;
                }
            }
            Event::Drained { hold } => self.drained = self.drained.max(hold),
            Event::Goodbye => {
                if self.leaving == Leaving::No {
                    self.leaving = Leaving::Asked;
                }
            }
        }
        self.expire(now);
        self.turn_gate(&mut actions);
        self.write(now, &mut actions);
        self.read(now, &mut actions);
        actions
    }

    /// Whether something may be sent to the primary over a connection opened under `term`, be it part of what is
    /// under way or, with the gate open, something new (rule P2).
    pub fn may_send(&self, now: Moment, term: u64) -> bool {
        self.pass().is_some_and(|pass| pass.term == term && now < pass.until)
    }

    /// Whether something that came over such a connection may be delivered to a client (rule P3).
    pub fn may_deliver(&self, now: Moment, term: u64) -> bool {
        let endless = self.is(Mutation::NoAckGate);
        self.pass().is_some_and(|pass| pass.term == term && (now < pass.until || endless))
    }

    /// Returns the permission; `None` without one. Changes with `step` only.
    pub fn pass(&self) -> Option<Pass> {
        let Granted { term, until } = self.granted?;
        match self.gate {
            Gate::Closed => None,
            Gate::Hold { .. } => Some(Pass { term, until, open: false }),
            Gate::Open(_) => Some(Pass { term, until, open: true }),
        }
    }

    /// Returns when the permission ends; `None` without one.
    pub fn until(&self) -> Option<Moment> {
        self.granted.map(|granted| granted.until)
    }

    /// Returns the gate as it stands.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Returns when to call `step` with a tick if nothing happens before.
    pub fn wake_at(&self) -> Option<Moment> {
        if self.leaving == Leaving::Left {
            return None;
        }
        let until = self.until().filter(|_| !self.is(Mutation::NoAckGate));
        earliest(Some(self.next_read), earliest(until, self.predecessor_until))
    }

    /// A reading asked for at `asked`: what it does not say is no reason to believe the contrary, so a reading that
    /// makes no sense only fails to renew.
    fn handle_view(&mut self, now: Moment, asked: Moment, view: &View) {
        let newest = self.seen.as_ref();
        let term = view.term().map(|term| (term.clone(), view.modified(&Key::Term)));
        // Readings may overtake one another. A store that went back in time looks the same: no permission from it.
        if newest.is_some_and(|seen| view.revision < seen.revision || fell(&seen.term, &term)) {
            return;
        }
        let grant_key = Key::Grant(self.me.clone());
        let grant = view.grant(&self.me).map(|grant| (grant.clone(), view.modified(&grant_key)));
        let granted = self.is(Mutation::GrantIgnored)
            || grant
                .as_ref()
                .is_some_and(|(grant, _)| grant.incarnation == self.incarnation && !grant.evicted);
        if let Some((term, _)) = &term {
            if self.granted.is_some_and(|granted| granted.term != term.number) || term.phase == Phase::Frozen
            {
                self.granted = None;
            }
            if granted && (term.phase != Phase::Frozen || self.is(Mutation::FrozenRenews)) {
                let length = self.timings.permission.min(Duration::from_micros(term.permission_us));
                let from = if self.is(Mutation::PermissionFromReceipt) { now } else { asked };
                let until = self.granted.map_or(Moment(0), |granted| granted.until).max(from + length);
                self.granted = Some(Granted { term: term.number, until });
            }
        }
        self.inherit(now, grant.as_ref().map(|(grant, _)| grant), term.as_ref().map(|(term, _)| term));
        self.seen = Some(Seen { revision: view.revision, term, grant });
    }

    /// The run before this one may have been renewed until the moment its grant became ours, and from then on its
    /// acknowledgements look like ours. So none is given until its permission has certainly ended.
    fn inherit(&mut self, now: Moment, grant: Option<&Grant>, term: Option<&Term>) {
        match grant {
            None => self.predecessor = false,
            Some(grant) if grant.incarnation != self.incarnation => self.predecessor = true,
            Some(_) if self.predecessor => {
                let longest = term.map_or(Duration::ZERO, |term| Duration::from_micros(term.permission_us));
                let wait = self.timings.fence_wait(longest.max(self.timings.permission));
                self.predecessor_until = Some(now + wait);
                self.predecessor = false;
            }
            Some(_) => {}
        }
    }

    fn handle_answer(&mut self, now: Moment, call: CallId, answer: TxnAnswer, actions: &mut Vec<Action>) {
        let Some((_, wish)) = self.write.take_if(|(id, _)| *id == call) else { return };
        match (wish, answer) {
            (Wish::Ack { term, kind }, TxnAnswer::Applied(_)) => self.acknowledged = Some((term, kind)),
            (Wish::Goodbye, TxnAnswer::Applied(_)) => {
                self.leaving = Leaving::Left;
                actions.push(Action::Left);
            }
            _ => {}
        }
        (self.stale, self.written, self.next_read) = (true, CallId(self.calls), now);
    }

    /// Rule P1: permission ends by our own clock.
    fn expire(&mut self, now: Moment) {
        if self.granted.is_some_and(|granted| granted.until <= now) && !self.is(Mutation::NoAckGate) {
            self.granted = None;
        }
        if self.predecessor_until.is_some_and(|until| until <= now) {
            self.predecessor_until = None;
        }
    }

    /// Rule P4: without permission everything is closed first; only then may the gate open again.
    fn turn_gate(&mut self, actions: &mut Vec<Action>) {
        let wanted = self.wanted_gate();
        let stays = match (&self.gate, &wanted) {
            (Gate::Closed, _) => true,
            (
                Gate::Hold { lead, .. } | Gate::Open(lead),
                Gate::Hold { lead: next, .. } | Gate::Open(next),
            ) => lead == next,
            _ => false,
        };
        if !stays {
            self.set_gate(Gate::Closed, actions);
            if let (Some(node), None) = (self.opened.clone(), &self.closing) {
                let closing = self.next_call();
                self.closing = Some((closing, node.clone()));
                actions.push(Action::CloseServers { closing, node });
            }
        }
        if self.closing.is_some() && !self.is(Mutation::AckBeforeClosed) {
            return;
        }
        if let Gate::Hold { lead, .. } | Gate::Open(lead) = &wanted {
            self.opened = Some(lead.leader.clone());
        }
        self.set_gate(wanted, actions);
    }

    fn wanted_gate(&self) -> Gate {
        let term = self.seen.as_ref().and_then(|seen| seen.term.as_ref());
        let (Some((term, hold)), Some(granted)) = (term, self.granted) else { return Gate::Closed };
        if self.leaving != Leaving::No || granted.term != term.number {
            return Gate::Closed;
        }
        let lead = Lead {
            term: term.number,
            leader: term.leader.clone(),
            lineage: term.lineage.clone(),
            run: if self.is(Mutation::RestartIgnored) { None } else { term.run },
        };
        match term.phase {
            Phase::Hold => Gate::Hold { lead, hold: *hold },
            Phase::Open | Phase::Frozen => Gate::Open(lead),
        }
    }

    fn set_gate(&mut self, gate: Gate, actions: &mut Vec<Action>) {
        if self.gate != gate {
            self.gate = gate.clone();
            actions.push(Action::Gate(gate));
        }
    }

    /// Asks for a grant, or tells the coordinators how far the proxy followed.
    fn write(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.write.is_some() || self.stale || self.leaving == Leaving::Left {
            return;
        }
        let Some(seen) = &self.seen else { return };
        let grant_key = Key::Grant(self.me.clone());
        let grant_at = seen.grant.as_ref().map_or(Revision(0), |(_, at)| *at);
        let mine = seen.grant.as_ref().is_some_and(|(grant, _)| grant.incarnation == self.incarnation);
        let evicted = seen.grant.as_ref().is_some_and(|(grant, _)| grant.evicted);
        let (wish, txn) = if self.leaving == Leaving::Asked {
            if self.opened.is_some() || self.closing.is_some() {
                return;
            }
            let gone = Txn::new().if_at(grant_key.clone(), grant_at);
            let gone = if mine { gone.delete(grant_key).delete(Key::Ack(self.me.clone())) } else { gone };
            (Wish::Goodbye, gone)
        } else if (!mine || evicted) && !self.is(Mutation::GrantIgnored) {
            let grant = Grant { incarnation: self.incarnation, evicted: false };
            let txn = Txn::new().if_at(grant_key.clone(), grant_at).put(grant_key, Record::Grant(grant));
            (Wish::Grant, txn)
        } else if let Some((term, at, kind)) = self.owed(now) {
            let ack = Ack { incarnation: self.incarnation, term, kind };
            let txn = Txn::new()
                .if_at(grant_key, grant_at)
                .if_at(Key::Term, at)
                .put(Key::Ack(self.me.clone()), Record::Ack(ack));
            (Wish::Ack { term: at, kind }, txn)
        } else {
            return;
        };
        let call = self.next_call();
        self.write = Some((call, wish));
        actions.push(Action::Commit { call, txn });
    }

    /// Returns what there is to acknowledge: the term, its revision, and what was done.
    fn owed(&self, now: Moment) -> Option<(u64, Revision, AckKind)> {
        let (term, at) = self.seen.as_ref()?.term.as_ref()?;
        let kind = match term.phase {
            Phase::Open => return None,
            Phase::Hold => {
                // A gate that never opened to this term has nothing under way.
                let idle = self.opened.is_none() || self.drained >= *at;
                idle.then_some(AckKind::Held)?
            }
            Phase::Frozen => {
                let inherited = self.predecessor_until.is_some_and(|until| now < until);
                if inherited && !self.is(Mutation::HeirAcksAtOnce) {
                    return None;
                }
                let closed = self.opened.is_none() || self.is(Mutation::AckBeforeClosed);
                closed.then_some(AckKind::Fenced)?
            }
        };
        (self.acknowledged != Some((*at, kind))).then_some((term.number, *at, kind))
    }

    fn read(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if now < self.next_read || self.leaving == Leaving::Left {
            return;
        }
        self.next_read = now + self.timings.renew;
        if self.reads.len() < READS {
            let call = self.next_call();
            self.reads.insert(call, now);
            let selectors = vec![Selector::One(Key::Term), Selector::One(Key::Grant(self.me.clone()))];
            actions.push(Action::Read { call, selectors });
        }
    }

    fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    fn is(&self, bug: Mutation) -> bool {
        self.mutated.is(bug)
    }
}

/// Whether the term went back: the store was wiped or restored from a copy.
fn fell(before: &Option<(Term, Revision)>, after: &Option<(Term, Revision)>) -> bool {
    match (before, after) {
        (Some((before, _)), Some((after, _))) => after.number < before.number,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests;
