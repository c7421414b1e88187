//! The whole of a simulated cluster, and the loop that lets things happen in it.

use std::collections::BTreeMap;

use bellwether::cluster::{
    Durability, Key, Limits, Member, Mode, Mutated, ProxyName, Settings, Step, Timings,
};
use bellwether::cluster::{decide, permission};
use bellwether::topology::NodeName;

use super::checker::Checker;
use super::client::Connection;
use super::clock::{Clock, MS, Time};
use super::coverage::Coverage;
use super::faults::Plan;
use super::happening::{Happening, StoreAnswer};
use super::network::{Network, Party};
use super::process::Process;
use super::queue::Queue;
use super::random::Random;
use super::recipes::Recipe;
use super::server::Server;
use super::store::Store;
use super::story::Story;
use super::wal::Wal;

/// Everything there is.
pub struct World {
    pub now: Time,
    pub queue: Queue,
    pub random: Random,
    pub story: Story,
    pub coverage: Coverage,
    pub checker: Checker,
    pub network: Network,
    pub store: Store,
    /// How many faults keep the store from answering, and from being heard.
    pub store_down: u32,
    pub store_lossy: u32,
    pub store_timeout: Time,
    pub command_timeout: Time,
    /// Who shows what for as long as it lives.
    pub shown: BTreeMap<Key, (usize, u64)>,
    pub wal: Wal,
    pub names: Vec<NodeName>,
    pub servers: Vec<Server>,
    pub processes: Vec<Process>,
    pub connections: BTreeMap<u64, Connection>,
    /// What waits for a frozen party to wake.
    pub parked_nodes: Vec<Vec<Happening>>,
    pub parked_processes: Vec<Vec<Happening>>,
    pub plan: Plan,
    pub durability: Durability,
    pub limits: Limits,
    pub clients: usize,
    /// How late timers fire at most.
    pub lateness: Time,
    pub timings: Timings,
    mutated: Mutated,
    /// Clocks stand still while a process is suspended: a planted bug of the shell.
    pub lazy_clocks: bool,
    pub links: u64,
    pub asks: u64,
    pub wakes: u64,
    /// The term and step the operator saw last, and how often.
    pub stuck: ((u64, Step), u32),
    /// How many things have happened.
    pub happenings: u64,
    /// From now on no fault is under way.
    pub quiet: bool,
    /// The operator trusts what a server shows more than what the cluster says of it.
    pub hasty: bool,
}

/// What a run is made of besides its seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A bug planted in the machines.
    pub mutated: Mutated,
    /// A bug planted in the processes' clocks.
    pub lazy_clocks: bool,
    /// Whether the story is written down.
    pub story: bool,
    /// Which of the seed's faults happen; all if `None`.
    pub only: Option<Vec<usize>>,
    /// The recipe its faults are of, and nothing else goes wrong; drawn if `None`.
    pub recipe: Option<Recipe>,
}

