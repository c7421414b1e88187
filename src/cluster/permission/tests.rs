//! What a proxy may believe, event by event.

use std::sync::Arc;

use super::*;
use crate::cluster::Entry;
use crate::cluster::lineage::{Branch, Lineage};
use crate::cluster::transaction::Write;
use crate::pg::{Lsn, Timeline};

const ME: &str = "p1";

/// A store of two keys, and a proxy that is told what it asks.
struct World {
    proxy: Permission,
    revision: u64,
    term: Option<Term>,
    term_at: u64,
    grant: Option<(Grant, u64)>,
}

impl World {
    fn new() -> Self {
        let proxy = Permission::new(ProxyName::new(ME), 1, Timings::agentless(), Mutated::NONE, Moment(0));
        World { proxy, revision: 1, term: None, term_at: 0, grant: None }
    }

    fn set_term(&mut self, number: u64, phase: Phase, leader: &str) {
        self.revision += 1;
        self.term_at = self.revision;
        let first = Branch { timeline: Timeline(1), forked_at: Lsn(0) };
        self.term = Some(Term {
            number,
            phase,
            leader: NodeName::new(leader),
            lineage: Lineage::new(vec![first]).expect("one branch"),
            run: None,
            permission_us: 4_000_000,
            highest_timeline: 1,
            suspects: BTreeMap::new(),
        });
    }

    fn set_grant(&mut self, incarnation: u64, evicted: bool) {
        self.revision += 1;
        self.grant = Some((Grant { incarnation, evicted }, self.revision));
    }

    fn view(&self) -> View {
        let mut view = View { revision: Revision(self.revision), ..View::default() };
        let mut put = |key, record, at| {
            view.entries.insert(key, Entry { record: Arc::new(record), modified: Revision(at) });
        };
        if let Some(term) = &self.term {
            put(Key::Term, Record::Term(term.clone()), self.term_at);
        }
        if let Some((grant, at)) = &self.grant {
            put(Key::Grant(ProxyName::new(ME)), Record::Grant(grant.clone()), *at);
        }
        view
    }

    /// Steps at `ms`, answers every reading and transaction at once, and returns the rest.
    fn step(&mut self, ms: u64, event: Event) -> Vec<Action> {
        let (mut events, mut rest) = (vec![event], Vec::new());
        while let Some(event) = events.pop() {
            for action in self.proxy.step(Moment(ms * 1000), event) {
                match action {
                    Action::Read { call, .. } => {
                        events.push(Event::StoreRead { call, view: Some(self.view()) });
                    }
                    Action::Commit { call, txn } => {
                        let answer = self.commit(&txn, &mut rest, &Action::Commit { call, txn: txn.clone() });
                        events.push(Event::TxnAnswered { call, answer });
                    }
                    other => rest.push(other),
                }
            }
        }
        rest
    }

    fn commit(&mut self, txn: &Txn, rest: &mut Vec<Action>, whole: &Action) -> TxnAnswer {
        let view = self.view();
        if txn.compares.iter().any(|compare| view.modified(&compare.key) != compare.modified) {
            return TxnAnswer::Refused;
        }
        self.revision += 1;
        for write in &txn.writes {
            match write {
                Write::Put(Key::Grant(_), Record::Grant(grant)) => {
                    self.grant = Some((grant.clone(), self.revision));
                }
                Write::Delete(Key::Grant(_)) => self.grant = None,
                _ => rest.push(whole.clone()),
            }
        }
        TxnAnswer::Applied(Revision(self.revision))
    }

    /// A proxy with the gate open to `n1` in term 1, granted at 0 ms.
    fn open() -> Self {
        let mut world = World::new();
        world.set_term(1, Phase::Open, "n1");
        world.step(0, Event::Tick);
        world.step(0, Event::Nudged);
        assert!(matches!(world.proxy.gate(), Gate::Open(lead) if lead.leader.as_str() == "n1"));
        world
    }
}

fn acks(actions: &[Action]) -> Vec<(u64, AckKind)> {
    let mut found = Vec::new();
    for action in actions {
        let Action::Commit { txn, .. } = action else { continue };
        for write in &txn.writes {
            if let Write::Put(_, Record::Ack(ack)) = write {
                found.push((ack.term, ack.kind));
            }
        }
    }
    found
}

fn closing(actions: &[Action]) -> Option<CallId> {
    actions.iter().find_map(|action| match action {
        Action::CloseServers { closing, .. } => Some(*closing),
        _ => None,
    })
}

#[test]
fn permission_counts_from_the_question_and_ends_by_itself() {
    let mut world = World::open();
    assert_eq!(world.proxy.until(), Some(Moment(4_000_000)));
    // The question is asked at 500 ms and answered at 900 ms.
    let asked = world.proxy.step(Moment(500_000), Event::Tick);
    let [Action::Read { call, .. }] = asked[..] else { panic!("{asked:?}") };
    world.proxy.step(Moment(900_000), Event::StoreRead { call, view: Some(world.view()) });
    assert_eq!(world.proxy.until(), Some(Moment(4_500_000)));
    assert!(world.proxy.may_send(Moment(4_499_999), 1) && world.proxy.may_deliver(Moment(4_499_999), 1));
    assert!(!world.proxy.may_send(Moment(4_500_000), 1) && !world.proxy.may_deliver(Moment(4_500_000), 1));
    assert!(!world.proxy.may_deliver(Moment(1_000_000), 2), "a connection of another term");
    let actions = world.proxy.step(Moment(4_500_000), Event::Tick);
    assert_eq!(actions[0], Action::Gate(Gate::Closed));
    assert!(closing(&actions).is_some());
}

