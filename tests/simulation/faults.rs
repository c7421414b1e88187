//! What goes wrong, drawn from the seed before anything happens: a list, so that it can be cut down.

use bellwether::cluster::{Asked, Durability, Key, Record, Request, Txn};

use super::clock::{Clock, MS, SECOND, Time};
use super::network::Party;
use super::random::Random;
use super::recipes::Kitchen;
use super::server::{Power, Restore};
use super::world::{Options, World};

/// When the first fault may begin: the cluster is adopted by then.
const CALM: Time = 3 * SECOND;
/// How often the operator looks after servers that need one.
pub const OPERATOR_LOOKS: Time = SECOND;

/// All that goes wrong in a run, and when it is over.
#[derive(Clone, Debug)]
pub struct Plan {
    pub faults: Vec<Fault>,
    /// From then on nothing does.
    pub over: Time,
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its number among all drawn.
    pub number: usize,
    pub from: Time,
    pub until: Time,
    pub what: What,
    /// Which server it struck, if that depended on the moment.
    pub struck: Option<usize>,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever leads at that moment.
    Leader,
    Node(usize),
}

/// What goes wrong, or what an operator does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    ProcessDies(usize),
    ProcessFreezes(usize),
    /// The process with the active coordinator is suspended.
    CoordinatorFreezes,
    /// Another process of the same name starts while this one is cut off from the store; it dies in the end.
    Doubled(usize),
    /// A process that is out of everybody's reach from the moment the term is frozen.
    DeafOnceFrozen(usize),
    /// What the process shows for as long as it lives does not reach the store.
    Unshown(usize),
    /// The active coordinator's process dies before the n-th next action of it that matters.
    CoordinatorDiesAtStep(u64),
    /// The process dies before the n-th next action of its coordinator that matters.
    ProcessDiesAtStep(usize, u64),
    Cut(Party, Party),
    /// Nothing goes out, or nothing comes in, or neither.
    Isolated(Party, bool, bool),
    /// A server is cut off from a process only.
    Unseen(Target, usize),
    Slow(Party, Time),
    StoreDown,
    StoreLossy,
    PostmasterDies(Target),
    /// A backend crash: all start again at once.
    PostmasterRestarts(Target),
    HostDies(Target),
    ServerFreezes(Target),
    ReplayStalls(Target),
    /// So many bytes get through at a time.
    WalTrickles(Target, u64),
    RestoreHangs(Target),
    PromotionSlow(Target, Time),
    ConnectionsFull(Target),
    WaitsCancelled(Target),
    Switchover(Option<usize>),
    Forced(Option<usize>, bool),
}

impl Plan {
    /// Draws the faults of a seed; `only` keeps some of them.
    pub fn draw(
        seed: u64,
        processes: usize,
        nodes: usize,
        durability: Durability,
        options: &Options,
    ) -> Self {
        let mut random = Random::new(seed, 1);
        let mut faults = Vec::new();
        let begins = CALM + random.between(0..SECOND);
        let recipe = random.chance(60) || options.recipe.is_some();
        if recipe {
            let kitchen = Kitchen { at: begins + SECOND, processes, nodes, durability };
            let wanted = options.recipe.unwrap_or_else(|| kitchen.choose(&mut random));
            for (from, lasts, what) in kitchen.cook(wanted, &mut random) {
                faults.push(Fault { number: faults.len(), from, until: from + lasts, what, struck: None });
            }
        }
        let count = match (options.recipe, recipe) {
            (Some(_), _) => 0,
            (None, true) => random.pick(&[0, 0, 0, 1, 2]),
            (None, false) => random.pick(&[1, 2, 2, 3, 3, 4, 5, 7]),
        };
        let length = random.pick(&[4 * SECOND, 8 * SECOND, 12 * SECOND]);
        let mut from = begins;
        for _ in 0..count {
            // Often close upon the one before: two at once are harder than one after the other.
            from += match random.between(0..3) {
                0 => random.between(0..300 * MS),
                1 => random.between(0..2 * SECOND),
                _ => random.between(0..length / 2),
            };
            let lasts = random.pick(&[200 * MS, SECOND, 3 * SECOND, 6 * SECOND]);
            let until = from + lasts / 2 + random.between(0..lasts);
            let what = What::draw(&mut random, processes, nodes, durability);
            faults.push(Fault { number: faults.len(), from, until, what, struck: None });
        }
        let over = faults.iter().map(|fault| fault.until).max().unwrap_or(CALM) + 10 * MS;
        faults.retain(|fault| options.only.as_ref().is_none_or(|only| only.contains(&fault.number)));
        Plan { faults, over }
    }
}

