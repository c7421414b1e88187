//! A small world for the coordinators: a store, servers and proxies that do at once what they are asked, unless a
//! test says otherwise. The simulator in `tests/simulation` is the unfriendly one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::decide::{self, Coordinator};
use crate::cluster::lineage::{Branch, Lineage};
use crate::cluster::permission::{self, Gate, Permission};
use crate::cluster::transaction::Write;
use crate::cluster::{
    CallId, Command, Done, Durability, Entry, Facts, Key, Limits, Member, Mode, Moment, Mutated, Order,
    ProxyName, Receiver, Record, Report, Request, Revision, Selector, Settings, Standby, Standing, SyncNames,
    Term, Timings, Txn, TxnAnswer, Upstream, View,
};
use crate::pg::{Lsn, Timeline};
use crate::topology::NodeName;

/// A server.
pub(super) struct Server {
    pub(super) up: bool,
    /// Nobody listens, or nothing answers.
    pub(super) hard: bool,
    pub(super) primary: bool,
    pub(super) lineage: Lineage,
    pub(super) position: Lsn,
    pub(super) upstream: Upstream,
    pub(super) names: SyncNames,
    pub(super) slots: BTreeSet<NodeName>,
    pub(super) started: u64,
    /// Does nothing when told to promote.
    pub(super) hangs: bool,
    /// It does not come to wait for anybody.
    pub(super) counts_nobody: bool,
    /// Does not take over WAL, so it falls behind.
    pub(super) lags: bool,
    /// Bytes received of a record whose end never came.
    pub(super) torn: u64,
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) servers: BTreeMap<NodeName, Server>,
    pub(super) coordinators: BTreeMap<usize, Coordinator>,
    pub(super) proxies: BTreeMap<usize, Permission>,
    /// Proxies whose clients never finish.
    pub(super) busy: BTreeSet<usize>,
    /// Proxies that reach no server.
    pub(super) blind: BTreeSet<usize>,
    pub(super) entries: BTreeMap<Key, Entry>,
    pub(super) said: Vec<String>,
    /// Who was pointed at a server that had no slot for it.
    pub(super) slotless: Vec<NodeName>,
    pub(super) orders: Vec<(NodeName, Command)>,
    revision: u64,
    queue: BTreeMap<(Moment, u64), Due>,
    count: u64,
}

enum Due {
    Coordinator(usize, decide::Event),
    Proxy(usize, permission::Event),
    Store(Asker, CallId, Ask),
    Probe(usize, CallId, NodeName),
    Order(usize, Order),
}

#[derive(Clone, Copy)]
enum Asker {
    Coordinator(usize),
    Proxy(usize),
}

enum Ask {
    Read(Vec<Selector>),
    Commit(Txn),
}

pub(super) fn name(node: &str) -> NodeName {
    NodeName::new(node)
}

pub(super) fn proxy_name(index: usize) -> ProxyName {
    ProxyName::new(&format!("p{index}"))
}

impl World {
    /// `nodes` servers of which `n1` leads, and `proxies` proxies with a coordinator each.
    pub(super) fn new(nodes: usize, proxies: usize, durability: Durability) -> Self {
        let first = Branch { timeline: Timeline(1), forked_at: Lsn(0) };
        let lineage = Lineage::new(vec![first]).expect("one branch");
        let names: Vec<NodeName> = (1..=nodes).map(|index| name(&format!("n{index}"))).collect();
        let server = |node: &NodeName| Server {
            up: true,
            hard: true,
            primary: node.as_str() == "n1",
            lineage: lineage.clone(),
            position: Lsn(1000),
            upstream: Upstream::Leader { node: name("n1"), term: 0 },
            names: SyncNames::Nobody,
            slots: BTreeSet::new(),
            started: 1,
            hangs: false,
            counts_nobody: false,
            lags: false,
            torn: 0,
        };
        let mut world = World {
            now: Moment(0),
            servers: names.iter().map(|node| (node.clone(), server(node))).collect(),
            coordinators: BTreeMap::new(),
            proxies: BTreeMap::new(),
            busy: BTreeSet::new(),
            blind: BTreeSet::new(),
            entries: BTreeMap::new(),
            said: Vec::new(),
            slotless: Vec::new(),
            orders: Vec::new(),
            revision: 1,
            queue: BTreeMap::new(),
            count: 0,
        };
        for index in 1..=proxies {
            let member = |node: &NodeName| {
                (node.clone(), Member { address: format!("{node}:5432"), ..Member::default() })
            };
            let settings = Settings {
                me: proxy_name(index),
                incarnation: 1,
                may_lead: true,
                mode: Mode::Automatic,
                nodes: names.iter().map(member).collect(),
                durability,
                limits: Limits::default(),
                timings: Timings::agentless(),
                mutated: Mutated::NONE,
            };
            world.coordinators.insert(index, Coordinator::new(settings, Moment(0)));
            let timings = Timings::agentless();
            let proxy = Permission::new(proxy_name(index), 1, timings, Mutated::NONE, Moment(0));
            world.proxies.insert(index, proxy);
        }
        world
    }

