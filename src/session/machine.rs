//! One client's session: what it has, when it needs a server, and when it can give one back.
//!
//! The shell shows it the bytes of the client ([`Session::frontend`]) and of the server ([`Session::backend`]),
//! sends what it puts into the outboxes, and does as the returned steps say.

use std::sync::Arc;

use super::outbox::Outbox;
use super::parameters::{self, Parameters, Settings};
use super::pins;
use super::pipeline::{Entry, Internal, Pipeline, Request};
use super::replay::Replay;
use super::reported::{Reading, Reported};
use super::server::ServerState;
use super::statements::{ClientStatements, Statement, StatementTable};
use crate::routing::Need;
use crate::sql::{Classified, Classifier, SessionState, SettingChange};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::PgError;
use crate::wire::write;

/// When a session gives its server back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// After each transaction, unless pinned.
    Transaction,
    /// When the client disconnects.
    Session,
}

/// What the machine needs that is not the session's own: shared by all sessions of a worker.
pub struct Context<'a> {
    /// Classifies texts, with a cache.
    pub classifier: &'a mut Classifier,
    /// The statements in use.
    pub statements: &'a mut StatementTable,
    /// Counts schema changes of this database that passed through the proxy.
    pub schema_generation: u64,
    /// How many statements may be prepared on one server.
    pub prepared_limit: usize,
    /// Whether plain reads may go to standbys.
    pub split: bool,
}

/// What the shell is to do after the client's bytes were looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum FrontendStep {
    /// Read more from the client.
    NeedInput,
    /// Get a server, call [`Session::attach`], and show the same bytes again.
    NeedServer(Need),
    /// Something of our own runs on the server; the client's next bytes must wait for it.
    Busy,
    /// The client said goodbye.
    Terminate,
    /// The client broke the protocol: send this and close.
    Violation(PgError),
}

/// What the shell is to do after the server's bytes were looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum BackendStep {
    /// Read more from the server.
    NeedInput,
    /// The session no longer needs this server.
    Release,
    /// Show the client's last requests again ([`Session::take_replay`]) before its next bytes.
    Replay,
    /// The server says it is going away, or broke the protocol: call [`Session::server_lost`] and drop it.
    Lost(Option<PgError>),
    /// The session cannot go on: send this to the client and close.
    Fatal(PgError),
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    pub(super) mode: PoolMode,
    pub(super) parameters: Parameters,
    /// What the client was told by ParameterStatus.
    pub(super) told: Reported,
    pub(super) reading: Reading,
    /// Stands for the settings that change how SQL text is parsed; part of a shared statement's identity.
    pub(super) environment: u64,
    /// SET LOCAL was used in this transaction, so texts prepared in it are not shared.
    pub(super) local_settings: bool,
    /// The server was sent DISCARD ALL for a client that is gone.
    pub(super) discarded: bool,
    pub(super) statements: ClientStatements,
    pub(super) portals: Portals,
    pub(super) pipeline: Pipeline,
    pub(super) status: TransactionStatus,
    pub(super) attached: bool,
    /// State known to live on the server.
    pub(super) pinned: SessionState,
    /// State that may live on the server, to be asked about once the transaction ends.
    pub(super) suspected: SessionState,
    /// The last error was not followed by the end of its transaction.
    pub(super) failed: bool,
    /// Startup values must be set again on this server.
    pub(super) reapply: bool,
    /// Our own request that the client's next bytes wait for.
    pub(super) busy: bool,
    /// An extended-protocol group was begun and its Sync is not answered.
    pub(super) group_open: bool,
    /// The server ignores everything up to Sync, and so do we.
    pub(super) skipping: bool,
    pub(super) copies_ended: u32,
    /// Bytes of a message from the client that still go to the server.
    pub(super) passing: usize,
    /// Those bytes go nowhere instead.
    pub(super) discarding: bool,
    /// Bytes of a message from the server that still go to the client, or nowhere.
    pub(super) answering: Answering,
    pub(super) flush: bool,
    pub(super) schema_changed: bool,
    pub(super) replay: Replay,
}

/// The rest of a server's message that has not arrived yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answering {
    pub bytes: usize,
    pub to_client: bool,
}

/// Portals whose statement does more than return rows.
#[derive(Debug, Default)]
pub(super) struct Portals {
    open: Vec<(Box<[u8]>, Portal)>,
}

/// What executing a portal does.
#[derive(Clone, Debug)]
pub(super) struct Portal {
    pub class: Arc<Classified>,
    pub bound: Vec<SettingChange>,
}

impl Portals {
    /// Notes what `name` stands for now.
    pub fn set(&mut self, name: &[u8], portal: Option<Portal>) {
        if !self.open.is_empty() {
            self.open.retain(|(known, _)| **known != *name);
        }
        if let Some(portal) = portal {
            self.open.push((name.into(), portal));
        }
    }

