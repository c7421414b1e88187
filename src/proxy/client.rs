//! One client that has logged in: its task owns both sockets and drives the session machine.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::admit::outcome_unknown;
use super::catalog::DatabaseCatalog;
use super::clients::Client;
use super::gate::Underway;
use super::place::Reads;
use super::relay::{Event, Relay, Wish};
use super::settings::Settings;
use super::state::{Trouble, Worker};
use crate::pg::{SqlState, Timeline};
use crate::pool::{Identity, Pool};
use crate::routing::{InFlight, Need, Reason, Token};
use crate::session::{BackendStep, Context, FrontendStep, Healing, Parting, PoolMode, Session};
use crate::sql::SessionState;
use crate::telemetry::{Direction, Origin};
use crate::topology::NodeId;
use crate::wire::error_response::{PgError, Severity};
use crate::wire::frontend::tag;

/// How long a server may take to be cleaned after its client is gone.
const CLEANING_LIMIT: Duration = Duration::from_secs(5);

/// How long a client may take to read the last that it is told.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// Why a client is served no longer.
#[derive(Debug)]
pub enum End {
    /// It said goodbye, or is gone.
    Gone,
    /// It is told this, and the connection is closed.
    Told(PgError),
}

/// A client and its session.
pub struct ClientTask {
    pub(super) worker: Arc<Worker>,
    pub(super) relay: Relay,
    pub(super) session: Session,
    pub(super) client: Arc<Client>,
    pub(super) identity: Arc<Identity>,
    pub(super) settings: Arc<Settings>,
    /// The catalog of the database.
    pub(super) catalog: Arc<DatabaseCatalog>,
    /// The pools used so far, by node.
    pub(super) pools: Vec<Option<Arc<Pool>>>,
    /// The checkout under way.
    pub(super) checkout: Option<Checkout>,
    /// When the statement under way was asked for.
    pub(super) asked_at: Option<Instant>,
    pub(super) reads: Reads,
    /// Its part in what is under way on the primary.
    pub(super) underway: Underway,
    pub(super) pins_counted: SessionState,
    /// Whether the client was told that it is in.
    pub(super) greeted: bool,
    /// Whether the client said goodbye and is gone, with requests of it still running.
    pub(super) left: bool,
}

/// One server in use.
#[derive(Debug)]
pub(super) struct Checkout {
    pub node: NodeId,
    /// Whether it was taken for the primary, and the timeline it was on.
    pub is_primary: bool,
    pub timeline: Option<Timeline>,
    /// The position it was known to show, where one was asked for.
    pub shown: Option<Token>,
    pub need: Need,
    /// The term under which it is the primary's, where a gate watches over that.
    pub term: Option<u64>,
    /// When the request got this server.
    pub attached: Instant,
    /// Has the node count it.
    pub _in_flight: Option<InFlight>,
}

impl ClientTask {
    /// Serves the client until it leaves, then leaves its server clean.
    pub async fn run(&mut self) {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        self.client.woken_by(&waker);
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        if let End::Told(error) = &end {
            self.worker.metrics.error(Origin::Proxy, error.code);
            error.write(self.relay.to_client.write(&[]));
            let _ = tokio::time::timeout(FAREWELL_LIMIT, self.relay.send_all()).await;
        }
        self.part().await;
        self.relay.give_back(&self.worker.spare);
    }

    /// Deals with what has come from the client, then waits for what comes next and deals with that.
    async fn turn(&mut self) -> Result<(), End> {
        if !self.relay.from_client.is_empty() && !self.may_go_on().await? {
            return Ok(());
        }
        match self.frontend().await? {
            FrontendStep::NeedServer(need) => return self.acquire(need).await,
            FrontendStep::Ask(question) => return Box::pin(self.answer(question)).await,
            FrontendStep::Terminate => {
                // What was answered here, without a server, may not be on its way yet.
                let _ = tokio::time::timeout(FAREWELL_LIMIT, self.relay.send_all()).await;
                return Err(End::Gone);
            }
            FrontendStep::Violation(error) => return Err(End::Told(error)),
            FrontendStep::NeedInput | FrontendStep::Busy => {}
        }
        if self.session.is_idle() && self.client.is_ended() {
            return Err(End::Told(ended()));
        }
        self.wait().await
    }

