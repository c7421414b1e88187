//! The one entrance: a coordinator, one in each proxy, of which one at a time is active.
//!
//! All of them observe the nodes and show what they see. The active one decides, each time anew from three things: what
//! the store holds, read after its last transaction ended; what the nodes said when asked after the last order to
//! them; and how long it has known either. Nothing else is remembered that matters, so a successor, which starts with
//! the store and its own eyes, goes on from any step.

mod eyes;
mod interface;

pub use interface::{Action, Event};

use std::collections::BTreeMap;
use std::time::Duration;

use super::claim::Claim;
use super::explain::{self, Explanation};
use super::fencing::{self, Fence};
use super::key::{Key, Kind};
use super::known::{Context, Known, Nodes};
use super::memory::Memory;
use super::moment::{Moment, earliest};
use super::observers::Observers;
use super::order::{Command, Done, Order};
use super::records::{Beat, Observation, Phase, Record, Status, Step, Term};
use super::settings::Settings;
use super::situation::{Plan, Situation};
use super::transaction::{CallId, Selector, Txn, TxnAnswer, View};
use super::wait::Wait;
use super::{adopt, failover, keeping, promotion, requests, switchover};
use crate::pg::Lsn;
use crate::topology::NodeName;

/// One proxy's coordinator.
#[derive(Debug)]
pub struct Coordinator {
    settings: Settings,
    stepped_at: Moment,
    calls: u64,
    view: Option<View>,
    /// Reading under way, and when the next one is due.
    reading: Option<CallId>,
    read_at: Moment,
    /// The transaction under way, and what to say when it happens.
    writing: Option<(CallId, String)>,
    /// The last transaction's answer came after this call: only later readings tell what became of it.
    written: CallId,
    stale: bool,
    beating: Option<CallId>,
    beat_at: Moment,
    beats: u64,
    /// The epoch in which this coordinator is active.
    epoch: Option<u64>,
    claim: Claim,
    nodes: Nodes,
    observers: Observers,
    memory: Memory,
    /// The furthest position seen of the leader, and when it was seen there.
    sample: (Lsn, Moment),
    shown: Option<Observation>,
    show_at: Moment,
    statuses: BTreeMap<NodeName, Status>,
    waits: Vec<Wait>,
    plan_wake: Option<Moment>,
    hurry: bool,
    leaving: Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Asked,
    Left,
}

/// While somebody waits, the store is read this often if its watch does not ring.
const POLL: Duration = Duration::from_millis(20);
/// While somebody waits, a node is asked again so soon after it was asked last.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// An order that failed is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);
/// Followers are probed this many times as seldom as the leader.
const SELDOM: u32 = 4;

impl Coordinator {
    /// Starts at `now`, passive.
    pub fn new(settings: Settings, now: Moment) -> Self {
        Coordinator {
            settings,
            stepped_at: now,
            calls: 0,
            view: None,
            reading: None,
            read_at: now,
            writing: None,
            written: CallId(0),
            stale: false,
            beating: None,
            beat_at: now,
            beats: 0,
            epoch: None,
            claim: Claim::default(),
            nodes: Nodes::new(),
            observers: Observers::default(),
            memory: Memory::default(),
            sample: (Lsn(0), now),
            shown: None,
            show_at: now,
            statuses: BTreeMap::new(),
            waits: Vec::new(),
            plan_wake: None,
            hurry: false,
            leaving: Leaving::No,
        }
    }