    /// Returns what executing `name` does, if that is more than rows.
    pub fn get(&self, name: &[u8]) -> Option<&Portal> {
        self.open.iter().find(|(known, _)| **known == *name).map(|(_, portal)| portal)
    }

    /// Notes the end of a transaction, which ends all portals.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}

impl Session {
    /// Starts a session that has logged in with `startup` settings and was told `told`.
    pub fn new(mode: PoolMode, startup: Arc<Settings>, told: Reported) -> Self {
        Session {
            mode,
            reading: told.reading(),
            environment: environment(&startup),
            parameters: Parameters::new(startup),
            told,
            local_settings: false,
            discarded: false,
            statements: ClientStatements::default(),
            portals: Portals::default(),
            pipeline: Pipeline::default(),
            status: TransactionStatus::Idle,
            attached: false,
            pinned: SessionState::NONE,
            suspected: SessionState::NONE,
            failed: false,
            reapply: false,
            busy: false,
            group_open: false,
            skipping: false,
            copies_ended: 0,
            passing: 0,
            discarding: false,
            answering: Answering::default(),
            flush: false,
            schema_changed: false,
            replay: Replay::default(),
        }
    }

    /// Takes a server: brings its settings to the session's, if they differ. The client's bytes wait meanwhile.
    pub fn attach(&mut self, server: &mut ServerState, to_server: &mut Outbox) {
        debug_assert!(!self.attached && self.pipeline.is_empty());
        self.attached = true;
        if parameters::same(&server.applied, self.parameters.current()) {
            return;
        }
        match parameters::sync_sql(&server.applied, self.parameters.current()) {
            Some(sql) => self.ask(Internal::Settings, &sql, to_server),
            None => server.applied = self.parameters.current().clone(),
        }
    }

    /// Sends a Query of our own; the client waits for it.
    pub(super) fn ask(&mut self, why: Internal, sql: &str, to_server: &mut Outbox) {
        write::query(to_server.write(&[]), sql.as_bytes());
        self.pipeline.push(Entry::internal(Request::Query, why));
        self.busy = true;
    }

    /// Leaves the server as far as this session goes; it may serve others now.
    pub fn detach(&mut self, server: &mut ServerState) {
        self.attached = false;
        self.portals.clear();
        if self.discarded {
            server.prepared.clear();
            server.unnamed = None;
        }
        if !Arc::ptr_eq(&server.applied, self.parameters.current()) {
            server.applied = self.parameters.current().clone();
        }
    }

    /// Begins to clean the server of this session, whose client is gone. Returns what the shell has to do.
    ///
    /// After [`Parting::Clean`] the shell shows the server's bytes as before until the step is `Release`.
    pub fn part(&mut self, to_server: &mut Outbox) -> Parting {
        if !self.attached {
            return Parting::Nothing;
        }
        let midway =
            !self.pipeline.is_empty() || self.group_open || self.passing > 0 || self.answering.bytes > 0;
        let lasting = SessionState::LIBRARY.union(SessionState::RANDOM_SEED).union(SessionState::DBLINK);
        if midway || self.pinned.union(self.suspected).intersects(lasting) {
            return Parting::Close { running: !self.pipeline.is_empty() };
        }
        let dirty = !self.pinned.union(self.suspected).is_empty() || self.mode == PoolMode::Session;
        if self.status != TransactionStatus::Idle {
            self.ask(Internal::Helper, "ROLLBACK", to_server);
            self.parameters.rollback();
        }
        if dirty {
            self.ask(Internal::Helper, "DISCARD ALL", to_server);
            self.parameters = Parameters::new(Arc::default());
            self.discarded = true;
        }
        self.mode = PoolMode::Transaction;
        self.pinned = SessionState::NONE;
        self.suspected = SessionState::NONE;
        self.reapply = false;
        if self.pipeline.is_empty() { Parting::Nothing } else { Parting::Clean }
    }

    /// Answers the client for a server that is gone. Returns `Err` with what to tell the client before closing
    /// when the session cannot go on.
    ///
    /// Statements outside a transaction fail and the session lives; a transaction or a pin was lost with the server.
    pub fn server_lost(&mut self, error: Option<PgError>, to_client: &mut Outbox) -> Result<(), PgError> {
        let error = error.unwrap_or_else(lost_connection);
        let held =
            self.status != TransactionStatus::Idle || !self.pinned.is_empty() || self.answering.bytes > 0;
        let fresh = self.pipeline.serves_client() || self.group_open;
        self.attached = false;
        self.busy = false;
        self.reapply = false;
        self.suspected = SessionState::NONE;
        self.portals.clear();
        self.parameters.rollback();
        self.settings_changed();
        if held || self.mode == PoolMode::Session || self.passing > 0 {
            return Err(PgError { severity: crate::wire::error_response::Severity::Fatal, ..error });
        }
        self.answering = Answering::default();
        if !fresh {
            self.pipeline.drain().for_each(drop);
            return Ok(());
        }
        let error = PgError { severity: crate::wire::error_response::Severity::Error, ..error };
        error.write(to_client.write(&[]));
        self.skipping = self.group_open;
        for entry in self.pipeline.drain() {
            let ends = matches!(entry.request, Request::Sync | Request::Query | Request::FunctionCall);
            if ends && entry.internal.is_none() {
                write::ready_for_query(to_client.write(&[]), b'I');
                self.skipping = false;
            }
        }
        self.group_open = false;
        Ok(())
    }

