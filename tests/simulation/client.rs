//! Clients of a proxy, each with one connection to the primary: they write numbered records, and read the newest.

use bellwether::cluster::permission::{Event, Gate};

use super::clock::{MS, SECOND, Time};
use super::happening::{Happening, Outcome, Shown, Statement};
use super::network::Party;
use super::random::Random;
use super::server::Waiter;
use super::world::World;

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    pub state: State,
    /// Its connection, which may still be on its way.
    pub connection: Option<u64>,
    /// The longest it thinks between two transactions.
    think: Time,
}

/// What a client is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Thinking,
    /// Its next statement is held in the proxy.
    Held(Vec<Statement>),
    /// The first of these is sent, the rest is to come.
    Running(Vec<Statement>),
}

/// A connection of a proxy to a primary, as the proxy knows it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub process: usize,
    pub client: usize,
    pub node: usize,
    /// The term it was opened under.
    pub term: u64,
    /// The server's run, once it answered and was found to be the right one.
    pub run: Option<u64>,
}

impl Client {
    /// Draws how busy a client is.
    pub fn draw(random: &mut Random) -> Self {
        let think = random.pick(&[20 * MS, 100 * MS, 400 * MS]);
        Client { state: State::Thinking, connection: None, think }
    }
}

impl World {
    /// Plans a client's next transaction.
    pub fn client_thinks(&mut self, process: usize, client: usize) {
        let owner = &mut self.processes[process];
        owner.clients[client].state = State::Thinking;
        let (run, most) = (owner.run, owner.clients[client].think);
        let think = MS + self.random.between(0..most);
        self.plan(think, Happening::ClientActs { process, run, client });
    }

    /// A client wants something.
    pub fn client_acts(&mut self, process: usize, client: usize) {
        if self.processes[process].clients[client].state == State::Thinking {
            let statements = self.draw_transaction();
            self.processes[process].clients[client].state = State::Held(statements);
            self.client_moves(process, client);
        }
    }

    fn draw_transaction(&mut self) -> Vec<Statement> {
        if self.random.chance(25) {
            return vec![Statement::Read];
        }
        // Rarely a heap of WAL at once, more than may be lost.
        let bytes = match self.random.between(0..200) {
            0 => 1_500_000,
            1..4 => 300_000,
            _ => self.random.between(80..2000),
        };
        match self.random.between(0..4) {
            0 => vec![Statement::Begin, Statement::Begin, Statement::Commit(bytes)],
            _ => vec![Statement::Commit(bytes)],
        }
    }

    /// Sends a held statement if the gate is open and there is a connection; connects if there is none.
    pub fn client_moves(&mut self, process: usize, client: usize) {
        let owner = &self.processes[process];
        let State::Held(statements) = &owner.clients[client].state else { return };
        let statements = statements.clone();
        let Gate::Open(lead) = &owner.gate else { return };
        let (term, leader) = (lead.term, lead.leader.clone());
        let known = owner.clients[client].connection.and_then(|id| Some((id, self.connections.get(&id)?)));
        match known {
            Some((id, connection)) if connection.term == term => {
                if connection.run.is_some() && self.sends(process, id, statements[0]) {
                    self.processes[process].clients[client].state = State::Running(statements);
                }
            }
            Some((id, _)) => {
                self.connections.remove(&id);
                self.client_connects(process, client, term, &leader);
            }
            None => self.client_connects(process, client, term, &leader),
        }
    }

    fn client_connects(
        &mut self,
        process: usize,
        client: usize,
        term: u64,
        leader: &bellwether::topology::NodeName,
    ) {
        let Some(node) = self.names.iter().position(|name| name == leader) else { return };
        self.links += 1;
        let id = self.links;
        self.connections.insert(id, Connection { process, client, node, term, run: None });
        self.processes[process].clients[client].connection = Some(id);
        let way = self.network.latency(&mut self.random, Party::Process(process), Party::Node(node));
        self.plan(way, Happening::Connects { node, connection: id });
        // Given up if nothing comes back.
        self.plan(800 * MS, Happening::Connected { process, connection: id, shown: None });
    }

    /// A server is asked for a connection.
    pub fn connects(&mut self, node: usize, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let process = connection.process;
        if !self.both_ways(process, node) {
            return;
        }
        let server = &self.servers[node];
        let shown = server.runs().then(|| {
            let lineage = self.wal.lineage(server.place.branch).clone();
            Box::new(Shown { run: server.run, recovery: server.recovery, lineage })
        });
        if shown.is_none() && server.power == super::server::Power::Dark {
            return;
        }
        let way = self.network.latency(&mut self.random, Party::Node(node), Party::Process(process));
        self.plan(way, Happening::Connected { process, connection: id, shown });
    }