impl What {
    fn draw(random: &mut Random, processes: usize, nodes: usize, durability: Durability) -> What {
        let process = random.index(processes);
        let node = random.index(nodes);
        let target = if random.chance(60) { Target::Leader } else { Target::Node(node) };
        let party = match random.between(0..3) {
            0 => Party::Process(process),
            1 => Party::Node(node),
            _ => Party::Node(0),
        };
        let other = match random.between(0..3) {
            0 => Party::Store,
            1 => Party::Process(random.index(processes)),
            _ => Party::Node(random.index(nodes)),
        };
        let wanted = random.chance(60).then_some(node);
        match random.between(0..34) {
            0 => What::ProcessDies(process),
            1 => What::ProcessFreezes(process),
            2 => What::CoordinatorFreezes,
            3 => What::ProcessDiesAtStep(process, random.between(0..8)),
            4 | 5 => What::CoordinatorDiesAtStep(random.between(0..8)),
            6 => What::Cut(party, other),
            7 => What::Cut(other, party),
            8 | 9 => What::Isolated(party, true, true),
            10 => What::Isolated(party, true, false),
            11 => What::Isolated(party, false, true),
            12 => What::Unseen(target, process),
            13 => What::Slow(party, random.pick(&[50 * MS, 400 * MS, 1500 * MS])),
            14 => What::StoreDown,
            15 => What::StoreLossy,
            16 => What::Slow(Party::Store, random.pick(&[100 * MS, 600 * MS, 2000 * MS])),
            17..20 => What::PostmasterDies(target),
            20 => What::PostmasterRestarts(target),
            21 | 22 => What::HostDies(target),
            23 => What::ServerFreezes(target),
            24 => What::ReplayStalls(Target::Node(node)),
            25 => What::WalTrickles(Target::Node(node), random.pick(&[300, 3000, 20_000])),
            26 => What::RestoreHangs(Target::Node(node)),
            27 => What::PromotionSlow(Target::Node(node), random.pick(&[SECOND, 3 * SECOND, 8 * SECOND])),
            28 => What::ConnectionsFull(target),
            29 if durability != Durability::Async => What::WaitsCancelled(target),
            30 => What::Forced(wanted, random.chance(50)),
            _ => What::Switchover(wanted),
        }
    }
}

impl World {
    /// Something goes wrong.
    pub fn fault_begins(&mut self, index: usize) {
        let fault = self.plan.faults[index].clone();
        self.story.tell(self.now, || format!("fault {}: {:?}", fault.number, fault.what));
        let struck = self.struck(fault.what);
        self.plan.faults[index].struck = struck;
        self.inflict(&fault, struck, true);
    }

    /// It is over.
    pub fn fault_ends(&mut self, index: usize) {
        let fault = self.plan.faults[index].clone();
        self.story.tell(self.now, || format!("fault {} ends: {:?}", fault.number, fault.what));
        self.inflict(&fault, fault.struck, false);
    }

    fn struck(&self, what: What) -> Option<usize> {
        use What as W;
        match what {
            W::Unseen(target, _)
            | W::PostmasterDies(target)
            | W::PostmasterRestarts(target)
            | W::HostDies(target)
            | W::ServerFreezes(target)
            | W::ReplayStalls(target)
            | W::WalTrickles(target, _)
            | W::RestoreHangs(target)
            | W::PromotionSlow(target, _)
            | W::ConnectionsFull(target)
            | W::WaitsCancelled(target) => Some(match target {
                Target::Node(node) => node,
                Target::Leader => self.leader().unwrap_or(0),
            }),
            W::CoordinatorFreezes | W::CoordinatorDiesAtStep(_) => self.active(),
            _ => None,
        }
    }