    /// Follows the values of settings that decide how SQL text is read.
    pub(super) fn settings_changed(&mut self) {
        self.reading = self.told.reading();
        self.environment = environment(self.parameters.current());
    }

    /// Tells whether the server can go back, at a ReadyForQuery.
    pub(super) fn is_free(&self) -> bool {
        self.pipeline.is_empty()
            && self.status == TransactionStatus::Idle
            && self.mode == PoolMode::Transaction
            && self.pinned.is_empty()
            && !self.group_open
            && self.passing == 0
    }

    /// Tells what is kept on the server now, for metrics and the console.
    pub fn pinned(&self) -> SessionState {
        self.pinned
    }

    /// Returns the settings of the session now.
    pub fn settings(&self) -> &Arc<Settings> {
        self.parameters.current()
    }

    /// Tells whether a server is attached.
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// Returns the state of the transaction as of the last ReadyForQuery.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Tells whether the server is at work for this client, so that a cancel request has something to cancel.
    pub fn is_running(&self) -> bool {
        self.attached && self.pipeline.serves_client()
    }

    /// Tells whether the client waits for nothing: no request is unanswered and no transaction is open.
    pub fn is_idle(&self) -> bool {
        self.pipeline.is_empty() && self.status == TransactionStatus::Idle && !self.group_open
    }

    /// Takes the note that the client wants its answers now, even with requests outstanding.
    pub fn take_flush(&mut self) -> bool {
        std::mem::take(&mut self.flush)
    }

    /// Tells whether answers may wait for what comes next: something is outstanding that the client will hear of.
    pub fn more_to_come(&self) -> bool {
        self.pipeline.owes_client()
    }

    /// Takes the note that the schema was changed by this session.
    pub fn take_schema_changed(&mut self) -> bool {
        std::mem::take(&mut self.schema_changed)
    }

    /// Takes the client's messages that are to be shown to [`frontend`](Self::frontend) again.
    pub fn take_replay(&mut self) -> Vec<u8> {
        self.replay.take()
    }

    /// Notes that what waited for the client is on its way: requests answered in part cannot be run again.
    pub fn answers_sent(&mut self) {
        self.replay.sent();
    }

    /// Gives memory back that only a working session needs.
    pub fn rest(&mut self) {
        self.replay.shrink();
    }

    /// Returns how many named prepared statements the client holds.
    pub fn prepared_count(&self) -> usize {
        self.statements.count()
    }

    /// Returns the names of the pins that hold.
    pub fn pin_names(&self) -> impl Iterator<Item = &'static str> {
        pins::names(self.pinned)
    }
}

/// What a session leaves to be done on its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// No server, or one that can go back as it is.
    Nothing,
    /// Wait until the server has been cleaned.
    Clean,
    /// Close the connection; `running` tells that a statement is still at work and should be cancelled.
    Close {
        /// A statement is running.
        running: bool,
    },
}

fn lost_connection() -> PgError {
    PgError::error(crate::pg::SqlState::CONNECTION_FAILURE, "the server closed the connection unexpectedly")
        .hint("The statement may or may not have taken effect. Try again.")
}

/// Hashes the settings under which SQL text is parsed (FNV-1a). 0 when none of them differs from the server's.
fn environment(settings: &Settings) -> u64 {
    const PARSING: [&str; 4] =
        ["role", "search_path", "session_authorization", "standard_conforming_strings"];
    let mut hash = 0u64;
    for name in PARSING {
        for byte in settings.get(name).into_iter().flat_map(|value| name.bytes().chain(value.bytes())) {
            hash = (if hash == 0 { 0xcbf2_9ce4_8422_2325 } else { hash } ^ u64::from(byte))
                .wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// Tells whether executing `statement` does anything the session must follow.
pub(super) fn matters(class: &Classified) -> bool {
    !class.parsed || class.statements.iter().any(|effects| !effects.is_inert())
}

/// Returns `statement`'s class if executing it does anything the session must follow.
pub(super) fn class_that_matters(statement: &Statement) -> Option<Arc<Classified>> {
    matters(&statement.class).then(|| statement.class.clone())
}
