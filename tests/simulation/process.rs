//! One `bellwether proxy`: the permission of its clients, the coordinator in it, and what carries out their actions.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::cluster::decide::{self, Coordinator};
use bellwether::cluster::permission::{self, Gate, Permission};
use bellwether::cluster::{CallId, Key, ProxyName, Revision, TxnAnswer, Write};

use super::client::{Client, State};
use super::clock::{Clock, MS, SECOND, Time};
use super::command::Desk;
use super::happening::{Call, Happening, Machine, StoreAnswer, StoreAsk};
use super::network::Party;
use super::world::World;

/// More wake-ups in a second than any machine has a use for.
const MOST_WAKES: u64 = 2000;

/// A process, running or not.
pub struct Process {
    pub name: ProxyName,
    pub clock: Clock,
    pub alive: bool,
    /// Suspended by so many faults.
    pub frozen: u32,
    pub frozen_since: Time,
    /// Which life this is; also its incarnation.
    pub run: u64,
    pub permission: Permission,
    pub coordinator: Coordinator,
    pub gate: Gate,
    /// The hold last said to be drained.
    pub drained: Revision,
    pub clients: Vec<Client>,
    pub desks: BTreeMap<usize, Desk>,
    /// Probes under way: the question at the node, and the machine's call.
    pub probes: BTreeMap<u64, (usize, CallId)>,
    /// Parts of orders under way, by question.
    pub asked: BTreeMap<u64, usize>,
    pub epoch_reads: BTreeMap<CallId, usize>,
    /// Questions to the store under way; true for a transaction.
    pub calls: BTreeMap<Call, bool>,
    /// When it wakes next, and the number of that plan.
    pub wake: Option<(Time, u64)>,
    /// So many faults keep what it shows from the store.
    pub unshown: u32,
    /// Whether it is out of reach once the term is frozen, if that is its fault.
    pub deafens: Option<bool>,
    /// How often it woke in the current second.
    pub woken: (Time, u64),
    /// It dies after so many more actions of its coordinator.
    pub fuse: Option<u64>,
}

impl Process {
    /// Whether something may be sent over a connection of this term.
    pub fn may_send(&self, now: Time, term: u64) -> bool {
        self.alive && self.permission.may_send(self.clock.read(now), term)
    }

    /// Whether an answer of such a connection may be delivered.
    pub fn may_deliver(&self, now: Time, term: u64) -> bool {
        self.alive && self.permission.may_deliver(self.clock.read(now), term)
    }

    /// Whether a client has something under way on the primary.
    pub fn has_running(&self) -> bool {
        self.clients.iter().any(|client| matches!(client.state, State::Running(_)))
    }
}

impl World {
    /// Steps the permission and does what it says.
    pub fn step_permission(&mut self, process: usize, event: permission::Event) {
        let now = self.processes[process].clock.read(self.now);
        let actions = self.processes[process].permission.step(now, event);
        for action in actions {
            self.act_for_permission(process, action);
        }
        self.plan_wake(process);
    }

    fn act_for_permission(&mut self, process: usize, action: permission::Action) {
        use permission::Action;
        let call = |id| Call { machine: Machine::Permission, id };
        match action {
            Action::Read { call: id, selectors } => {
                self.ask_store(process, call(id), StoreAsk::Read(selectors))
            }
            Action::Commit { call: id, txn } => self.ask_store(process, call(id), StoreAsk::Commit(txn)),
            Action::Gate(gate) => {
                self.story.tell(self.now, || format!("p{}: gate {}", process + 1, describe(&gate)));
                self.processes[process].gate = gate;
                for client in 0..self.processes[process].clients.len() {
                    self.client_moves(process, client);
                }
                self.check_drained(process);
            }
            Action::CloseServers { closing, .. } => {
                let run = self.processes[process].run;
                let takes = self.random.between(0..3 * MS);
                self.plan(takes, Happening::ServersClosed { process, run, closing });
            }
            Action::Left => {}
        }
    }