    /// A connection is there, or not: it counts only with the server, run and branch the term names (rule P2).
    pub fn connected(&mut self, id: u64, shown: Option<Box<Shown>>) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.run.is_some() {
            return;
        }
        let (process, client, term) = (connection.process, connection.client, connection.term);
        let Gate::Open(lead) = &self.processes[process].gate else {
            self.drop_connection(id);
            return;
        };
        let right = shown.filter(|shown| {
            !shown.recovery
                && shown.lineage == lead.lineage
                && lead.run.is_none_or(|run| run == shown.run)
                && lead.term == term
        });
        match right {
            Some(shown) => {
                self.connections.get_mut(&id).expect("looked up above").run = Some(shown.run);
                self.client_moves(process, client);
            }
            None => self.drop_connection(id),
        }
    }

    /// Forgets a connection at the proxy; the client tries again a little later. What it sent may still be done.
    pub fn drop_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let (process, client) = (connection.process, connection.client);
        let run = self.processes[process].run;
        let owner = &mut self.processes[process].clients[client];
        owner.connection = None;
        match owner.state {
            State::Running(_) => self.client_thinks(process, client),
            State::Held(_) => self.plan(50 * MS, Happening::ClientActs { process, run, client }),
            State::Thinking => {}
        }
        self.check_drained(process);
    }

    /// Rule P2: sends if the permission says so. Whatever is late to arrive is done all the same.
    fn sends(&mut self, process: usize, id: u64, statement: Statement) -> bool {
        let connection = &self.connections[&id];
        let (node, term) = (connection.node, connection.term);
        let Some(run) = connection.run else { return false };
        if !self.processes[process].may_send(self.now, term) {
            return false;
        }
        let way = self.network.latency(&mut self.random, Party::Process(process), Party::Node(node));
        self.plan(way, Happening::Executes { node, run, process, connection: id, statement });
        self.plan(SECOND, Happening::ConnectionChecked { process, connection: id });
        true
    }

    /// `tcp_user_timeout`, and the reset a new postmaster answers with: nobody waits for a server that is no more.
    pub fn connection_checked(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (process, client, node) = (connection.process, connection.client, connection.node);
        if !matches!(self.processes[process].clients[client].state, State::Running(_)) {
            return;
        }
        let same = connection.run.is_some_and(|run| self.is_current(node, run));
        if same && self.both_ways(process, node) {
            self.plan(SECOND, Happening::ConnectionChecked { process, connection: id });
        } else {
            self.drop_connection(id);
        }
    }

    /// A statement arrives at a server.
    pub fn executes(&mut self, node: usize, id: u64, process: usize, statement: Statement) {
        if !self.network.reaches(Party::Process(process), Party::Node(node)) {
            // TCP tries again, for a while even after its socket was closed.
            if self.connections.contains_key(&id) || self.random.chance(70) {
                let run = self.servers[node].run;
                self.plan(200 * MS, Happening::Executes { node, run, process, connection: id, statement });
            }
            return;
        }
        let now = self.now;
        let server = &self.servers[node];
        if server.recovery {
            return self.replies(node, id, process, Outcome::Failed);
        }
        let branch = server.place.branch;
        match statement {
            Statement::Begin => {
                self.servers[node].place.end = self.wal.append(branch, 60);
                self.pump(node);
                self.replies(node, id, process, Outcome::Done);
            }
            Statement::Read => {
                let newest = self.servers[node].visible;
                self.replies(node, id, process, Outcome::Found(newest));
            }
            Statement::Commit(bytes) => {
                let (write, end) = self.wal.write(branch, bytes, now);
                self.servers[node].place.end = end;
                self.servers[node].replayed = end;
                self.wait_for_standbys(node, end, Some(write), Waiter::Connection { id, process });
            }
        }
    }

    /// A server answers.
    pub fn replies(&mut self, node: usize, connection: u64, process: usize, outcome: Outcome) {
        let way = self.network.latency(&mut self.random, Party::Node(node), Party::Process(process));
        self.plan(way, Happening::Executed { process, connection, outcome });
    }

    /// An answer reaches the proxy: it goes to the client only with permission at this moment (rule P3).
    pub fn executed(&mut self, id: u64, outcome: Outcome) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (process, client, node, term) =
            (connection.process, connection.client, connection.node, connection.term);
        if !self.network.reaches(Party::Node(node), Party::Process(process)) {
            return self.plan(200 * MS, Happening::Executed { process, connection: id, outcome });
        }
        if !self.processes[process].may_deliver(self.now, term) {
            self.coverage.hit("answer withheld");
            return self.drop_connection(id);
        }
        let State::Running(statements) = self.processes[process].clients[client].state.clone() else {
            return;
        };
        match outcome {
            Outcome::Failed | Outcome::Warned(_) => return self.drop_connection(id),
            Outcome::Done => {
                self.check_delivery(process, node, term, outcome);
                if self.sends(process, id, statements[1]) {
                    self.processes[process].clients[client].state = State::Running(statements[1..].to_vec());
                } else {
                    self.drop_connection(id);
                }
                return;
            }
            Outcome::Committed(_) | Outcome::Found(_) => self.check_delivery(process, node, term, outcome),
        }
        self.client_thinks(process, client);
        self.check_drained(process);
    }

    /// Says so when nothing is under way any more in a held gate.
    pub fn check_drained(&mut self, process: usize) {
        let owner = &self.processes[process];
        if let Gate::Hold { hold, .. } = owner.gate
            && owner.drained != hold
            && !owner.has_running()
        {
            self.processes[process].drained = hold;
            self.step_permission(process, Event::Drained { hold });
        }
    }

    /// Closes every connection of a proxy to a node.
    pub fn close_connections(&mut self, process: usize, node: Option<usize>) {
        let ids: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, one)| one.process == process && node.is_none_or(|node| one.node == node))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.drop_connection(id);
        }
    }

    /// A server's end of every connection is reset.
    pub fn reset_connections(&mut self, node: usize) {
        let ends: Vec<(u64, usize)> = self
            .connections
            .iter()
            .filter(|(_, one)| one.node == node)
            .map(|(id, one)| (*id, one.process))
            .collect();
        for (connection, process) in ends {
            if self.network.reaches(Party::Node(node), Party::Process(process)) {
                self.plan(MS, Happening::ConnectionLost { process, connection });
            }
        }
    }

    fn both_ways(&self, process: usize, node: usize) -> bool {
        let (here, there) = (Party::Process(process), Party::Node(node));
        self.network.reaches(here, there) && self.network.reaches(there, here)
    }
}
