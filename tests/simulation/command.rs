//! How a coordinator's orders and probes are carried out: messages to a server and back, one session a node.

use bellwether::cluster::decide::Event;
use bellwether::cluster::{CallId, Command, Done, Facts, Key, Order, Report, Selector, Upstream};

use super::happening::{Call, Happening, Machine, Outcome, StoreAsk};
use super::network::Party;
use super::server::{Power, Promotion, Restore, Session, Waiter, Waiting};
use super::world::World;

/// What arrives at a server.
#[derive(Clone, Debug)]
pub enum Ask {
    Probe,
    /// End whoever holds the lock, take it.
    Own(Session),
    Do(Session, Command),
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Answer {
    Report(Report),
    Owned,
    Done(Done),
    /// The session is gone.
    Lost,
}

/// A process's orders to one node, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    /// The session that holds the lock, as far as the process knows.
    session: Option<Session>,
    waiting: std::collections::VecDeque<Order>,
    stage: Option<Stage>,
}

/// How far the first order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Owning(u64, Session),
    ReadingEpoch(CallId, Session),
    Doing(u64),
}

impl Desk {
    /// Whether the process gives its orders on this session, having read the epoch after it took the lock.
    pub fn holds(&self, session: Session) -> bool {
        self.session == Some(session)
    }
}

impl World {
    /// Asks a node for its facts.
    pub fn probe(&mut self, process: usize, node: usize, call: CallId, within: u64) {
        let ask = self.next_ask();
        self.processes[process].probes.insert(ask, (node, call));
        self.ask_node(process, node, ask, Ask::Probe);
        let run = self.processes[process].run;
        self.plan(within, Happening::NodeTimesOut { process, run, ask });
    }

    /// Takes an order.
    pub fn order(&mut self, process: usize, node: usize, order: Order) {
        let desk = self.processes[process].desks.entry(node).or_default();
        desk.waiting.push_back(order);
        if desk.stage.is_none() {
            self.next_order(process, node);
        }
    }

    fn next_order(&mut self, process: usize, node: usize) {
        let run = self.processes[process].run;
        let ask = self.next_ask();
        let Some(desk) = self.processes[process].desks.get(&node) else { return };
        let Some(order) = desk.waiting.front() else { return };
        let command = order.command.clone();
        let (stage, what) = match desk.session {
            Some(session) if command != Command::Own => (Stage::Doing(ask), Ask::Do(session, command)),
            _ => {
                let session = Session { process, run, number: ask };
                (Stage::Owning(ask, session), Ask::Own(session))
            }
        };
        self.desk(process, node).stage = Some(stage);
        self.processes[process].asked.insert(ask, node);
        self.ask_node(process, node, ask, what);
        let within = self.command_timeout;
        self.plan(within, Happening::NodeTimesOut { process, run, ask });
    }

    fn ask_node(&mut self, process: usize, node: usize, ask: u64, what: Ask) {
        let run = self.processes[process].run;
        let way = self.network.latency(&mut self.random, Party::Process(process), Party::Node(node));
        self.plan(way, Happening::NodeAsked { process, run, ask, node, what: Box::new(what) });
    }

    /// Something arrives at a server.
    pub fn node_asked(&mut self, process: usize, run: u64, ask: u64, node: usize, what: &Ask) {
        if !self.network.reaches(Party::Process(process), Party::Node(node)) {
            return;
        }
        let answer = match (what, self.servers[node].power) {
            (_, Power::Dark) => return,
            (Ask::Probe, Power::Stopped) => Answer::Report(Report::Gone),
            (Ask::Probe, Power::Starting) => Answer::Report(Report::NotReady),
            (Ask::Probe, Power::Up) => Answer::Report(self.report(node)),
            (Ask::Own(_) | Ask::Do(..), Power::Stopped | Power::Starting) => Answer::Lost,
            (Ask::Own(session), Power::Up) => {
                if self.servers[node].troubles.full > 0 {
                    Answer::Lost
                } else {
                    self.servers[node].owner = Some(*session);
                    Answer::Owned
                }
            }
            (Ask::Do(session, command), Power::Up) => {
                if self.servers[node].owner != Some(*session) {
                    self.coverage.hit("order of a lost session");
                    Answer::Lost
                } else {
                    match self.carry_out(process, run, ask, node, command) {
                        Some(done) => Answer::Done(done),
                        None => return,
                    }
                }
            }
        };
        self.node_answers_later(process, run, ask, node, answer);
    }