    /// The proxy's tasks have closed their connections.
    pub fn servers_closed(&mut self, process: usize, closing: CallId) {
        self.close_connections(process, None);
        self.step_permission(process, permission::Event::ServersClosed { closing });
    }

    /// Steps the coordinator and does what it says, unless the process dies in the middle of it.
    pub fn step_coordinator(&mut self, process: usize, event: decide::Event) {
        let now = self.processes[process].clock.read(self.now);
        let actions = self.processes[process].coordinator.step(now, event);
        for action in actions {
            if self.burn_fuse(process, &action) {
                return;
            }
            self.act_for_coordinator(process, action);
        }
        self.plan_wake(process);
    }

    /// Counts down to a death between two steps that matter.
    fn burn_fuse(&mut self, process: usize, action: &decide::Action) -> bool {
        let matters = matches!(action, decide::Action::Commit { .. } | decide::Action::Order(_));
        match self.processes[process].fuse {
            Some(0) if matters => {
                self.processes[process].fuse = None;
                self.coverage.hit("coordinator died between two steps");
                self.crash_process(process);
                let back = 300 * MS + self.random.between(0..3000 * MS);
                self.plan(back, Happening::Restarts { process });
                true
            }
            Some(left) if matters => {
                self.processes[process].fuse = Some(left - 1);
                false
            }
            _ => false,
        }
    }

    fn act_for_coordinator(&mut self, process: usize, action: decide::Action) {
        use decide::Action;
        let call = |id| Call { machine: Machine::Coordinator, id };
        match action {
            Action::Read { call: id, selectors } => {
                self.ask_store(process, call(id), StoreAsk::Read(selectors))
            }
            Action::Commit { call: id, txn } => self.ask_store(process, call(id), StoreAsk::Commit(txn)),
            Action::Probe { call, node, within, .. } => {
                let node = self.index_of(&node);
                let within = u64::try_from(within.as_micros()).expect("a probe's patience is short");
                self.probe(process, node, call, within);
            }
            Action::Order(order) => {
                let node = self.index_of(&order.node);
                self.order(process, node, order);
            }
            Action::Show(..) if self.processes[process].unshown > 0 => {}
            Action::Show(key, record) => {
                let id = CallId(self.next_ask());
                let ask = StoreAsk::Show(key, Box::new(record));
                self.ask_store(process, Call { machine: Machine::Desk, id }, ask);
            }
            Action::Say(line) => self.story.tell(self.now, || format!("p{}: {line}", process + 1)),
            Action::Left => {}
        }
    }

    /// Sends a question to the store. The caller hears within the timeout, one way or the other.
    pub fn ask_store(&mut self, process: usize, call: Call, ask: StoreAsk) {
        let owner = &mut self.processes[process];
        let run = owner.run;
        owner.calls.insert(call, matches!(ask, StoreAsk::Commit(_)));
        let way = self.network.latency(&mut self.random, Party::Process(process), Party::Store);
        self.plan(way, Happening::StoreAsked { process, run, call, ask: Box::new(ask) });
        let patience = self.store_timeout;
        self.plan(patience, Happening::StoreTimesOut { process, run, call });
    }

    /// A question reaches the store.
    pub fn store_asked(&mut self, process: usize, run: u64, call: Call, ask: StoreAsk) {
        let (here, there) = (Party::Process(process), Party::Store);
        if !self.network.reaches(here, there) || self.store_down > 0 {
            return;
        }
        let answer = match ask {
            StoreAsk::Read(selectors) => StoreAnswer::Found(Arc::new(self.store.read(&selectors))),
            StoreAsk::Commit(txn) => {
                let (answer, changes) = self.store.commit(&txn);
                self.note_commit(process, &txn.writes, answer);
                self.check_changes(process, &changes);
                if changes.iter().any(|change| !matches!(change.key, Key::Beat | Key::Grant(_))) {
                    self.ring();
                }
                StoreAnswer::Ended(answer)
            }
            StoreAsk::Show(key, record) => {
                self.shown.insert(key.clone(), (process, run));
                let put = bellwether::cluster::Txn::new().put(key, *record);
                StoreAnswer::Ended(self.store.commit(&put).0)
            }
        };
        let lost = self.store_lossy > 0 && self.random.chance(30);
        if self.network.reaches(there, here) && !lost {
            let way = self.network.latency(&mut self.random, there, here);
            self.plan(way, Happening::StoreAnswers { process, run, call, answer });
        } else if matches!(answer, StoreAnswer::Ended(TxnAnswer::Applied(_))) {
            self.coverage.hit("applied, answer lost");
        }
    }