    async fn frontend(&mut self) -> Result<FrontendStep, End> {
        if self.relay.from_client.is_empty() {
            return Ok(FrontendStep::NeedInput);
        }
        let (dealt_with, step) = self.think(|session, relay, context| {
            let server = relay.server.as_deref_mut().map(|server| &mut server.state);
            let input = relay.from_client.filled();
            session.frontend(input, server, context, &mut relay.to_server, &mut relay.to_client)
        });
        self.worker.metrics.bytes(Direction::FromClient, dealt_with as u64);
        match self.session.take_bad_hints() {
            0 => {}
            ignored => self.worker.metrics.hints_ignored(u64::from(ignored)),
        }
        match self.session.take_refused_on_standby() {
            0 => {}
            refused => self.worker.metrics.refused_on_standby(u64::from(refused)),
        }
        if self.session.take_sequence_asked() {
            self.identity.note_sequences();
        }
        self.client.set_running(self.session.is_running() && !self.session.is_committing());
        // A statement that had to get a server first began when it asked for one.
        if self.asked_at.is_none() && self.relay.server.is_some() && self.session.more_to_come() {
            self.asked_at = Some(Instant::now());
        }
        if let Some(database) = self.session.take_dropped_database() {
            // DROP DATABASE itself waits a few seconds for the others to be gone (CountOtherDBBackends()).
            self.worker.shared.registry.retire_database(&database);
        }
        let sent = self.relay.push_to_server(dealt_with).await;
        self.count_sent();
        if sent.is_err() {
            self.server_lost(None)?;
        }
        Ok(step)
    }

