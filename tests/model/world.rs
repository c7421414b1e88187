//! One state of the model, and the steps that lead out of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether::cluster::permission::{Action, Event, Gate, Permission};
use bellwether::cluster::{
    Branch, CallId, Entry, Grant, Key, Lineage, Moment, Mutated, Phase, ProxyName, Record, Revision, Term,
    Timings, TxnAnswer, View, Write,
};
use bellwether::pg::{Lsn, Timeline};
use bellwether::topology::NodeName;

use super::fence::{Fence, Store};

/// Time goes by in these, in microseconds.
const TICK: u64 = 1000;
/// How long a permission lasts, how often it is renewed, and how long an answer of the store may take: in ticks.
const PERMISSION: u64 = 3;
const RENEW: u64 = 2;
const TIMEOUT: u64 = 2;
/// Long enough to freeze late and wait for the longest permission.
const HORIZON: u64 = 5;
/// The lead begins to move by then.
const LATEST: u64 = 1;
/// By how much a clock may be wrong, so that it shows in whole ticks.
pub const ERROR_PPM: i64 = 50_000;

/// What is the same in all states of a search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    pub mutated: Mutated,
    /// By how many millionths the clocks of both proxies and of whoever moves the lead are wrong.
    pub clocks: [i64; 3],
    /// One proxy is there, has just started and has no grant; otherwise there are two with permission.
    pub newborn: bool,
    /// The first proxy has just asked again.
    pub asked: bool,
    /// Whoever moves the lead allows nothing for clocks.
    pub hasty: bool,
}

/// A state.
#[derive(Clone, Debug, Hash)]
pub struct World {
    time: u64,
    store: Store,
    proxies: [Proxy; 2],
    fence: Fence,
    /// A proxy said it had closed its connections and had not.
    lied: bool,
    clocks: [i64; 3],
    /// How many of the proxies do anything.
    living: usize,
}

#[derive(Clone, Debug, Hash)]
struct Proxy {
    machine: Permission,
    messages: Vec<Message>,
    /// Connections to the first node exist.
    connected: bool,
    closing: Option<CallId>,
}