    fn note_commit(&mut self, process: usize, writes: &[Write], answer: TxnAnswer) {
        if writes.iter().all(|write| matches!(write, Write::Put(Key::Beat, _))) {
            return;
        }
        self.story.tell(self.now, || {
            let list: Vec<String> = writes.iter().map(brief).collect();
            format!("store: p{} {answer:?}: {}", process + 1, list.join("; "))
        });
    }

    /// The store's answer reaches whoever asked, if that is not over.
    pub fn store_answers(&mut self, process: usize, call: Call, answer: Option<StoreAnswer>) {
        let Some(transaction) = self.processes[process].calls.remove(&call) else { return };
        let view = match &answer {
            Some(StoreAnswer::Found(view)) => Some((**view).clone()),
            _ => None,
        };
        let ended = match answer {
            Some(StoreAnswer::Ended(ended)) => ended,
            _ => TxnAnswer::Unknown,
        };
        match (call.machine, transaction) {
            (Machine::Permission, false) => {
                self.step_permission(process, permission::Event::StoreRead { call: call.id, view });
            }
            (Machine::Permission, true) => {
                self.step_permission(
                    process,
                    permission::Event::TxnAnswered { call: call.id, answer: ended },
                );
            }
            (Machine::Coordinator, false) => {
                self.step_coordinator(process, decide::Event::StoreRead { call: call.id, view });
            }
            (Machine::Coordinator, true) => {
                self.step_coordinator(process, decide::Event::TxnAnswered { call: call.id, answer: ended });
            }
            (Machine::Desk, _) => self.epoch_read(process, call.id, view.as_ref()),
        }
    }

    /// Wakes both machines.
    pub fn wakes(&mut self, process: usize, wake: u64) {
        if self.processes[process].wake.is_none_or(|(_, planned)| planned != wake) {
            return;
        }
        self.processes[process].wake = None;
        self.check_calm(process);
        let now = self.processes[process].clock.read(self.now);
        if self.processes[process].permission.wake_at().is_some_and(|at| at <= now) {
            self.step_permission(process, permission::Event::Tick);
        }
        if self.processes[process].alive
            && self.processes[process].coordinator.wake_at().is_some_and(|at| at <= now)
        {
            self.step_coordinator(process, decide::Event::Tick);
        }
        self.plan_wake(process);
    }

    /// Nobody spins: a machine that asks to be woken again and again without end would burn a core.
    fn check_calm(&mut self, process: usize) {
        let second = self.now / SECOND;
        let owner = &mut self.processes[process];
        let (current, count) = owner.woken;
        owner.woken = if current == second { (current, count + 1) } else { (second, 1) };
        if owner.woken.1 > MOST_WAKES {
            self.violate("calm", format!("p{} woke {MOST_WAKES} times in a second", process + 1));
        }
    }

    /// Plans the next wake-up of a process: a little late, as schedulers are.
    fn plan_wake(&mut self, process: usize) {
        let owner = &self.processes[process];
        if !owner.alive {
            return;
        }
        let moments = [owner.permission.wake_at(), owner.coordinator.wake_at()];
        let Some(moment) = moments.into_iter().flatten().min() else { return };
        let at = owner.clock.when(moment).max(self.now + 1);
        if owner.wake.is_some_and(|(planned, _)| planned <= at) {
            return;
        }
        let run = owner.run;
        self.wakes += 1;
        let wake = self.wakes;
        self.processes[process].wake = Some((at, wake));
        let late = self.random.between(0..self.lateness + 1);
        self.plan(at + late - self.now, Happening::Wakes { process, run, wake });
    }