impl World {
    /// Makes the world of a seed.
    pub fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed, 0);
        let (mut nodes, mut durability) = draw_cluster(&mut random);
        while options.recipe.is_some_and(|recipe| !recipe.fits(nodes, durability)) {
            (nodes, durability) = draw_cluster(&mut random);
        }
        let processes = random.pick(&[1, 2, 3, 3]);
        let names: Vec<_> = (1..=nodes).map(|node| NodeName::new(&format!("n{node}"))).collect();
        let timings = draw_timings(&mut random);
        let micros = |length: std::time::Duration| u64::try_from(length.as_micros()).expect("a short length");
        let plan = Plan::draw(seed, processes, nodes, durability, options);
        let mut world = World {
            now: 0,
            queue: Queue::default(),
            story: Story::new(options.story),
            coverage: Coverage::default(),
            checker: Checker::default(),
            network: Network::new(&mut random),
            store: Store::new(),
            store_down: 0,
            store_lossy: 0,
            store_timeout: micros(timings.store_timeout),
            command_timeout: micros(timings.command),
            shown: BTreeMap::new(),
            wal: Wal::new(),
            servers: (0..names.len()).map(|index| Server::new(index, 0, &mut random)).collect(),
            names,
            processes: Vec::new(),
            connections: BTreeMap::new(),
            parked_nodes: vec![Vec::new(); nodes],
            parked_processes: vec![Vec::new(); processes],
            plan,
            durability,
            limits: Limits::default(),
            clients: random.pick(&[1, 2, 3]),
            lateness: random.pick(&[0, MS, 20 * MS]),
            timings,
            mutated: options.mutated,
            lazy_clocks: options.lazy_clocks,
            links: 0,
            asks: 0,
            wakes: 0,
            stuck: ((0, Step::Settled), 0),
            happenings: 0,
            quiet: false,
            hasty: random.chance(50),
            random,
        };
        world.people(processes, options.recipe.is_some());
        world
    }

    /// Puts the processes in and plans the faults.
    fn people(&mut self, processes: usize, aimed: bool) {
        for index in 0..processes {
            let clock = Clock::draw(&mut self.random, self.timings.clock_error_ppm);
            let name = ProxyName::new(&format!("p{}", index + 1));
            let process = self.make_process(name, 1, clock);
            self.processes.push(process);
        }
        for node in 0..self.servers.len() {
            self.recover(node);
        }
        for process in 0..processes {
            self.begin_process(process);
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            self.queue.plan(fault.from, Happening::FaultBegins { fault: index });
            self.queue.plan(fault.until, Happening::FaultEnds { fault: index });
        }
        if self.random.chance(30) || aimed {
            self.plan(0, Happening::WritesDirectly);
        }
        self.plan(super::faults::OPERATOR_LOOKS, Happening::OperatorLooks);
    }

    /// What a process is told when it starts.
    pub fn settings_for(&self, name: &ProxyName, run: u64) -> Settings {
        let member =
            |node: &NodeName| (node.clone(), Member { address: node.to_string(), ..Member::default() });
        Settings {
            me: name.clone(),
            incarnation: run,
            may_lead: true,
            mode: Mode::Automatic,
            nodes: self.names.iter().map(member).collect(),
            durability: self.durability,
            limits: self.limits.clone(),
            timings: self.timings.clone(),
            mutated: self.mutated,
        }
    }

    /// Plans something `after` from now.
    pub fn plan(&mut self, after: Time, what: Happening) {
        self.queue.plan(self.now.saturating_add(after), what);
    }

    /// Lets everything happen that is due by `until`, and stops at the first broken promise.
    pub fn run_until(&mut self, until: Time) {
        while self.checker.violation.is_none()
            && let Some((at, what)) = self.queue.next(until)
        {
            self.now = self.now.max(at);
            self.happenings += 1;
            self.happen(what);
            self.check_permissions();
        }
        self.now = self.now.max(until);
    }

    /// Lets one thing happen, or puts it aside until whom it concerns is awake.
    pub fn happen(&mut self, what: Happening) {
        match what.party() {
            Some(Party::Node(node)) if self.servers[node].troubles.frozen > 0 => {
                return self.parked_nodes[node].push(what);
            }
            Some(Party::Process(process)) if self.processes[process].frozen > 0 => {
                return self.parked_processes[process].push(what);
            }
            _ => {}
        }
        let party = match what.party() {
            Some(Party::Node(node)) => node as u64,
            Some(Party::Process(process)) => 100 + process as u64,
            _ => 1000,
        };
        self.story.mark(&[self.now, party]);
        self.dispatch(what);
    }

    fn dispatch(&mut self, what: Happening) {
        use Happening as H;
        match what {
            H::WalArrives { to, run, link, from } if self.is_current(to, run) => {
                self.wal_arrives(to, link, from)
            }
            H::FlushHeard { by, run, standby, link, end } if self.is_current(by, run) => {
                self.flush_heard(by, standby, link, end);
            }
            H::Replays { node, run, end } if self.is_current(node, run) => self.replays(node, end),
            H::Looks { node, run, look } if self.is_current(node, run) && self.servers[node].look == look => {
                self.recover(node);
            }
            H::ReceiverStarts { node, run, look, sender }
                if self.is_current(node, run) && self.servers[node].look == look =>
            {
                self.receiver_starts(node, sender);
            }
            H::LinkChecked { node, run, link } if self.is_current(node, run) => self.link_checked(node, link),
            H::LinkBreaks { node, run, link } if self.is_current(node, run) => self.link_breaks(node, link),
            H::NamesApply { node, run } if self.is_current(node, run) => self.names_apply(node),
            H::PromotionEnds { node, run } if self.is_current(node, run) => self.promotion_ends(node),
            H::Boots { node, run } => self.boots(node, run),
            H::StoreAsked { process, run, call, ask } => self.store_asked(process, run, call, *ask),
            H::NodeAsked { process, run, ask, node, what } => self.node_asked(process, run, ask, node, &what),
            H::Connects { node, connection } => self.connects(node, connection),
            H::Executes { node, run, process, connection, statement } if self.is_current(node, run) => {
                self.executes(node, connection, process, statement);
            }
            H::Restarts { process } => self.restart_process(process),
            H::FaultBegins { fault } => self.fault_begins(fault),
            H::FaultEnds { fault } => self.fault_ends(fault),
            H::OperatorLooks => self.operator_looks(),
            H::WritesDirectly => self.write_directly(),
            other => self.dispatch_to_process(other),
        }
    }

    fn dispatch_to_process(&mut self, what: Happening) {
        use Happening as H;
        let lives = |world: &World, process: usize, run| {
            world.processes[process].alive && world.processes[process].run == run
        };
        match what {
            H::StoreAnswers { process, run, call, answer } if lives(self, process, run) => {
                self.store_answers(process, call, Some(answer));
            }
            H::StoreTimesOut { process, run, call } if lives(self, process, run) => {
                self.store_answers(process, call, None::<StoreAnswer>);
            }
            H::NodeAnswers { process, run, ask, answer } if lives(self, process, run) => {
                self.node_answers(process, ask, *answer);
            }
            H::NodeTimesOut { process, run, ask } if lives(self, process, run) => {
                self.node_times_out(process, ask)
            }
            H::ClientActs { process, run, client } if lives(self, process, run) => {
                self.client_acts(process, client);
                self.client_moves(process, client);
            }
            H::ServersClosed { process, run, closing } if lives(self, process, run) => {
                self.servers_closed(process, closing);
            }
            H::Nudged { process, run } if lives(self, process, run) => {
                self.step_permission(process, permission::Event::Nudged);
                self.step_coordinator(process, decide::Event::Nudged);
            }
            H::Wakes { process, run, wake } if lives(self, process, run) => self.wakes(process, wake),
            H::Connected { connection, shown, .. } => self.connected(connection, shown),
            H::Executed { connection, outcome, .. } => self.executed(connection, outcome),
            H::ConnectionChecked { connection, .. } => self.connection_checked(connection),
            H::ConnectionLost { connection, .. } => self.drop_connection(connection),
            _ => {}
        }
    }

    /// Rings the bell of the processes: the store's watch, which is only a hint and gets lost at times.
    pub fn ring(&mut self) {
        for process in 0..self.processes.len() {
            let (here, there) = (Party::Store, Party::Process(process));
            if self.random.chance(85) && self.network.reaches(here, there) {
                let way = self.network.latency(&mut self.random, here, there);
                let run = self.processes[process].run;
                self.plan(way, Happening::Nudged { process, run });
            }
        }
    }

    /// Returns which node has a name.
    pub fn index_of(&self, name: &NodeName) -> usize {
        self.names.iter().position(|one| one == name).expect("machines speak of nodes there are")
    }

    /// Returns a number for a question.
    pub fn next_ask(&mut self) -> u64 {
        self.asks += 1;
        self.asks
    }
}

fn draw_cluster(random: &mut Random) -> (usize, Durability) {
    let nodes = random.pick(&[2, 3, 3, 3, 4]);
    (nodes, draw_durability(random, nodes))
}

fn draw_durability(random: &mut Random, nodes: usize) -> Durability {
    let most = if nodes > 3 { 2 } else { 1 };
    match random.between(0..4) {
        0 | 1 => Durability::Async,
        2 => Durability::Sync { k: 1, strict: true },
        _ => Durability::Sync { k: random.pick(&[1, most]), strict: random.chance(50) },
    }
}

fn draw_timings(_random: &mut Random) -> Timings {
    Timings::agentless()
}