    /// A world in which the cluster is adopted and every gate is open.
    pub(super) fn running(nodes: usize, proxies: usize, durability: Durability) -> Self {
        let mut world = World::new(nodes, proxies, durability);
        world.until("it is adopted", |world| world.is_open(1, "n1"));
        world.run(1000);
        world
    }

    pub(super) fn term(&self) -> Option<&Term> {
        match &*self.entries.get(&Key::Term)?.record {
            Record::Term(term) => Some(term),
            _ => None,
        }
    }

    /// Whether every proxy talks to `node` in `term`.
    pub(super) fn is_open(&self, term: u64, node: &str) -> bool {
        self.proxies.values().all(|proxy| {
            matches!(proxy.gate(), Gate::Open(lead) if lead.term == term && lead.leader.as_str() == node)
        })
    }

    pub(super) fn server(&mut self, node: &str) -> &mut Server {
        self.servers.get_mut(&name(node)).expect("it is there")
    }

    pub(super) fn kill(&mut self, node: &str) {
        self.server(node).up = false;
    }

    pub(super) fn request(&mut self, id: &str, request: Request) {
        let revision = self.next_revision();
        let entry = Entry { record: Arc::new(Record::Request(request)), modified: revision };
        self.entries.insert(Key::Request(id.to_owned()), entry);
    }

    /// Returns what was answered to a request.
    pub(super) fn answer(&self, id: &str) -> Option<(bool, String)> {
        match &*self.entries.get(&Key::Answer(id.to_owned()))?.record {
            Record::Answer(answer) => Some((answer.accepted, answer.text.clone())),
            _ => None,
        }
    }