    /// Ends a process at once: its sockets are closed by its host.
    pub fn crash_process(&mut self, process: usize) {
        if !self.processes[process].alive {
            return;
        }
        self.story.tell(self.now, || format!("p{} dies", process + 1));
        self.connections.retain(|_, one| one.process != process);
        let owner = &mut self.processes[process];
        owner.alive = false;
        owner.run += 1;
        owner.wake = None;
        self.parked_processes[process].clear();
        let dead: Vec<Key> =
            self.shown.iter().filter(|(_, (by, _))| *by == process).map(|(key, _)| key.clone()).collect();
        // The lease of what it showed runs out some seconds later; here at once or when it is back.
        for key in dead {
            if self.random.chance(50) {
                self.shown.remove(&key);
                self.store.commit(&bellwether::cluster::Txn::new().delete(key));
            }
        }
    }

    /// Starts a process anew: it remembers nothing.
    pub fn restart_process(&mut self, process: usize) {
        if self.processes[process].alive {
            return;
        }
        let run = self.processes[process].run + 1;
        let (clock, name) = (self.processes[process].clock, self.processes[process].name.clone());
        // A twin may have taken its place, for a while or for good.
        if self.processes.iter().any(|other| other.alive && other.name == name) {
            return self.plan(SECOND, Happening::Restarts { process });
        }
        self.story.tell(self.now, || format!("p{} starts", process + 1));
        let Process { frozen, unshown, deafens, .. } = self.processes[process];
        let mut fresh = self.make_process(name, run, clock);
        (fresh.frozen, fresh.frozen_since) = (frozen, self.now);
        (fresh.unshown, fresh.deafens) = (unshown, deafens);
        self.processes[process] = fresh;
        self.begin_process(process);
    }

    /// Lets a process take its first steps.
    pub fn begin_process(&mut self, process: usize) {
        self.step_permission(process, permission::Event::Tick);
        self.step_coordinator(process, decide::Event::Tick);
        for client in 0..self.processes[process].clients.len() {
            self.client_thinks(process, client);
        }
    }

    /// Makes a process that has done nothing yet.
    pub fn make_process(&mut self, name: ProxyName, run: u64, clock: Clock) -> Process {
        let now = clock.read(self.now);
        let settings = self.settings_for(&name, run);
        let permission = Permission::new(name.clone(), run, settings.timings.clone(), settings.mutated, now);
        let clients = (0..self.clients).map(|_| Client::draw(&mut self.random)).collect();
        Process {
            name,
            clock,
            alive: true,
            frozen: 0,
            frozen_since: 0,
            run,
            permission,
            coordinator: Coordinator::new(settings, now),
            gate: Gate::Closed,
            drained: Revision(0),
            clients,
            desks: BTreeMap::new(),
            probes: BTreeMap::new(),
            asked: BTreeMap::new(),
            epoch_reads: BTreeMap::new(),
            calls: BTreeMap::new(),
            wake: None,
            unshown: 0,
            deafens: None,
            woken: (0, 0),
            fuse: None,
        }
    }
}

fn describe(gate: &Gate) -> String {
    match gate {
        Gate::Closed => "closed".to_owned(),
        Gate::Hold { lead, .. } => format!("holds, {} leads term {}", lead.leader, lead.term),
        Gate::Open(lead) => format!("open, {} leads term {}", lead.leader, lead.term),
    }
}

fn brief(write: &Write) -> String {
    match write {
        Write::Delete(key) => format!("delete {key}"),
        Write::Put(key, record) => {
            let text = String::from_utf8(record.encode()).unwrap_or_default();
            format!("{key} = {text}")
        }
    }
}