    /// Has the session decide something, with what it shares with the other sessions of the worker.
    fn think<T>(&mut self, decide: impl FnOnce(&mut Session, &mut Relay, &mut Context<'_>) -> T) -> T {
        let schema_generation = self.catalog.schema_generation();
        let loaded = self.catalog.loaded();
        let mut brain = self.worker.brain();
        let brain = &mut *brain;
        let mut context = Context {
            classifier: &mut brain.classifier,
            statements: &mut brain.statements,
            catalog: loaded.as_deref().and_then(|loaded| loaded.at(schema_generation)),
            paths: &mut brain.paths,
            schema_generation,
            prepared_limit: self.settings.prepared_statements,
            split: self.settings.split,
            keeps_sequences: self.identity.keeps_sequences(),
        };
        decide(&mut self.session, &mut self.relay, &mut context)
    }

    /// Waits until a side has something, and deals with what the server sent.
    pub(super) async fn wait(&mut self) -> Result<(), End> {
        let flush = !self.session.more_to_come() || self.session.take_flush();
        if flush && !self.relay.to_client.is_empty() {
            self.session.answers_sent();
        }
        if self.relay.server.is_none() && self.session.is_idle() {
            self.session.rest();
            self.relay.rest(&self.worker.spare);
        }
        let wish = Wish {
            flush: flush || self.relay.server.is_none(),
            end: self.session.is_idle(),
            client: !self.left,
        };
        match self.relay.next(wish, &self.worker.spare, &self.client).await {
            Event::Client | Event::Ended => Ok(()),
            Event::Server => self.backend().await,
            Event::ClientGone => self.client_gone(),
            Event::ServerGone => self.server_lost(None),
            Event::ServerSilent => {
                // A transaction, or an answer that has begun, can only wait for the node to come back.
                self.run_lost_read_again();
                Ok(())
            }
        }
    }

    /// The connection to the client has ended. If it said goodbye behind requests that still run, these are finished.
    fn client_gone(&mut self) -> Result<(), End> {
        let farewell = self.relay.from_client.filled().first() == Some(&tag::TERMINATE);
        self.left |= farewell && self.session.more_to_come();
        if !self.left {
            return Err(End::Gone);
        }
        self.relay.to_client = Default::default();
        Ok(())
    }

    async fn backend(&mut self) -> Result<(), End> {
        if !self.may_deliver() {
            return self.permission_lost();
        }
        let relay = &mut self.relay;
        let Some(server) = relay.server.as_deref_mut() else { return Ok(()) };
        let input = relay.from_server.filled();
        let (dealt_with, step) =
            self.session.backend(input, &mut server.state, &mut relay.to_client, &mut relay.to_server);
        self.worker.metrics.bytes(Direction::FromServer, dealt_with as u64);
        // Before the client hears of it, so that whatever it does next comes after.
        self.catalog.follow(&mut self.session);
        if let Some(shape) = self.session.take_learned() {
            self.catalog.learn(shape);
        }
        self.client.set_running(self.session.is_running() && !self.session.is_committing());
        // With a server that is lost, what has not been sent may yet be taken back.
        let lost = matches!(step, BackendStep::Lost(_));
        if !lost && !relay.to_client.is_empty() {
            self.session.answers_sent();
        }
        if !lost && relay.push_to_client(dealt_with).await.is_err() {
            self.client_gone()?;
        }
        self.count_pins();
        if self.session.is_idle() {
            self.underway.end();
        }
        self.count_sent();
        let runs_again = matches!(step, BackendStep::Replay | BackendStep::RunElsewhere(_));
        // One look at the clock does for the statement and for the server.
        let now = Instant::now();
        if !runs_again && !self.session.more_to_come() {
            self.count_statement(now);
        }
        match step {
            BackendStep::NeedInput => match self.relay.push_to_server(0).await {
                Ok(()) => Ok(()),
                Err(_) => self.server_lost(None),
            },
            BackendStep::Release => {
                self.release_at(now);
                Ok(())
            }
            BackendStep::Replay => {
                let requests = self.session.take_replay();
                self.relay.from_client.prepend(&requests);
                Ok(())
            }
            BackendStep::RunElsewhere(healing) => {
                self.release();
                self.run_again(healing);
                Ok(())
            }
            BackendStep::Lost(error) => self.server_lost(error),
            BackendStep::Fatal(error) => Err(End::Told(error)),
        }
    }

    /// Gives the server back, unless the session keeps it.
    pub(super) fn release_if_free(&mut self) {
        if self.session.mode() == PoolMode::Transaction {
            self.release();
        }
    }

    /// Gives the server back.
    pub(super) fn release(&mut self) {
        self.release_at(Instant::now());
    }

    fn release_at(&mut self, now: Instant) {
        let Some(mut server) = self.relay.take_server() else { return };
        self.client.detach();
        self.underway.end();
        self.session.detach(&mut server.state);
        self.count_lookups(server.state.take_lookups());
        let clean = self.relay.from_server.is_empty() && self.relay.to_server.is_empty();
        self.relay.forget_server(&self.worker.spare);
        if let Some(checkout) = self.checkout.take() {
            self.settle(checkout, now);
        }
        // Bytes after the last answer belong to nobody; a server that sends such is not trusted with the next client.
        if clean && !server.state.is_spoiled() {
            server.release();
        } else {
            server.close();
        }
    }

    fn settle(&mut self, checkout: Checkout, now: Instant) {
        self.note_use(&checkout, now);
        let metrics = &self.worker.metrics;
        metrics.transaction(checkout.node);
        // In all else there may be time that the client took to think.
        if checkout.need.reason.is_proof() {
            let served = now.saturating_duration_since(checkout.attached);
            self.worker.shared.loads.sample(checkout.node, served, now);
        }
    }

    /// Goes on without the server, which is gone or no longer understood.
    pub(super) fn server_lost(&mut self, error: Option<PgError>) -> Result<(), End> {
        if let Some(server) = &self.relay.server {
            tracing::info!(event = "server.lost", pid = self.client.pid, node = server.node.0, error = ?error);
            self.worker.shared.report(Trouble::Unreachable(server.node));
        }
        if self.run_lost_read_again() {
            return Ok(());
        }
        // What is no read may have been done: its client must not take that for a lost connection and try again.
        let read = self.checkout.as_ref().is_some_and(|checkout| checkout.need.reason == Reason::PlainRead);
        let error = error.or_else(|| (!read).then(outcome_unknown));
        self.drop_server();
        let goes_on = self.session.server_lost(error, &mut self.relay.to_client);
        self.catalog.follow(&mut self.session);
        self.count_errors();
        goes_on.map_err(End::Told)?;
        self.count_pins();
        Ok(())
    }

    /// Gives up the server and shows the requests again that it was at, for another to run; false if they are not such
    /// as can be run again: those of a standby, or a plain read.
    fn run_lost_read_again(&mut self) -> bool {
        let Some(server) = &self.relay.server else { return false };
        let (node, standby) = (server.node, server.in_hot_standby() == Some(true));
        if !standby && !self.think(|session, _, context| session.is_reading(context)) {
            return false;
        }
        let relay = &mut self.relay;
        let input = relay.from_server.filled();
        let Some(requests) = self.session.take_requests_back(input, &mut relay.to_client) else {
            return false;
        };
        self.drop_server();
        let healing = if standby { Healing::StandbyLost } else { Healing::PrimaryLost };
        tracing::debug!(event = "read.again", pid = self.client.pid, reason = ?healing);
        self.worker.metrics.healed(healing as usize);
        // Other connections to it may not be seen to be dead yet, and a read is run again only once.
        (self.reads.home, self.reads.lost) = (None, Some(node));
        self.relay.from_client.prepend(&requests);
        true
    }

    /// Shows the requests that failed on a standby again; another server gets them.
    fn run_again(&mut self, healing: Healing) {
        let requests = self.session.take_replay();
        tracing::debug!(event = "read.again", pid = self.client.pid, reason = ?healing);
        self.worker.metrics.healed(healing as usize);
        self.relay.from_client.prepend(&requests);
    }

    fn drop_server(&mut self) {
        self.client.detach();
        self.underway.end();
        self.asked_at = None;
        if let Some(checkout) = self.checkout.take() {
            // What was under way may have been done.
            self.note_use(&checkout, Instant::now());
        }
        self.relay.server = None;
        self.relay.forget_server(&self.worker.spare);
    }

    /// Leaves the server as if this client had never been: rolled back, cleaned, or closed.
    async fn part(&mut self) {
        match self.session.part(&mut self.relay.to_server) {
            Parting::Nothing => self.release(),
            Parting::Clean => {
                let cleaned = tokio::time::timeout(CLEANING_LIMIT, self.clean()).await;
                if !matches!(cleaned, Ok(Ok(()))) {
                    self.drop_server();
                }
            }
            Parting::Close { running } => {
                if running && let Some(server) = &self.relay.server {
                    let cancel = server.cancel.begin();
                    tokio::spawn(cancel.send());
                }
                self.drop_server();
            }
        }
        self.catalog.follow(&mut self.session);
        self.uncount_pins();
    }

    async fn clean(&mut self) -> std::io::Result<()> {
        self.client.detach();
        self.relay.end_bulk();
        self.relay.push_to_server(0).await?;
        while let Some(server) = self.relay.server.as_deref_mut() {
            let read = self.relay.from_server.fill(&mut server.stream, &self.worker.spare).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let input = self.relay.from_server.filled();
            let (dealt_with, step) = self.session.backend(
                input,
                &mut server.state,
                &mut self.relay.to_client,
                &mut self.relay.to_server,
            );
            // Nobody is there to be told.
            self.relay.to_client = Default::default();
            self.relay.from_server.consume(dealt_with);
            match step {
                BackendStep::NeedInput => self.relay.push_to_server(0).await?,
                BackendStep::Release => self.release(),
                _ => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(())
    }
}

/// What a client is told when the operator ends its connection.
pub(super) fn ended() -> PgError {
    PgError {
        severity: Severity::Fatal,
        ..PgError::error(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
    }
}