    /// Runs until `done`; returns the milliseconds that took.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) -> u64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now.since(start) < Duration::from_secs(60), "never: {what}\n{}", self.story());
            self.advance();
        }
        u64::try_from(self.now.since(start).as_millis()).expect("small")
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.advance();
        }
    }

    pub(super) fn story(&self) -> String {
        let waits: Vec<String> =
            self.coordinators.values().map(|coordinator| format!("{:?}", coordinator.explain())).collect();
        format!("{}\nterm {:?}\n{}", self.said.join("\n"), self.term(), waits.join("\n"))
    }

    /// Moves to the next event, or by a millisecond.
    fn advance(&mut self) {
        let tick = self.now + Duration::from_millis(1);
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > tick {
                break;
            }
            let (at, _) = *entry.key();
            let due = entry.remove();
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = self.now.max(tick);
        self.replicate();
        for index in self.coordinators.keys().copied().collect::<Vec<_>>() {
            if self.coordinators[&index].wake_at().is_some_and(|at| at <= self.now) {
                self.step_coordinator(index, decide::Event::Tick);
            }
        }
        for index in self.proxies.keys().copied().collect::<Vec<_>>() {
            if self.proxies[&index].wake_at().is_some_and(|at| at <= self.now) {
                self.step_proxy(index, permission::Event::Tick);
            }
        }
    }

    /// The leader writes a little, its followers take it over.
    fn replicate(&mut self) {
        let primaries: Vec<NodeName> = self
            .servers
            .iter()
            .filter(|(_, server)| server.up && server.primary)
            .map(|(node, _)| node.clone())
            .collect();
        for node in primaries {
            let leader = self.servers.get_mut(&node).expect("it is there");
            leader.position.0 += 1;
            let (position, lineage) = (leader.position, leader.lineage.clone());
            for follower in self.servers.values_mut().filter(|server| server.up && !server.primary) {
                let follows = matches!(&follower.upstream, Upstream::Leader { node: to, .. } if *to == node);
                if follows
                    && !follower.lags
                    && follower.lineage.kinship(follower.position, &lineage).can_follow()
                {
                    (follower.position, follower.lineage) = (position, lineage.clone());
                }
            }
        }
    }

    fn later(&mut self, micros: u64, due: Due) {
        self.count += 1;
        self.queue.insert((self.now + Duration::from_micros(micros), self.count), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Coordinator(index, event) => self.step_coordinator(index, event),
            Due::Proxy(index, event) => self.step_proxy(index, event),
            Due::Store(asker, call, Ask::Read(selectors)) => {
                let view = Some(self.read(&selectors));
                match asker {
                    Asker::Coordinator(index) => {
                        self.later(500, Due::Coordinator(index, decide::Event::StoreRead { call, view }));
                    }
                    Asker::Proxy(index) => {
                        self.later(500, Due::Proxy(index, permission::Event::StoreRead { call, view }));
                    }
                }
            }
            Due::Store(asker, call, Ask::Commit(txn)) => {
                let answer = self.commit(&txn);
                match asker {
                    Asker::Coordinator(index) => {
                        self.later(500, Due::Coordinator(index, decide::Event::TxnAnswered { call, answer }));
                    }
                    Asker::Proxy(index) => {
                        self.later(500, Due::Proxy(index, permission::Event::TxnAnswered { call, answer }));
                    }
                }
            }
            Due::Probe(index, call, node) => {
                let report = if self.blind.contains(&index) { Report::Silent } else { self.probe(&node) };
                let wait = if report == Report::Silent { 150_000 } else { 500 };
                self.later(wait, Due::Coordinator(index, decide::Event::Probed { call, report }));
            }
            Due::Order(index, order) => {
                self.orders.push((order.node.clone(), order.command.clone()));
                let done = if self.blind.contains(&index) { Done::Unknown } else { self.obey(&order) };
                self.later(500, Due::Coordinator(index, decide::Event::NodeDone { call: order.call, done }));
            }
        }
    }

    fn step_coordinator(&mut self, index: usize, event: decide::Event) {
        let now = self.now;
        let Some(coordinator) = self.coordinators.get_mut(&index) else { return };
        for action in coordinator.step(now, event) {
            self.act(index, action);
        }
    }

    /// Does what a coordinator says.
    pub(super) fn act(&mut self, index: usize, action: decide::Action) {
        let asker = Asker::Coordinator(index);
        match action {
            decide::Action::Read { call, selectors } => {
                self.later(500, Due::Store(asker, call, Ask::Read(selectors)));
            }
            decide::Action::Commit { call, txn } => {
                self.later(500, Due::Store(asker, call, Ask::Commit(txn)));
            }
            decide::Action::Probe { call, node, .. } => self.later(500, Due::Probe(index, call, node)),
            decide::Action::Order(order) => self.later(2000, Due::Order(index, order)),
            decide::Action::Show(key, record) => {
                let modified = self.next_revision();
                self.entries.insert(key, Entry { record: Arc::new(record), modified });
            }
            decide::Action::Say(text) => {
                self.said.push(format!("{:>8} p{index}: {text}", self.now.0 / 1000));
            }
            decide::Action::Left => {}
        }
    }

    fn step_proxy(&mut self, index: usize, event: permission::Event) {
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(&index) else { return };
        for action in proxy.step(now, event) {
            let asker = Asker::Proxy(index);
            match action {
                permission::Action::Read { call, selectors } => {
                    self.later(500, Due::Store(asker, call, Ask::Read(selectors)));
                }
                permission::Action::Commit { call, txn } => {
                    self.later(500, Due::Store(asker, call, Ask::Commit(txn)));
                }
                permission::Action::CloseServers { closing, .. } => {
                    self.later(1000, Due::Proxy(index, permission::Event::ServersClosed { closing }));
                }
                permission::Action::Gate(Gate::Hold { hold, .. }) if !self.busy.contains(&index) => {
                    self.later(5000, Due::Proxy(index, permission::Event::Drained { hold }));
                }
                permission::Action::Gate(_) | permission::Action::Left => {}
            }
        }
    }

    fn next_revision(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision)
    }

    fn read(&self, selectors: &[Selector]) -> View {
        let wanted = |key: &Key| {
            selectors.iter().any(|selector| match selector {
                Selector::One(one) => one == key,
                Selector::Every(kind) => *kind == key.kind(),
            })
        };
        let found = self.entries.iter().filter(|(key, _)| wanted(key));
        View {
            revision: Revision(self.revision),
            entries: found.map(|(key, entry)| (key.clone(), entry.clone())).collect(),
        }
    }

    fn commit(&mut self, txn: &Txn) -> TxnAnswer {
        let modified = |key: &Key| self.entries.get(key).map_or(Revision(0), |entry| entry.modified);
        if txn.compares.iter().any(|compare| modified(&compare.key) != compare.modified) {
            return TxnAnswer::Refused;
        }
        // Watches ring for whatever changes what others wait for.
        let rings = txn.writes.iter().any(|write| !matches!(write, Write::Put(Key::Beat, _)));
        let revision = self.next_revision();
        for write in &txn.writes {
            match write {
                Write::Put(key, record) => {
                    let entry = Entry { record: Arc::new(record.clone()), modified: revision };
                    self.entries.insert(key.clone(), entry);
                }
                Write::Delete(key) => {
                    self.entries.remove(key);
                }
            }
        }
        if rings {
            for index in self.coordinators.keys().copied().collect::<Vec<_>>() {
                self.later(300, Due::Coordinator(index, decide::Event::Nudged));
            }
            for index in self.proxies.keys().copied().collect::<Vec<_>>() {
                self.later(300, Due::Proxy(index, permission::Event::Nudged));
            }
        }
        TxnAnswer::Applied(revision)
    }

    fn probe(&self, node: &NodeName) -> Report {
        let Some(server) = self.servers.get(node) else { return Report::Silent };
        if !server.up {
            return if server.hard { Report::Gone } else { Report::Silent };
        }
        let standing = if server.primary {
            Standing::Primary { flushed: server.position }
        } else {
            let fed = match &server.upstream {
                Upstream::Leader { node, .. } => {
                    self.servers.get(node).is_some_and(|other| other.up && other.primary)
                }
                _ => false,
            };
            Standing::Standby(Standby {
                upstream: server.upstream.clone(),
                receiver: fed.then_some(Receiver { heard: Duration::from_millis(1) }),
                restores: false,
                received: Some(Lsn(server.position.0 + server.torn)),
                replayed: server.position,
                idle: true,
                replay_age: None,
            })
        };
        Report::Answered(Box::new(Facts {
            system_identifier: 7,
            started: server.started,
            lineage: server.lineage.clone(),
            standing,
            sync_names: server.names.clone(),
            slots: server.slots.clone(),
        }))
    }

    fn obey(&mut self, order: &Order) -> Done {
        let enough = self.commits_go_through(&order.node);
        let Some(server) = self.servers.get_mut(&order.node).filter(|server| server.up) else {
            return Done::Unknown;
        };
        match &order.command {
            Command::Own | Command::TerminateSessions | Command::Heartbeat | Command::Checkpoint => {}
            Command::Recruit { .. } | Command::Follow { .. } if server.primary => {
                return Done::Failed("not in recovery".to_owned());
            }
            Command::Recruit { term } => server.upstream = Upstream::DeadEnd { term: *term },
            Command::Follow { leader, term, .. } => {
                server.upstream = Upstream::Leader { node: leader.clone(), term: *term };
                if self.servers.get(leader).is_some_and(|leader| !leader.slots.contains(&order.node)) {
                    self.slotless.push(order.node.clone());
                }
            }
            Command::SetSyncNames(SyncNames::Any { .. }) if server.counts_nobody => {}
            Command::SetSyncNames(names) => server.names = names.clone(),
            Command::SetSlots(slots) => server.slots = slots.clone(),
            Command::Promote { term } => {
                if server.upstream != (Upstream::DeadEnd { term: *term }) {
                    return Done::Failed("the token is another one".to_owned());
                }
                if !server.hangs && !server.primary {
                    let next = Timeline(server.lineage.last().timeline.0 + 1);
                    let mut branches = server.lineage.branches().to_vec();
                    branches.push(Branch { timeline: next, forked_at: server.position });
                    server.lineage = Lineage::new(branches).expect("it grows");
                    server.primary = true;
                }
            }
            Command::ProbeCommit if !server.primary || !enough => return Done::Unknown,
            Command::ProbeCommit => {}
        }
        Done::Well
    }

    fn commits_go_through(&self, leader: &NodeName) -> bool {
        let Some(server) = self.servers.get(leader) else { return false };
        let follows = |node: &&NodeName| {
            let to = |to: &NodeName| to == leader;
            self.servers.get(*node).is_some_and(|follower| {
                let there = matches!(&follower.upstream, Upstream::Leader { node, .. } if to(node));
                follower.up && !follower.primary && there && follower.lineage == server.lineage
            })
        };
        match &server.names {
            SyncNames::Nobody => true,
            SyncNames::Any { k, names } => names.iter().filter(follows).count() >= *k as usize,
            SyncNames::Fence | SyncNames::Foreign(_) => false,
        }
    }
}
