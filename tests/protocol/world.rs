//! A fake shell: clients, each with a session, over fake servers, all in memory.

use std::sync::Arc;

use bellwether::routing::{Need, Target};
use bellwether::session::{
    BackendStep, Context, FrontendStep, Healing, Outbox, Parting, PoolMode, Question, Reported, ServerState,
    Session, Settings, StatementTable,
};
use bellwether::sql::{Catalog, Classifier, Facts, Lists, SearchPaths};
use bellwether::wire::error_response::PgError;

use super::fake::{Database, Fake};
use super::messages::{matches, show};

/// How the bytes of both directions are cut, and in which order they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Everything at once, the client first.
    Whole,
    /// One byte at a time; the server answers at once.
    Bytes,
    /// At random, the sides in random order.
    Random(u64),
    /// As `Whole`, and the server puts a NOTICE behind every message.
    Noisy,
}

/// Runs a script under every cut.
pub fn every_cut(script: impl Fn(&mut World)) {
    let random = (1..=6).map(Cut::Random);
    for cut in [Cut::Whole, Cut::Noisy, Cut::Bytes].into_iter().chain(random) {
        let mut world = World::new(cut);
        script(&mut world);
        world.check();
    }
}

/// A server and the state of its session as the pool keeps it.
pub struct Server {
    pub fake: Fake,
    pub state: Option<ServerState>,
    /// On its way to the session, and not dealt with.
    unread: Vec<u8>,
}

impl Server {
    fn is_standby(&self) -> bool {
        self.fake.settings.get("in_hot_standby") == "on"
    }
}

/// A client and its session.
pub struct Client {
    pub session: Session,
    pub server: Option<usize>,
    state: Option<ServerState>,
    to_client: Outbox,
    to_server: Outbox,
    unread: Vec<u8>,
    received: Vec<u8>,
    /// What the session asked for, in order.
    pub needs: Vec<Need>,
    /// How the connection ended.
    pub end: Option<End>,
    pub replays: usize,
    /// What was run again on another server.
    pub healed: Vec<Healing>,
    /// Most bytes that waited in either outbox.
    pub most_waiting: usize,
}

impl Client {
    /// Takes what it received, as it came.
    pub fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Terminated,
    Told(PgError),
}

pub struct World {
    cut: Cut,
    random: fastrand::Rng,
    pub servers: Vec<Server>,
    pub clients: Vec<Client>,
    pub database: Database,
    classifier: Classifier,
    /// Knows a table called `t`, and that is all.
    pub catalog: Option<Catalog>,
    /// What is loaded for the one who waits for it.
    pub coming: Option<Catalog>,
    paths: SearchPaths,
    statements: StatementTable,
    pub schema_generation: u64,
    pub prepared_limit: usize,
    pub split: bool,
    /// The server the next checkout of the primary gets.
    pub primary: usize,
    /// The server the next checkout of a standby gets; none by default.
    pub standby: Option<usize>,
    /// Sessions of the user ask for the present value of sequences.
    pub keeps_sequences: bool,
    /// Give a different server at each checkout.
    pub rotate: bool,
    /// Give any free server at each checkout.
    pub scatter: bool,
}

impl World {
    /// One client in transaction mode and two servers, the first of which serves.
    pub fn new(cut: Cut) -> Self {
        let seed = if let Cut::Random(seed) = cut { seed } else { 0 };
        let mut world = World {
            cut,
            random: fastrand::Rng::with_seed(seed),
            servers: Vec::new(),
            clients: Vec::new(),
            database: Database::default(),
            classifier: Classifier::default(),
            coming: None,
            catalog: Some(Catalog::new(1, Facts::default().with_table("public", "t"), Lists::default())),
            paths: SearchPaths::default(),
            statements: StatementTable::new(0),
            schema_generation: 0,
            prepared_limit: 100,
            split: true,
            primary: 0,
            standby: None,
            keeps_sequences: false,
            rotate: false,
            scatter: false,
        };
        world.add_server(false);
        world.add_server(false);
        world.add_client(PoolMode::Transaction, &[]);
        world
    }

    pub fn add_server(&mut self, standby: bool) -> usize {
        let mut fake = Fake::new(self.database.clone(), &[], standby);
        fake.noisy = self.cut == Cut::Noisy;
        let state = Some(ServerState::new(fake.settings.all_reported()));
        self.servers.push(Server { fake, state, unread: Vec::new() });
        self.servers.len() - 1
    }