/// A question to the store, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Message {
    call: CallId,
    sent: u64,
    what: Ask,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ask {
    Read,
    /// Writes the grant if it is still as old as that.
    Grant(u64),
    /// Acknowledges if grant and term are still as old as that.
    Ack(u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    /// On its way to the store.
    Asked,
    /// The same, and nobody waits for it any more.
    Orphan,
    /// On its way back: how often the term and the grant were written by then.
    Found(u64, u64),
    /// On its way back: applied or refused.
    Ended(bool),
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Time,
    Wakes(usize),
    /// The store gets to a proxy's n-th message.
    Applies(usize, usize),
    /// The answer arrives.
    Arrives(usize, usize),
    /// It took too long. A question that is on its way may be lost, or be applied later.
    Fails(usize, usize, bool),
    Closed(usize),
    Freezes,
    Fences,
    Opens,
}

impl World {
    /// The first node leads; every proxy that is not newborn has just renewed its permission.
    pub fn new(choices: &Choices) -> World {
        let store = Store { term: (1, 1, Phase::Open), grants: [0; 2], acks: [false; 2] };
        let proxy = |name: &str| Proxy {
            machine: Permission::new(ProxyName::new(name), 1, timings(), choices.mutated, Moment(OFFSET)),
            messages: Vec::new(),
            connected: false,
            closing: None,
        };
        let (proxies, clocks) = ([proxy("p1"), proxy("p2")], choices.clocks);
        let mut world = World { time: 0, store, proxies, fence: Fence::Open, lied: false, clocks, living: 2 };
        if choices.newborn {
            world.living = 1;
            return world;
        }
        for proxy in 0..2 {
            world.step(proxy, Event::Tick);
            while !world.proxies[proxy].messages.is_empty() {
                world.apply(proxy, 0);
                world.arrive(proxy, 0);
            }
            assert!(world.delivers(proxy).is_some(), "a reading and a grant are all it takes");
        }
        if choices.asked {
            world.step(0, Event::Nudged);
        }
        world
    }

    /// Returns all that can happen next.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.time < HORIZON {
            steps.push(Step::Time);
        }
        for (index, proxy) in self.proxies[..self.living].iter().enumerate() {
            if proxy.machine.wake_at().is_some_and(|at| at <= self.clock(index)) {
                steps.push(Step::Wakes(index));
            }
            if proxy.closing.is_some() {
                steps.push(Step::Closed(index));
            }
            for (place, message) in proxy.messages.iter().enumerate() {
                let late = self.time >= message.sent + TIMEOUT;
                match message.stage {
                    Stage::Asked | Stage::Orphan => steps.push(Step::Applies(index, place)),
                    Stage::Found(..) | Stage::Ended(_) => steps.push(Step::Arrives(index, place)),
                }
                if late && message.stage != Stage::Orphan {
                    steps.push(Step::Fails(index, place, false));
                    if message.stage == Stage::Asked && message.what != Ask::Read {
                        steps.push(Step::Fails(index, place, true));
                    }
                }
            }
        }
        match self.fence {
            Fence::Open if self.time <= LATEST => steps.push(Step::Freezes),
            Fence::Open => {}
            Fence::Frozen(_) => steps.push(Step::Fences),
            Fence::Complete => steps.push(Step::Opens),
            Fence::Opened => {}
        }
        steps
    }

    /// Lets it happen.
    pub fn take(&mut self, choices: &Choices, step: Step) {
        match step {
            Step::Time => self.time += 1,
            Step::Wakes(proxy) => self.step(proxy, Event::Tick),
            Step::Applies(proxy, place) => self.apply(proxy, place),
            Step::Arrives(proxy, place) => self.arrive(proxy, place),
            Step::Fails(proxy, place, goes_on) => self.fail(proxy, place, goes_on),
            Step::Closed(proxy) => {
                let closing = self.proxies[proxy].closing.take().expect("the step needs it");
                self.proxies[proxy].connected = false;
                self.step(proxy, Event::ServersClosed { closing });
            }
            Step::Freezes => {
                self.store.write_term(2, Phase::Frozen);
                self.fence = Fence::Frozen(self.clock(2).0);
            }
            Step::Fences => self.judge(choices),
            Step::Opens => {
                self.store.write_term(2, Phase::Open);
                self.fence = Fence::Opened;
            }
        }
        for proxy in &mut self.proxies {
            proxy.messages.sort();
        }
    }

    /// Rule C4.
    fn judge(&mut self, choices: &Choices) {
        let Fence::Frozen(since) = self.fence else { return };
        let longest = ticks(PERMISSION);
        let wait = if choices.hasty { longest } else { timings().fence_wait(longest) };
        if self.store.is_acknowledged() || self.clock(2) >= Moment(since) + wait {
            self.fence = Fence::Complete;
        }
    }

    /// Says which promise the state breaks.
    pub fn broken(&self) -> Option<String> {
        let heard: Vec<Option<u64>> = (0..2).map(|proxy| self.delivers(proxy)).collect();
        if self.lied {
            return Some("P4: a proxy acknowledged with connections to the old leader".to_owned());
        }
        if heard.contains(&Some(1)) && heard.contains(&Some(2)) {
            return Some("S1: two leaders are heard at a time".to_owned());
        }
        let fenced = matches!(self.fence, Fence::Complete | Fence::Opened);
        (fenced && heard.contains(&Some(1))).then(|| "S2: the old leader is heard after the fence".to_owned())
    }

    pub fn has_opened(&self) -> bool {
        self.fence == Fence::Opened
    }

    /// Returns under which term a proxy may deliver answers at this moment.
    fn delivers(&self, proxy: usize) -> Option<u64> {
        let machine = &self.proxies[proxy].machine;
        (1..=2).find(|term| machine.may_deliver(self.clock(proxy), *term))
    }

    fn clock(&self, whose: usize) -> Moment {
        let run = i64::try_from(self.time * TICK).expect("a short time");
        let shown = run + run * self.clocks[whose] / 1_000_000;
        Moment(OFFSET + u64::try_from(shown).expect("clocks go forward"))
    }

    fn step(&mut self, proxy: usize, event: Event) {
        let now = self.clock(proxy);
        let sent = self.time;
        let one = &mut self.proxies[proxy];
        for action in one.machine.step(now, event) {
            let (call, what) = match action {
                Action::Read { call, .. } => (call, Ask::Read),
                Action::Commit { call, txn } => {
                    let at = |wanted: fn(&Key) -> bool| {
                        txn.compares.iter().find(|one| wanted(&one.key)).map_or(0, |one| one.modified.0)
                    };
                    let grant = at(|key| matches!(key, Key::Grant(_)));
                    match txn.writes.first() {
                        Some(Write::Put(Key::Ack(_), _)) => {
                            (call, Ask::Ack(grant, at(|key| *key == Key::Term)))
                        }
                        Some(Write::Put(Key::Grant(_), _)) => (call, Ask::Grant(grant)),
                        other => {
                            panic!("a proxy that stays writes grants and acknowledgements, not {other:?}")
                        }
                    }
                }
                Action::Gate(gate) => {
                    one.connected |= matches!(&gate, Gate::Open(lead) if lead.term == 1);
                    continue;
                }
                Action::CloseServers { closing, .. } => {
                    one.closing = Some(closing);
                    continue;
                }
                Action::Left => continue,
            };
            one.messages.push(Message { call, sent, what, stage: Stage::Asked });
        }
    }

    /// The store gets to a message.
    fn apply(&mut self, proxy: usize, place: usize) {
        let message = self.proxies[proxy].messages[place].clone();
        let store = &mut self.store;
        let stage = match message.what {
            Ask::Read => Stage::Found(store.term.0, store.grants[proxy]),
            Ask::Grant(at) => {
                let fits = store.grants[proxy] == at;
                store.grants[proxy] += u64::from(fits);
                Stage::Ended(fits)
            }
            Ask::Ack(grant, term) => {
                let fits = store.grants[proxy] == grant && store.term.0 == term;
                store.acks[proxy] |= fits;
                self.lied |= fits && self.proxies[proxy].connected;
                Stage::Ended(fits)
            }
        };
        let messages = &mut self.proxies[proxy].messages;
        match message.stage {
            Stage::Orphan => drop(messages.remove(place)),
            _ => messages[place].stage = stage,
        }
    }

    /// An answer reaches the proxy.
    fn arrive(&mut self, proxy: usize, place: usize) {
        let message = self.proxies[proxy].messages.remove(place);
        let call = message.call;
        match message.stage {
            Stage::Found(term, grant) => {
                let view = Some(view(proxy, term, grant));
                self.step(proxy, Event::StoreRead { call, view });
            }
            Stage::Ended(true) => {
                let answer = TxnAnswer::Applied(Revision(0));
                self.step(proxy, Event::TxnAnswered { call, answer });
            }
            Stage::Ended(false) => self.step(proxy, Event::TxnAnswered { call, answer: TxnAnswer::Refused }),
            Stage::Asked | Stage::Orphan => unreachable!("only answers arrive"),
        }
    }

    fn fail(&mut self, proxy: usize, place: usize, goes_on: bool) {
        let messages = &mut self.proxies[proxy].messages;
        let message = messages[place].clone();
        if goes_on {
            messages[place].stage = Stage::Orphan;
        } else {
            messages.remove(place);
        }
        let call = message.call;
        match message.what {
            Ask::Read => self.step(proxy, Event::StoreRead { call, view: None }),
            _ => self.step(proxy, Event::TxnAnswered { call, answer: TxnAnswer::Unknown }),
        }
    }
}