    /// Returns who leads, as the store has it.
    pub fn leader(&self) -> Option<usize> {
        match self.store.get(&Key::Term).as_deref() {
            Some(Record::Term(term)) => self.names.iter().position(|name| *name == term.leader),
            _ => None,
        }
    }

    /// Returns which process decides, as the store has it.
    fn active(&self) -> Option<usize> {
        match self.store.get(&Key::Epoch).as_deref() {
            Some(Record::Epoch(epoch)) => self
                .processes
                .iter()
                .position(|one| one.name == epoch.coordinator && one.run == epoch.incarnation),
            _ => None,
        }
    }

    /// Starts a second process under the name of one that is out of reach, or ends the first.
    fn double(&mut self, process: usize, begins: bool) {
        for (from, to) in [(Party::Process(process), Party::Store), (Party::Store, Party::Process(process))] {
            self.network.cut(from, to, begins);
        }
        if !begins {
            return self.crash_process(process);
        }
        if !self.processes[process].alive {
            return;
        }
        let (name, run) = (self.processes[process].name.clone(), self.processes[process].run);
        let clock = Clock::draw(&mut self.random, self.timings.clock_error_ppm);
        let twin = self.make_process(name, run + 1000, clock);
        self.processes.push(twin);
        self.parked_processes.push(Vec::new());
        let index = self.processes.len() - 1;
        self.story.tell(self.now, || format!("p{} starts under the name of p{}", index + 1, process + 1));
        self.begin_process(index);
    }

    fn inflict(&mut self, fault: &Fault, struck: Option<usize>, begins: bool) {
        let node = struck.unwrap_or(0);
        match fault.what {
            What::ProcessDies(process) if begins => self.crash_process(process),
            What::ProcessDies(process) => self.restart_process(process),
            What::ProcessFreezes(process) => self.freeze_process(process, begins),
            What::ProcessDiesAtStep(process, steps) => {
                self.processes[process].fuse = begins.then_some(steps);
            }
            What::CoordinatorFreezes => {
                if let Some(process) = struck {
                    self.freeze_process(process, begins);
                }
            }
            What::CoordinatorDiesAtStep(steps) => {
                if let Some(process) = struck {
                    self.processes[process].fuse = begins.then_some(steps);
                }
            }
            What::Doubled(process) => self.double(process, begins),
            What::DeafOnceFrozen(process) => {
                if !begins && self.processes[process].deafens == Some(true) {
                    self.isolate(Party::Process(process), true, true, false);
                }
                self.processes[process].deafens = begins.then_some(false);
            }
            What::Unshown(process) => count(&mut self.processes[process].unshown, begins),
            What::Cut(from, to) => self.network.cut(from, to, begins),
            What::Isolated(party, out, into) => self.isolate(party, out, into, begins),
            What::Unseen(_, process) => {
                self.network.cut(Party::Process(process), Party::Node(node), begins);
                self.network.cut(Party::Node(node), Party::Process(process), begins);
            }
            What::Slow(party, by) => self.network.slow_down(party, if begins { by } else { 0 }),
            What::StoreDown => count(&mut self.store_down, begins),
            What::StoreLossy => count(&mut self.store_lossy, begins),
            What::PostmasterDies(_) | What::PostmasterRestarts(_) | What::HostDies(_) => {
                self.strike_power(fault.what, node, begins);
            }
            What::Switchover(to) if begins => {
                let to = to.map(|node| self.names[node].clone());
                self.request(fault.number, Request::Switchover { to, asked: Asked::default() });
            }
            What::Forced(to, accept_loss) if begins => {
                let to = to.map(|node| self.names[node].clone());
                self.request(fault.number, Request::Failover { to, accept_loss, asked: Asked::default() });
            }
            What::Switchover(_) | What::Forced(..) => {}
            _ => self.ail(fault.what, node, begins),
        }
    }