    pub fn add_client(&mut self, mode: PoolMode, startup: &[(&str, &str)]) -> usize {
        let settings = startup.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let told = Fake::new(Database::default(), startup, false).settings.all_reported();
        let session = Session::new(mode, Arc::new(Settings::new(settings)), Reported::new(told));
        self.clients.push(Client {
            session,
            server: None,
            state: None,
            to_client: Outbox::default(),
            to_server: Outbox::default(),
            unread: Vec::new(),
            received: Vec::new(),
            needs: Vec::new(),
            end: None,
            replays: 0,
            healed: Vec::new(),
            most_waiting: 0,
        });
        self.clients.len() - 1
    }

    /// Makes `client` one of the read-only endpoint, which gives this hint with writes.
    pub fn read_only(&mut self, client: usize, hint: &str) {
        let told = Reported::default();
        let empty = Session::new(PoolMode::Transaction, Arc::default(), told);
        let session = std::mem::replace(&mut self.clients[client].session, empty);
        self.clients[client].session = session.for_reads(hint.into());
    }

    pub fn is_noisy(&self) -> bool {
        self.cut == Cut::Noisy
    }

    /// The first client sends `bytes`, and everything goes its way until nothing moves.
    pub fn send(&mut self, bytes: &[u8]) {
        self.send_as(0, bytes);
    }