#[test]
fn a_failed_reading_changes_nothing() {
    let mut world = World::open();
    let asked = world.proxy.step(Moment(500_000), Event::Tick);
    let [Action::Read { call, .. }] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(world.proxy.step(Moment(900_000), Event::StoreRead { call, view: None }), vec![]);
    assert_eq!(world.proxy.until(), Some(Moment(4_000_000)));
    assert_eq!(world.proxy.wake_at(), Some(Moment(1_000_000)));
}

#[test]
fn a_freeze_is_acknowledged_once_all_is_closed() {
    let mut world = World::open();
    world.set_term(2, Phase::Frozen, "n1");
    let actions = world.step(100, Event::Nudged);
    assert_eq!(actions[0], Action::Gate(Gate::Closed));
    let closing = closing(&actions).expect("it closes");
    assert_eq!(acks(&actions), vec![]);
    assert!(!world.proxy.may_deliver(Moment(100_000), 1));
    let actions = world.step(120, Event::ServersClosed { closing });
    assert_eq!(acks(&actions), vec![(2, AckKind::Fenced)]);
    assert_eq!(acks(&world.step(130, Event::Nudged)), vec![], "once only");

    world.set_term(2, Phase::Open, "n2");
    let actions = world.step(200, Event::Nudged);
    assert!(
        matches!(&actions[..], [Action::Gate(Gate::Open(lead))] if lead.leader.as_str() == "n2" && lead.term == 2),
        "{actions:?}"
    );
}

#[test]
fn a_term_that_opened_unseen_waits_for_the_old_connections() {
    let mut world = World::open();
    world.set_term(2, Phase::Open, "n2");
    let actions = world.step(100, Event::Nudged);
    let closing = closing(&actions).expect("it closes");
    assert_eq!(world.proxy.gate(), &Gate::Closed);
    let actions = world.step(110, Event::ServersClosed { closing });
    assert!(matches!(&actions[..], [Action::Gate(Gate::Open(lead))] if lead.term == 2), "{actions:?}");
}

#[test]
fn a_hold_keeps_what_is_under_way_and_is_acknowledged_when_drained() {
    let mut world = World::open();
    world.set_term(1, Phase::Hold, "n1");
    let actions = world.step(100, Event::Nudged);
    let [Action::Gate(Gate::Hold { hold, .. })] = actions[..] else { panic!("{actions:?}") };
    assert!(world.proxy.may_send(Moment(100_000), 1));
    assert_eq!(world.proxy.pass().map(|pass| pass.open), Some(false));
    assert_eq!(acks(&world.step(150, Event::Drained { hold })), vec![(1, AckKind::Held)]);

    // Reopened and held again in the same term: what was drained then says nothing.
    world.set_term(1, Phase::Open, "n1");
    assert_eq!(closing(&world.step(200, Event::Nudged)), None);
    world.set_term(1, Phase::Hold, "n1");
    assert_eq!(acks(&world.step(300, Event::Nudged)), vec![]);
}

#[test]
fn a_grant_of_another_run_is_taken_over_with_care() {
    let mut world = World::new();
    world.set_term(1, Phase::Open, "n1");
    world.set_grant(99, false);
    world.step(0, Event::Tick);
    assert!(matches!(world.proxy.gate(), Gate::Open(_)), "it serves at once");
    world.set_term(2, Phase::Frozen, "n1");
    let actions = world.step(100, Event::Nudged);
    let closing = closing(&actions).expect("it closes");
    let mut all = world.step(110, Event::ServersClosed { closing });
    all.extend(world.step(4080, Event::Tick));
    assert_eq!(acks(&all), vec![], "the other run may still hold permission");
    assert_eq!(acks(&world.step(4090, Event::Tick)), vec![(2, AckKind::Fenced)]);
}

#[test]
fn an_evicted_proxy_stops_and_comes_back_by_itself() {
    let mut world = World::open();
    world.set_grant(1, true);
    let evicted = world.view();
    let asked = world.proxy.step(Moment(3_000_000), Event::Tick);
    let [Action::Read { call, .. }] = asked[..] else { panic!("{asked:?}") };
    let actions = world.proxy.step(Moment(3_010_000), Event::StoreRead { call, view: Some(evicted) });
    assert_eq!(world.proxy.until(), Some(Moment(4_000_000)), "not renewed");
    assert!(matches!(actions[..], [Action::Commit { .. }]), "{actions:?}");
}

#[test]
fn a_store_that_went_back_gives_no_permission() {
    let mut world = World::open();
    world.set_term(5, Phase::Open, "n1");
    let actions = world.step(100, Event::Nudged);
    let closing = closing(&actions).expect("it closes");
    world.step(110, Event::ServersClosed { closing });
    world.set_term(1, Phase::Open, "n2");
    world.step(200, Event::Nudged);
    assert!(matches!(world.proxy.gate(), Gate::Open(lead) if lead.term == 5));
    assert_eq!(world.proxy.until(), Some(Moment(4_100_000)));
}

#[test]
fn a_goodbye_closes_first() {
    let mut world = World::open();
    let actions = world.step(100, Event::Goodbye);
    assert!(!actions.contains(&Action::Left) && world.grant.is_some());
    let closing = closing(&actions).expect("it closes");
    assert!(world.step(120, Event::ServersClosed { closing }).contains(&Action::Left));
    assert_eq!((world.grant.as_ref(), world.proxy.wake_at()), (None, None));
}