    pub fn node_answers_later(&mut self, process: usize, run: u64, ask: u64, node: usize, answer: Answer) {
        if self.network.reaches(Party::Node(node), Party::Process(process)) {
            let way = self.network.latency(&mut self.random, Party::Node(node), Party::Process(process));
            self.plan(way, Happening::NodeAnswers { process, run, ask, answer: Box::new(answer) });
        }
    }

    fn report(&self, node: usize) -> Report {
        let server = &self.servers[node];
        if server.troubles.full > 0 {
            let code = bellwether::pg::SqlState::TOO_MANY_CONNECTIONS;
            return Report::Refused(code);
        }
        let facts: Facts = server.facts(&self.wal, self.now);
        Report::Answered(Box::new(facts))
    }

    /// Does a command on a server; `None` when its answer comes later.
    fn carry_out(
        &mut self,
        process: usize,
        run: u64,
        ask: u64,
        node: usize,
        command: &Command,
    ) -> Option<Done> {
        if *command != Command::Heartbeat {
            self.story.tell(self.now, || format!("p{} on n{}: {command:?}", process + 1, node + 1));
        }
        let now = self.now;
        let server = &mut self.servers[node];
        let standby_only = matches!(command, Command::Recruit { .. } | Command::Follow { .. });
        if standby_only && !server.recovery {
            return Some(Done::Failed("not a standby".to_owned()));
        }
        match command {
            Command::Own | Command::Checkpoint => {}
            Command::Recruit { term } => {
                server.conf.upstream = Upstream::DeadEnd { term: *term };
                if server.conf.restore != Restore::None {
                    server.conf.restored = server.conf.restore;
                }
                server.conf.restore = Restore::None;
                self.reload(node);
            }
            Command::Follow { leader, term, .. } => {
                self.check_follow(node, leader);
                let server = &mut self.servers[node];
                server.conf.upstream = Upstream::Leader { node: leader.clone(), term: *term };
                server.conf.restore = server.conf.restored;
                self.reload(node);
            }
            Command::SetSyncNames(names) => {
                server.conf.sync_names = names.clone();
                self.reload(node);
            }
            Command::SetSlots(nodes) => server.slots = nodes.clone(),
            Command::TerminateSessions => {
                // A backend that waits for standbys ends its wait with a warning nobody reads.
                let waiting = std::mem::take(&mut server.waiting);
                if let Some(write) = waiting.iter().filter_map(|one| one.write).max() {
                    server.visible = server.visible.max(Some(write));
                }
                for write in waiting.into_iter().filter_map(|one| one.write) {
                    self.checker.cancelled(write);
                }
                self.reset_connections(node);
            }
            Command::Promote { term } => {
                if !server.recovery {
                    return Some(Done::Failed("it is not in recovery".to_owned()));
                }
                if server.conf.upstream != (Upstream::DeadEnd { term: *term }) {
                    return Some(Done::Failed("the token is another one".to_owned()));
                }
                self.coverage.hit("promotion asked");
                if server.promotion == Promotion::None {
                    server.promotion = Promotion::Asked;
                    self.look_again(node, 0);
                }
            }
            Command::ProbeCommit => {
                if server.recovery {
                    return Some(Done::Failed("25006".to_owned()));
                }
                let end = self.wal.commit(server.place.branch, 90, now);
                (server.place.end, server.replayed) = (end, end);
                self.wait_for_standbys(node, end, None, Waiter::Probe { process, run, ask });
                return None;
            }
            Command::Heartbeat => {
                if server.recovery {
                    return Some(Done::Failed("25006".to_owned()));
                }
                server.place.end = self.wal.append(server.place.branch, 50);
                server.replayed = server.place.end;
                self.pump(node);
            }
        }
        Some(Done::Well)
    }