    pub fn send_as(&mut self, client: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.cut_at(rest.len()));
            self.clients[client].unread.extend_from_slice(now);
            rest = later;
            let deal = match self.cut {
                Cut::Random(_) => self.random.bool(),
                _ => true,
            };
            if deal {
                self.settle(client);
            } else {
                self.frontend(client);
            }
        }
        self.settle(client);
    }

    /// Takes what the client received, as words.
    pub fn received_by(&mut self, client: usize) -> Vec<String> {
        let received = std::mem::take(&mut self.clients[client].received);
        let mut shown = show(&received);
        if self.is_noisy() {
            shown.retain(|word| word != "N:00000 noise");
        }
        shown
    }

    /// Checks what the first client received since the last time.
    #[track_caller]
    pub fn expect(&mut self, expected: &str) {
        self.expect_as(0, expected);
    }

    #[track_caller]
    pub fn expect_as(&mut self, client: usize, expected: &str) {
        let shown = self.received_by(client);
        assert!(
            matches(&shown, expected),
            "client {client} received, under {:?},\n  {}\nnot\n  {expected}",
            self.cut,
            shown.join(", "),
        );
    }

    /// Checks what server `server` received since the last time.
    #[track_caller]
    pub fn expect_at(&mut self, server: usize, expected: &str) {
        let log = self.servers[server].fake.take_log().join(", ");
        assert_eq!(log, expected, "at server {server} under {:?}", self.cut);
    }

    /// Sends and checks in one.
    #[track_caller]
    pub fn says(&mut self, bytes: &[u8], expected: &str) {
        self.send(bytes);
        self.expect(expected);
    }

    /// Forgets what servers and clients received.
    pub fn forget(&mut self) {
        self.clients.iter_mut().for_each(|client| client.received.clear());
        self.servers.iter_mut().for_each(|server| server.fake.log.clear());
    }

    /// The client is gone: its server is cleaned as far as the session says.
    pub fn leave(&mut self, client: usize) -> Parting {
        let it = &mut self.clients[client];
        it.unread.clear();
        let parting = it.session.part(&mut it.to_server);
        match parting {
            Parting::Nothing => self.release(client),
            Parting::Clean => {
                self.deliver_to_server(client, 0);
                self.settle(client);
            }
            Parting::Close { .. } => self.drop_server(client),
        }
        parting
    }

    /// The first client sends `request`, for which there is no server.
    pub fn refuse(&mut self, request: &[u8], error: &PgError) {
        let it = &mut self.clients[0];
        let dealt_with = it.session.refuse_request(request, error, &mut it.to_client);
        it.unread.extend_from_slice(&request[dealt_with..]);
        self.deliver_to_client(0);
        self.settle(0);
    }

    /// Tells whether what `client` has outstanding is proven to be a read.
    pub fn is_reading(&mut self, client: usize) -> bool {
        let (it, mut context) = self.at_work(client);
        it.session.is_reading(&mut context)
    }

    /// A client, and what its session shares with the others.
    fn at_work(&mut self, client: usize) -> (&mut Client, Context<'_>) {
        let World { clients, classifier, statements, catalog, paths, .. } = self;
        let context = Context {
            classifier,
            statements,
            catalog: catalog.as_ref(),
            paths,
            schema_generation: self.schema_generation,
            prepared_limit: self.prepared_limit,
            split: self.split,
            keeps_sequences: self.keeps_sequences,
        };
        (&mut clients[client], context)
    }

    /// The server of `client` is gone; returns whether the session lives on.
    pub fn lose_server(&mut self, client: usize, error: Option<PgError>) -> bool {
        let standby = self.clients[client].server.is_some_and(|server| self.servers[server].is_standby());
        self.drop_server(client);
        let it = &mut self.clients[client];
        if standby && let Some(requests) = it.session.take_requests_back(&[], &mut it.to_client) {
            it.healed.push(Healing::StandbyLost);
            it.unread.splice(..0, requests);
            self.settle(client);
            return true;
        }
        match it.session.server_lost(error, &mut it.to_client) {
            Ok(()) => {
                self.deliver_to_client(client);
                self.settle(client);
                true
            }
            Err(error) => {
                it.end = Some(End::Told(error));
                false
            }
        }
    }

    /// Lets everything go its way until nothing moves.
    pub fn settle(&mut self, client: usize) {
        loop {
            let moved = match self.random.bool() {
                true if matches!(self.cut, Cut::Random(_)) => self.backend(client) | self.frontend(client),
                _ => self.frontend(client) | self.backend(client),
            };
            if !moved {
                return;
            }
        }
    }

    fn cut_at(&mut self, length: usize) -> usize {
        match self.cut {
            // A shell's buffer is not without end either.
            Cut::Whole | Cut::Noisy => length.min(256 * 1024),
            // Long messages byte by byte would take long to tell nothing new.
            Cut::Bytes => length.min(1 + length / 5000),
            Cut::Random(_) if length > 5000 => self.random.usize(1..=length),
            Cut::Random(_) => self.random.usize(1..=length.min(40)),
        }
    }

    /// Shows the session what its client sent; tells whether anything moved.
    fn frontend(&mut self, client: usize) -> bool {
        let (it, mut context) = self.at_work(client);
        if it.end.is_some() || it.unread.is_empty() {
            return false;
        }
        let (used, step) = it.session.frontend(
            &it.unread,
            it.state.as_mut(),
            &mut context,
            &mut it.to_server,
            &mut it.to_client,
        );
        assert!(used <= it.unread.len());
        it.most_waiting = it.most_waiting.max(it.to_server.len() - used.min(it.to_server.len()));
        // Nothing for the client may refer to its own input.
        assert!(it.to_client.slices(&[]).1.is_empty());
        let waits = it.session.more_to_come() && !it.session.take_flush();
        // A question of our own moves things as well, although nothing of the client's is dealt with.
        let asked = !it.to_server.is_empty();
        self.deliver_to_server(client, used);
        if !waits {
            self.deliver_to_client(client);
        }
        match step {
            FrontendStep::NeedInput | FrontendStep::Busy => used > 0 || asked,
            FrontendStep::NeedServer(need) => {
                self.acquire(client, need);
                true
            }
            FrontendStep::Ask(question) => {
                let answer = match question {
                    Question::Catalog => {
                        self.catalog = self.catalog.take().or(self.coming.take());
                        return true;
                    }
                    Question::Token => format!("1:0/{:X}", self.database.borrow().len() + 1),
                    Question::Node(need) => format!("{:?}", need.target),
                };
                self.clients[client].session.tell(&answer);
                true
            }
            FrontendStep::Terminate => {
                self.clients[client].end = Some(End::Terminated);
                self.leave(client);
                true
            }
            FrontendStep::Violation(error) => {
                self.clients[client].end = Some(End::Told(error));
                self.leave(client);
                true
            }
        }
    }

    /// Shows the session what its server sent; tells whether anything moved.
    fn backend(&mut self, client: usize) -> bool {
        let Some(server) = self.clients[client].server else { return false };
        let sent = self.servers[server].fake.send();
        self.servers[server].unread.extend_from_slice(&sent);
        let mut moved = false;
        let mut shown = 0;
        while self.clients[client].server == Some(server) && shown < self.servers[server].unread.len() {
            let unread = self.servers[server].unread.len();
            shown = (shown + self.cut_at(unread - shown)).min(unread);
            let input = self.servers[server].unread[..shown].to_vec();
            let it = &mut self.clients[client];
            let Some(state) = &mut it.state else { return moved };
            let (used, step) = it.session.backend(&input, state, &mut it.to_client, &mut it.to_server);
            assert!(used <= shown);
            if let (Some(shape), Some(catalog)) = (it.session.take_learned(), &self.catalog) {
                catalog.learn(shape);
            }
            shown -= used;
            moved |= used > 0;
            it.most_waiting = it.most_waiting.max(it.to_client.len() - used.min(it.to_client.len()));
            let waits = it.session.more_to_come() && !it.session.take_flush();
            it.to_client.settle(&input);
            // Nothing for the server may refer to the server's input.
            assert!(it.to_server.slices(&[]).1.is_empty());
            if !waits || it.to_client.len() > 16 * 1024 {
                self.deliver_to_client(client);
            }
            self.servers[server].unread.drain(..used);
            self.deliver_to_server(client, 0);
            match step {
                BackendStep::NeedInput => {}
                BackendStep::Release => self.release(client),
                BackendStep::Replay => {
                    let it = &mut self.clients[client];
                    it.replays += 1;
                    let requests = it.session.take_replay();
                    it.unread.splice(..0, requests);
                }
                BackendStep::RunElsewhere(healing) => {
                    self.release(client);
                    let it = &mut self.clients[client];
                    it.healed.push(healing);
                    let requests = it.session.take_replay();
                    it.unread.splice(..0, requests);
                }
                BackendStep::Lost(error) => {
                    self.lose_server(client, error);
                    return true;
                }
                BackendStep::Fatal(error) => {
                    self.clients[client].end = Some(End::Told(error));
                    self.leave(client);
                    return true;
                }
            }
        }
        moved
    }

    fn acquire(&mut self, client: usize, need: Need) {
        let standby = self.standby.filter(|_| need.target == Target::Standby);
        if self.scatter {
            let free: Vec<usize> =
                (0..self.servers.len()).filter(|at| self.servers[*at].state.is_some()).collect();
            self.primary = free[self.random.usize(..free.len())];
        }
        let server = standby.unwrap_or(self.primary);
        if self.rotate && standby.is_none() {
            self.primary = (self.primary + 1) % 2;
        }
        let it = &mut self.clients[client];
        it.needs.push(need);
        it.server = Some(server);
        let mut state = self.servers[server].state.take().expect("the server is free");
        it.session.attach(&mut state, &mut it.to_server);
        it.state = Some(state);
        self.deliver_to_server(client, 0);
    }

    fn release(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let Some(server) = it.server.take() else { return };
        let mut state = it.state.take().expect("attached");
        it.session.detach(&mut state);
        assert!(it.to_server.is_empty());
        let server = &mut self.servers[server];
        assert!(server.fake.between_messages(), "released within a message");
        server.state = Some(state);
    }

    /// The connection is closed; a new one takes its place.
    fn drop_server(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.to_server = Outbox::default();
        it.state = None;
        if let Some(server) = it.server.take() {
            let standby = self.servers[server].is_standby();
            let log = self.servers[server].fake.take_log();
            let mut fake = Fake::new(self.database.clone(), &[], standby);
            fake.log = log;
            fake.noisy = self.cut == Cut::Noisy;
            let state = Some(ServerState::new(fake.settings.all_reported()));
            self.servers[server] = Server { fake, state, unread: Vec::new() };
        }
    }

    fn deliver_to_server(&mut self, client: usize, used: usize) {
        let it = &mut self.clients[client];
        let (own, through) = it.to_server.slices(&it.unread);
        let bytes = [own, through].concat();
        it.to_server.advance(bytes.len());
        if let Some(server) = it.server {
            self.servers[server].fake.receive(&bytes);
        } else {
            assert!(bytes.is_empty(), "bytes for a server without one");
        }
        it.unread.drain(..used);
    }

    fn deliver_to_client(&mut self, client: usize) {
        let it = &mut self.clients[client];
        let (own, through) = it.to_client.slices(&[]);
        assert!(through.is_empty());
        if !own.is_empty() {
            it.received.extend_from_slice(own);
            let length = own.len();
            it.session.answers_sent();
            it.to_client.advance(length);
        }
    }

    /// What must hold at the end of every script.
    pub fn check(&self) {
        for client in &self.clients {
            if client.end.is_none() && client.session.is_idle() && client.session.pin_names().count() == 0 {
                assert!(client.server.is_none(), "a server is kept by an idle session under {:?}", self.cut);
            }
        }
        for server in &self.servers {
            if server.state.is_some() {
                assert_eq!(server.fake.leftovers, Default::default(), "left behind under {:?}", self.cut);
                assert_eq!(server.fake.status, super::fake::Status::Idle);
            }
        }
    }
}