/// Every clock begins here.
const OFFSET: u64 = 1_000_000;

fn ticks(count: u64) -> Duration {
    Duration::from_micros(count * TICK)
}

fn timings() -> Timings {
    Timings {
        permission: ticks(PERMISSION),
        renew: ticks(RENEW),
        store_timeout: ticks(TIMEOUT),
        clock_error_ppm: u32::try_from(ERROR_PPM).expect("it is positive"),
        slack: Duration::from_micros(TICK / 10),
        ..Timings::agentless()
    }
}

/// What a proxy reads: the term and its own grant, as they were after so many writings.
fn view(proxy: usize, term: u64, grant: u64) -> View {
    let (number, phase, leader) = match term {
        1 => (1, Phase::Open, "n1"),
        2 => (2, Phase::Frozen, "n1"),
        _ => (2, Phase::Open, "n2"),
    };
    let first = Branch { timeline: Timeline(1), forked_at: Lsn(0) };
    let record = Record::Term(Term {
        number,
        phase,
        leader: NodeName::new(leader),
        lineage: Lineage::new(vec![first]).expect("one branch"),
        run: None,
        permission_us: PERMISSION * TICK,
        highest_timeline: 1,
        suspects: BTreeMap::new(),
    });
    // A revision need only grow with each writing the reading can show.
    let mut view = View { revision: Revision(term + grant), entries: BTreeMap::new() };
    let mut put = |key, record, at| {
        view.entries.insert(key, Entry { record: Arc::new(record), modified: Revision(at) });
    };
    put(Key::Term, record, term);
    if grant > 0 {
        let name = ProxyName::new(if proxy == 0 { "p1" } else { "p2" });
        put(Key::Grant(name), Record::Grant(Grant { incarnation: 1, evicted: false }), grant);
    }
    view
}