    /// Takes an event and says what to do. `now` never falls from one call to the next.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.stepped_at = now;
        self.handle(now, event, &mut actions);
        if self.leaving == Leaving::Left {
            return actions;
        }
        self.lead(now, &mut actions);
        self.read(now, &mut actions);
        self.probe(now, &mut actions);
        self.show(now, &mut actions);
        actions
    }

    /// Returns when to call `step` with a tick if nothing happens before.
    pub fn wake_at(&self) -> Option<Moment> {
        if self.leaving == Leaving::Left {
            return None;
        }
        let read = self.reading.is_none().then_some(self.read_at);
        let beat = (self.epoch.is_some() && self.beating.is_none()).then_some(self.beat_at);
        let beat = beat.filter(|at| *at > self.stepped_at);
        let probes = self.nodes.iter().filter_map(|(name, known)| known.probe_due(self.apart(name))).min();
        let active = self.epoch.is_some();
        let retries =
            self.nodes.values().map(Known::retry_at).filter(|at| active && *at > self.stepped_at).min();
        // What was due at the last step and was not done waits for an answer, which is an event of its own.
        let planned = self.plan_wake.filter(|at| *at > self.stepped_at);
        let soon = earliest(earliest(read, beat), earliest(probes, planned));
        earliest(earliest(soon, retries), Some(self.show_at))
    }

    /// Whether this coordinator is the active one, as far as it knows.
    pub fn is_active(&self) -> bool {
        self.epoch.is_some()
    }

    /// Returns the store as last read; `None` before it was.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Returns what is going on and what is waited for.
    pub fn explain(&self) -> Explanation {
        let view = self.view.as_ref();
        let term = view.and_then(View::term);
        Explanation {
            active: self.epoch.is_some(),
            coordinator: view.and_then(View::epoch).map(|epoch| epoch.coordinator.clone()),
            term: term.map(|term| (term.number, term.phase, term.leader.clone())),
            operation: view.and_then(View::operation).filter(|op| op.step != Step::Settled).cloned(),
            waits: if view.is_none() { vec![Wait::Store] } else { self.waits.clone() },
            nodes: self.statuses.clone(),
        }
    }

    fn handle(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Nudged => self.read_at = now,
            Event::StoreRead { call, view } => {
                if self.reading.take_if(|reading| *reading == call).is_some() {
                    match view {
                        Some(view) => self.handle_view(now, call, view, actions),
                        None => self.read_at = now + self.settings.timings.beat,
                    }
                }
            }
            Event::TxnAnswered { call, answer } => self.handle_answer(now, call, answer, actions),
            Event::Probed { call, report } => self.handle_report(now, call, report),
            Event::NodeDone { call, done } => {
                let deposed = done == Done::Deposed;
                for known in self.nodes.values_mut() {
                    if known.finished(now, call, done.clone(), RETRY) {
                        break;
                    }
                }
                if deposed {
                    self.read_at = now;
                }
            }
            Event::Goodbye => self.leaving = Leaving::Asked,
        }
    }

    fn handle_view(&mut self, now: Moment, call: CallId, view: View, actions: &mut Vec<Action>) {
        self.stale &= call <= self.written;
        if self.view.as_ref().is_some_and(|old| view.revision < old.revision) {
            return;
        }
        self.observers.hear(now, &view);
        self.memory.hear(now, &view);
        self.claim.hear(now, &view);
        let mine = view.epoch().is_some_and(|epoch| {
            epoch.coordinator == self.settings.me && epoch.incarnation == self.settings.incarnation
        });
        let epoch = view.epoch().filter(|_| mine).map(|epoch| epoch.number);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.nodes.values_mut().for_each(Known::deposed);
            self.waits.clear();
            self.beat_at = now;
            let (verb, number) = (if mine { "decides" } else { "observes" }, view.epoch().map(|e| e.number));
            actions.push(Action::Say(format!("epoch {}: this proxy {verb}", number.unwrap_or(0))));
        }
        self.note_leader_end(now, &view);
        self.view = Some(view);
        self.meet_nodes();
    }

    fn handle_answer(&mut self, now: Moment, call: CallId, answer: TxnAnswer, actions: &mut Vec<Action>) {
        if self.beating.take_if(|beating| *beating == call).is_some() {
            if answer == TxnAnswer::Refused {
                self.read_at = now;
            }
            return;
        }
        let Some((_, say)) = self.writing.take_if(|(writing, _)| *writing == call) else { return };
        (self.stale, self.written, self.read_at) = (true, CallId(self.calls), now);
        // A reading that was asked for before does not count; the next one is not to wait for it.
        self.reading = None;
        if self.leaving == Leaving::Asked && say.is_empty() {
            self.leaving = Leaving::Left;
            actions.push(Action::Left);
            return;
        }
        match answer {
            TxnAnswer::Applied(_) => actions.push(Action::Say(say)),
            TxnAnswer::Refused => {}
            TxnAnswer::Unknown => actions.push(Action::Say(format!("no answer of the store whether: {say}"))),
        }
    }

    /// Takes over, decides, and shows that it lives.
    fn lead(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(view) = &self.view else { return };
        let blind = self.is_blind(now, view);
        if self.writing.is_some() || self.stale {
            if !blind {
                self.beat(now, actions);
            }
            return;
        }
        if self.leaving == Leaving::Asked {
            // A successor sees that the beat is gone and need not wait until it is old.
            let mut txn = Txn::new();
            if self.epoch.is_some() {
                txn = txn.if_at(Key::Epoch, view.modified(&Key::Epoch)).delete(Key::Beat);
            }
            self.commit(txn, String::new(), actions);
            return;
        }
        if self.epoch.is_none() {
            if self.settings.may_lead && !blind {
                match self.claim.steal(now, view, &self.settings) {
                    Ok(txn) => self.commit(txn, "this proxy takes over".to_owned(), actions),
                    Err(wake) => self.plan_wake = wake,
                }
            }
            return;
        }
        if blind {
            self.waits = vec![Wait::Blind];
            if view.beat().is_some() && self.beating.is_none() {
                let txn = Txn::new().if_at(Key::Epoch, view.modified(&Key::Epoch)).delete(Key::Beat);
                self.commit(txn, "no node answers here, others see some: it is theirs".to_owned(), actions);
            }
            return;
        }
        self.beat(now, actions);
        self.decide(now, actions);
    }

    fn beat(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let (Some(epoch), Some(view)) = (self.epoch, &self.view) else { return };
        if self.beating.is_some() || now < self.beat_at || self.leaving != Leaving::No {
            return;
        }
        let at = view.modified(&Key::Epoch);
        self.beats += 1;
        let beat = Beat { epoch, count: self.beats };
        self.beat_at = now + self.settings.timings.beat;
        let call = self.next_call();
        self.beating = Some(call);
        let txn = Txn::new().if_at(Key::Epoch, at).put(Key::Beat, Record::Beat(beat));
        actions.push(Action::Commit { call, txn });
    }

    fn decide(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Some(view) = &self.view else { return };
        let plan = match view.term() {
            None if view.identity().is_none() => adopt::plan(&self.settings, view, &self.nodes),
            None => Plan { waits: vec![Wait::Store], ..Plan::default() },
            Some(term) => {
                let mut memory = std::mem::take(&mut self.memory);
                let judged = self.situation(now, view, term, &memory);
                let fenced = term.phase == Phase::Frozen && fencing::judge(&judged) == Fence::Complete;
                if fenced {
                    memory.fenced(now, term.number);
                }
                if let Some((id, _)) = view.requests().next() {
                    memory.prepare(now, id);
                }
                let s = self.situation(now, view, term, &memory);
                let plan = plan(&s);
                let statuses = explain::nodes(&s);
                for (name, status) in &statuses {
                    if self.statuses.get(name) != Some(status) {
                        actions.push(Action::Show(Key::Status(name.clone()), Record::Status(status.clone())));
                    }
                }
                if let Some(why) = &plan.aborting {
                    memory.abort(term.number, why.clone());
                }
                (self.statuses, self.memory) = (statuses, memory);
                plan
            }
        };
        self.carry_out(now, plan, actions);
    }

    fn situation<'a>(
        &'a self,
        now: Moment,
        view: &'a View,
        term: &'a Term,
        memory: &'a Memory,
    ) -> Situation<'a> {
        let (settings, nodes, observers) = (&self.settings, &self.nodes, &self.observers);
        Situation { now, settings, view, term, nodes, observers, memory }
    }

    fn carry_out(&mut self, now: Moment, plan: Plan, actions: &mut Vec<Action>) {
        (self.waits, self.plan_wake) = (plan.waits, plan.wake.filter(|at| *at > now));
        if plan.hurry && !self.hurry {
            self.read_at = self.read_at.min(now + POLL);
        }
        self.hurry = plan.hurry;
        for (node, command) in plan.orders {
            self.order(now, node, command, actions);
        }
        if let Some((txn, say)) = plan.txn {
            self.commit(txn, say, actions);
        }
    }

    /// Gives an order if the node is ready for one; ownership first (rule C3).
    fn order(&mut self, now: Moment, node: NodeName, command: Command, actions: &mut Vec<Action>) {
        let (Some(epoch), Some(view)) = (self.epoch, &self.view) else { return };
        let term = view.term().map_or(0, |term| term.number);
        let Some(known) = self.nodes.get_mut(&node) else { return };
        let careless = self.settings.mutated.is(super::Mutation::NodesNotOwned);
        let command = if known.owned || careless { command } else { Command::Own };
        if careless && command == Command::Own {
            return;
        }
        if !known.is_ready(now, &command, RETRY) {
            return;
        }
        self.calls += 1;
        let call = CallId(self.calls);
        let facts = known.last_facts();
        let context = Context {
            at: now,
            term,
            run: facts.map(|facts| facts.started),
            names: facts.map(|facts| facts.sync_names.clone()),
        };
        known.ordered(call, command.clone(), context);
        let address = known.address.clone();
        actions.push(Action::Order(Order { call, node, address, epoch, command }));
    }

    fn commit(&mut self, txn: Txn, say: String, actions: &mut Vec<Action>) {
        let call = self.next_call();
        self.writing = Some((call, say));
        actions.push(Action::Commit { call, txn });
    }

    fn read(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.reading.is_some() || now < self.read_at {
            return;
        }
        let apart = if self.hurry && self.epoch.is_some() { POLL } else { self.settings.timings.beat };
        self.read_at = now + apart;
        let call = self.next_call();
        self.reading = Some(call);
        let one = [Key::Identity, Key::Epoch, Key::Beat, Key::Term, Key::Sync, Key::Op, Key::Config];
        let every = [Kind::Grant, Kind::Ack, Kind::Node, Kind::Observe, Kind::Request];
        let selectors =
            one.into_iter().map(Selector::One).chain(every.into_iter().map(Selector::Every)).collect();
        actions.push(Action::Read { call, selectors });
    }

    fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }
}

/// Chooses what the step of the operation asks for.
fn plan(s: &Situation<'_>) -> Plan {
    let Some(operation) = s.view.operation().filter(|operation| operation.term == s.term.number) else {
        return keeping::open(s);
    };
    match (s.term.phase, operation.step, &operation.candidate) {
        (Phase::Open, ..) => keeping::open(s),
        (Phase::Hold, ..) => switchover::held(s, operation),
        (Phase::Frozen, Step::Chosen, Some(candidate)) => {
            requests::rebuilt(s, operation).unwrap_or_else(|| promotion::chosen(s, operation, candidate))
        }
        (Phase::Frozen, ..) => {
            requests::frozen(s, operation).unwrap_or_else(|| failover::frozen(s, operation))
        }
    }
}

#[cfg(test)]
mod tests;