    fn strike_power(&mut self, what: What, node: usize, begins: bool) {
        match what {
            What::PostmasterRestarts(_) if begins => {
                self.stop_server(node, false);
                self.start_server(node);
            }
            What::PostmasterRestarts(_) => {}
            _ if begins => self.stop_server(node, matches!(what, What::HostDies(_))),
            _ => self.start_server(node),
        }
    }

    fn ail(&mut self, what: What, node: usize, begins: bool) {
        let server = &mut self.servers[node];
        match what {
            What::ServerFreezes(_) => {
                count(&mut server.troubles.frozen, begins);
                if server.troubles.frozen == 0 {
                    self.thaw_node(node);
                }
            }
            What::ReplayStalls(_) => {
                count(&mut server.troubles.stalled, begins);
                if server.power == Power::Up {
                    self.recover(node);
                }
            }
            What::WalTrickles(_, bytes) => {
                server.troubles.trickle = begins.then_some(bytes);
                if let (false, Some(receiver)) = (begins, &server.receiver) {
                    let sender = receiver.sender;
                    self.pump(sender);
                }
            }
            What::RestoreHangs(_) if begins => {
                server.conf.restored = Restore::Hangs;
                if server.conf.restore != Restore::None {
                    server.conf.restore = Restore::Hangs;
                }
            }
            What::RestoreHangs(_) => {
                server.conf.restored = Restore::Misses;
                if server.conf.restore != Restore::None {
                    server.conf.restore = Restore::Misses;
                }
                server.restoring = None;
                if server.power == Power::Up {
                    self.recover(node);
                }
            }
            What::PromotionSlow(_, by) => server.troubles.slow_promotion = if begins { by } else { 0 },
            What::ConnectionsFull(_) => count(&mut server.troubles.full, begins),
            What::WaitsCancelled(_) if begins => {
                let waiting = std::mem::take(&mut server.waiting);
                for one in waiting {
                    self.end_wait(node, one, true);
                }
            }
            _ => {}
        }
    }

    /// The term was frozen.
    pub fn deafen(&mut self) {
        for process in 0..self.processes.len() {
            if self.processes[process].deafens == Some(false) {
                self.processes[process].deafens = Some(true);
                self.isolate(Party::Process(process), true, true, true);
            }
        }
    }

    fn isolate(&mut self, party: Party, out: bool, into: bool, begins: bool) {
        let nodes = (0..self.servers.len()).map(Party::Node);
        let processes = (0..self.processes.len()).map(Party::Process);
        for other in nodes.chain(processes).chain([Party::Store]) {
            if out && other != party {
                self.network.cut(party, other, begins);
            }
            if into && other != party {
                self.network.cut(other, party, begins);
            }
        }
    }

    fn freeze_process(&mut self, process: usize, begins: bool) {
        let owner = &mut self.processes[process];
        if begins && owner.frozen == 0 {
            owner.frozen_since = self.now;
        }
        count(&mut owner.frozen, begins);
        if owner.frozen > 0 {
            return;
        }
        if self.lazy_clocks {
            owner.clock.miss(self.now - owner.frozen_since);
        }
        for what in std::mem::take(&mut self.parked_processes[process]) {
            self.happen(what);
        }
    }

    fn thaw_node(&mut self, node: usize) {
        for what in std::mem::take(&mut self.parked_nodes[node]) {
            self.happen(what);
        }
        self.pump(node);
    }

    /// An operator asks for something.
    fn request(&mut self, number: usize, request: Request) {
        let key = Key::Request(format!("r-{number}"));
        self.coverage.hit("request");
        self.store.commit(&Txn::new().put(key, Record::Request(request)));
    }
}

fn count(counter: &mut u32, up: bool) {
    *counter = if up { *counter + 1 } else { counter.saturating_sub(1) };
}