    /// An answer of a server reaches the process that asked.
    pub fn node_answers(&mut self, process: usize, ask: u64, answer: Answer) {
        if let Some((_, call)) = self.processes[process].probes.remove(&ask) {
            let report = match answer {
                Answer::Report(report) => report,
                _ => Report::Silent,
            };
            return self.step_coordinator(process, Event::Probed { call, report });
        }
        let Some(node) = self.processes[process].asked.remove(&ask) else { return };
        let stage = self.desk(process, node).stage;
        match (stage, answer) {
            (Some(Stage::Owning(asked, session)), Answer::Owned) if asked == ask => {
                let call = self.next_ask();
                let call = CallId(call);
                self.desk(process, node).stage = Some(Stage::ReadingEpoch(call, session));
                self.processes[process].epoch_reads.insert(call, node);
                let ask = StoreAsk::Read(vec![Selector::One(Key::Epoch)]);
                self.ask_store(process, Call { machine: Machine::Desk, id: call }, ask);
            }
            (Some(Stage::Doing(asked)), Answer::Done(done)) if asked == ask => {
                self.finish_order(process, node, done);
            }
            (Some(_), Answer::Lost) => {
                self.desk(process, node).session = None;
                self.finish_order(process, node, Done::Unknown);
            }
            _ => {}
        }
    }

    /// A server did not answer in time.
    pub fn node_times_out(&mut self, process: usize, ask: u64) {
        if let Some((_, call)) = self.processes[process].probes.remove(&ask) {
            return self.step_coordinator(process, Event::Probed { call, report: Report::Silent });
        }
        let Some(node) = self.processes[process].asked.remove(&ask) else { return };
        // Whatever it did may still happen, until the next order's session ends this one's.
        self.desk(process, node).session = None;
        self.finish_order(process, node, Done::Unknown);
    }

    /// The epoch was read after the lock was taken.
    pub fn epoch_read(&mut self, process: usize, call: CallId, view: Option<&bellwether::cluster::View>) {
        let Some(node) = self.processes[process].epoch_reads.remove(&call) else { return };
        let Some(Stage::ReadingEpoch(asked, session)) = self.desk(process, node).stage else { return };
        if asked != call {
            return;
        }
        let Some(order) = self.desk(process, node).waiting.front().cloned() else { return };
        match view.map(|view| view.epoch().map(|epoch| epoch.number)) {
            None => self.finish_order(process, node, Done::Failed("the store does not answer".to_owned())),
            Some(found) if found != Some(order.epoch) => {
                self.coverage.hit("deposed coordinator stopped at a node");
                self.finish_order(process, node, Done::Deposed);
            }
            Some(_) => {
                self.desk(process, node).session = Some(session);
                if order.command == Command::Own {
                    self.finish_order(process, node, Done::Well);
                } else {
                    self.next_order(process, node);
                }
            }
        }
    }

    fn finish_order(&mut self, process: usize, node: usize, done: Done) {
        let desk = self.desk(process, node);
        desk.stage = None;
        let Some(order) = desk.waiting.pop_front() else { return };
        if done != Done::Well {
            let told = || format!("p{}: {:?} on n{}: {done:?}", process + 1, order.command, node + 1);
            self.story.tell(self.now, told);
        }
        self.next_order(process, node);
        self.step_coordinator(process, Event::NodeDone { call: order.call, done });
    }

    /// Tells who waited for standbys that it is over.
    pub fn tell_waiter(&mut self, node: usize, one: Waiting, warned: bool) {
        match (one.who, one.write) {
            (Waiter::Connection { id, process }, Some(write)) => {
                let outcome = if warned { Outcome::Warned(write) } else { Outcome::Committed(write) };
                self.replies(node, id, process, outcome);
            }
            (Waiter::Direct, Some(write)) if !warned => self.direct_commit(node, write),
            (Waiter::Connection { .. } | Waiter::Direct, _) => {}
            (Waiter::Probe { process, run, ask }, _) => {
                let done =
                    if warned { Done::Failed("its wait was cancelled".to_owned()) } else { Done::Well };
                self.node_answers_later(process, run, ask, node, Answer::Done(done));
            }
        }
    }

    fn desk(&mut self, process: usize, node: usize) -> &mut Desk {
        self.processes[process].desks.entry(node).or_default()
    }
}
