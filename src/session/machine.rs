//! One client's session: what it has, when it needs a server, and when it can give one back.
//!
//! The shell shows it the bytes of the client ([`Session::frontend`]) and of the server ([`Session::backend`]),
//! sends what it puts into the outboxes, and does as the returned steps say.

use std::sync::Arc;

use super::answers::Question;
use super::bereft::Bereft;
use super::environment::environment;
use super::errors::Errors;
use super::heal::Healing;
use super::hold::Held;
use super::outbox::Outbox;
use super::own::Own;
use super::parameters::{Parameters, Settings};
use super::pins;
use super::pipeline::{Entry, Internal, Pipeline, Request};
use super::portals::Portals;
use super::reapply::Reapply;
use super::replay::Replay;
use super::reported::{Reading, Reported};
use super::sequences::Sequences;
use super::statements::{ClientStatements, Statement, StatementTable};
use crate::routing::{Need, Wishes};
use crate::sql::{Catalog, Classified, Classifier, SearchPath, SearchPaths, SessionState, Shape};
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
    /// The catalog of the session's database, unless it is not loaded or out of date.
    pub catalog: Option<&'a Catalog>,
    /// The search paths in use.
    pub paths: &'a mut SearchPaths,
    /// Counts schema changes of this database that passed through the proxy.
    pub schema_generation: u64,
    /// How many statements may be prepared on one server.
    pub prepared_limit: usize,
    /// Whether plain reads may go to standbys.
    pub split: bool,
    /// Whether sessions of this user ask for the present value of sequences, and so keep the server they write on.
    pub keeps_sequences: bool,
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
    /// Answer this by [`Session::tell`], and show the same bytes again.
    Ask(Question),
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
    /// The same, after the server was given back: they belong elsewhere, for this reason.
    RunElsewhere(Healing),
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
    /// Stands for the database and the user; see [`of`](Self::of).
    scope: u64,
    /// This transaction has changed how SQL text is parsed, so texts prepared in it are not shared.
    pub(super) unsettled: bool,
    /// The client is gone, and the server is being cleaned.
    pub(super) parting: bool,
    /// Statements that SQL may speak of in the current group, on the server under the client's names.
    pub(super) lent: Vec<Box<[u8]>>,
    /// SET LOCAL was used in this transaction, so what the server reports may end with it.
    pub(super) local_settings: bool,
    /// A setting was changed since the last ReadyForQuery.
    pub(super) settings_followed: bool,
    pub(super) sequences: Sequences,
    /// Tells sessions apart.
    pub(super) identity: Arc<()>,
    /// Code that cannot be seen has run on the server.
    pub(super) ran_unseen: bool,
    pub(super) statements: ClientStatements,
    pub(super) portals: Portals,
    pub(super) pipeline: Pipeline,
    /// How many requests the client has sent that are answered by ReadyForQuery.
    pub(super) round: u64,
    /// How many of those are answered.
    pub(super) answered: u64,
    /// The last two rounds in which the client gave up a name.
    pub(super) removed_rounds: [u64; 2],
    /// The round in which the server's unnamed statement was sent.
    pub(super) unnamed_round: u64,
    pub(super) status: TransactionStatus,
    pub(super) attached: bool,
    /// What the server was asked for.
    pub(super) routed: Option<Need>,
    /// The requests at hand failed on a standby and go to the primary.
    pub(super) healing: Option<Healing>,
    /// Shape of the statement bound last.
    pub(super) shape: Option<Shape>,
    /// A shape that a standby has refused.
    pub(super) learned: Option<Shape>,
    /// State known to live on the server.
    pub(super) pinned: SessionState,
    /// State that may live on the server, to be asked about once the transaction ends.
    pub(super) suspected: SessionState,
    /// The last error was not followed by the end of its transaction.
    pub(super) failed: bool,
    /// The errors the client was sent since somebody asked.
    pub(super) errors: Errors,
    /// A statement since the last ReadyForQuery may have begun a transaction block.
    pub(super) may_have_begun: bool,
    /// Startup values to be set again on this server.
    pub(super) reapply: Reapply,
    /// Our own request that the client's next bytes wait for.
    pub(super) busy: bool,
    /// An extended-protocol group was begun and its Sync is not answered.
    pub(super) group_open: bool,
    /// All that the open group did was to prepare and describe statements.
    pub(super) only_prepares: bool,
    /// The server ignores everything up to Sync, and so do we.
    pub(super) skipping: bool,
    /// Something outstanding changes what names or texts mean, so the client's next requests wait.
    pub(super) held_back: bool,
    /// The server was asked to send its answers now.
    pub(super) nudged: bool,
    pub(super) copies_ended: u32,
    pub(super) copying: Copying,
    /// Bytes of a message from the client that still go to the server.
    pub(super) passing: usize,
    /// Those bytes go nowhere instead.
    pub(super) discarding: bool,
    /// Bytes of a message from the server that still go to the client, or nowhere.
    pub(super) answering: Answering,
    /// What waits for the client is nothing but answers of our own.
    pub(super) only_fabricated: bool,
    /// The client was ever told what rows a prepared statement returns.
    pub(super) was_told: bool,
    /// What the client executes now it expects to return the rows it was told of before.
    pub(super) relies_on_shape: bool,
    pub(super) flush: bool,
    pub(super) schema_changed: bool,
    pub(super) drops_database: Option<Box<str>>,
    /// The transaction has changed the schema, for others to see once it is committed.
    pub(super) schema_in_doubt: bool,
    /// Such a transaction was prepared for a second phase, which any session may bring about.
    pub(super) schema_prepared: bool,
    /// A prepared transaction was committed or rolled back.
    pub(super) finished_prepared: bool,
    /// The search path of these settings.
    pub(super) path: Option<(Arc<Settings>, Arc<SearchPath>)>,
    pub(super) replay: Replay,
    /// A commit that did not wait for its standbys is no success.
    pub(super) strict: bool,
    /// The client was told that nobody knows whether its commit is safe; nothing else of that round goes out.
    pub(super) doubted: bool,
    /// The server of the open transaction is gone.
    pub(super) bereft: Option<Bereft>,
    /// What the shell has answered to the last question.
    pub(super) heard: Option<Box<str>>,
    /// The request at hand has waited for a catalog.
    pub(super) catalog_asked: bool,
    /// How many hints could not be followed.
    pub(super) bad_hints: u32,
    /// How many requests were refused on a standby.
    pub(super) refused_on_standby: u32,
    /// The transaction that no server knows of yet.
    pub(super) held: Held,
    /// What the primary's version is now, to be told to the client.
    pub(super) new_version: Option<Box<str>>,
    /// On the read-only endpoint: where writes can be sent, as a hint.
    pub(super) reads_elsewhere: Option<Arc<str>>,
}

/// How far a COPY from the client may have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copying {
    /// The server awaits data, and the client has not ended it.
    pub begun: bool,
    /// The client has sent data, and has not ended it.
    pub data: bool,
}

/// The rest of a server's message that has not arrived yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answering {
    pub bytes: usize,
    pub to_client: bool,
}

impl Session {
    /// Starts a session that has logged in with `startup` settings and was told `told`.
    pub fn new(mode: PoolMode, startup: Arc<Settings>, told: Reported) -> Self {
        Session {
            mode,
            reading: told.reading(),
            environment: environment(&startup),
            scope: 0,
            parameters: Parameters::new(startup),
            told,
            unsettled: false,
            parting: false,
            lent: Vec::new(),
            local_settings: false,
            settings_followed: false,
            sequences: Sequences::default(),
            identity: Arc::default(),
            ran_unseen: false,
            statements: ClientStatements::default(),
            portals: Portals::default(),
            pipeline: Pipeline::default(),
            round: 0,
            answered: 0,
            removed_rounds: [u64::MAX; 2],
            unnamed_round: u64::MAX,
            status: TransactionStatus::Idle,
            attached: false,
            routed: None,
            healing: None,
            shape: None,
            learned: None,
            pinned: SessionState::NONE,
            suspected: SessionState::NONE,
            failed: false,
            errors: Errors::default(),
            may_have_begun: false,
            reapply: Reapply::default(),
            busy: false,
            group_open: false,
            only_prepares: false,
            skipping: false,
            held_back: false,
            nudged: false,
            copies_ended: 0,
            copying: Copying::default(),
            passing: 0,
            discarding: false,
            answering: Answering::default(),
            only_fabricated: false,
            was_told: false,
            relies_on_shape: false,
            flush: false,
            schema_changed: false,
            drops_database: None,
            schema_in_doubt: false,
            schema_prepared: false,
            finished_prepared: false,
            path: None,
            replay: Replay::default(),
            strict: false,
            doubted: false,
            bereft: None,
            heard: None,
            catalog_asked: false,
            bad_hints: 0,
            refused_on_standby: 0,
            held: Held::default(),
            new_version: None,
            reads_elsewhere: None,
        }
    }

    /// Says whose session it is: `scope` stands for its database and user, who share no statements with others.
    pub fn of(mut self, scope: u64) -> Self {
        self.scope = scope;
        self
    }

    /// Gives the session its own settings, as it starts with them and as RESET returns to them.
    pub fn wish(&mut self, startup: Wishes) {
        self.parameters.own = Own::new(startup);
    }

    /// Returns the session's own settings as they are now.
    pub fn wishes(&self) -> &Wishes {
        self.parameters.own.now()
    }

    /// Stands for all that decides what the text of a statement means.
    pub(super) fn environment(&self) -> u64 {
        self.environment ^ self.scope
    }

    /// Sends a Query of our own; the client waits for it.
    pub(super) fn ask(&mut self, why: Internal, sql: &str, to_server: &mut Outbox) {
        write::query(to_server.write(&[]), sql.as_bytes());
        self.pipeline.push(Entry::internal(Request::Query, why));
        self.busy = true;
    }

    /// Tells whether a request answered by ReadyForQuery is outstanding.
    pub(super) fn rounds_open(&self) -> bool {
        self.answered < self.round
    }

    /// Follows the values of settings that decide how SQL text is read.
    pub(super) fn settings_changed(&mut self) {
        self.reading = self.told.reading();
        self.environment = environment(self.parameters.current());
        self.unsettled |=
            self.parameters.before().is_some_and(|before| environment(before) != self.environment);
    }

    /// Tells whether the server can go back, at a ReadyForQuery.
    pub(super) fn is_free(&self) -> bool {
        self.is_quiet()
            && self.status == TransactionStatus::Idle
            && self.mode == PoolMode::Transaction
            && self.pinned.is_empty()
    }

    /// Tells whether the server has nothing to do and nothing more to get of what has begun.
    pub(super) fn is_quiet(&self) -> bool {
        self.pipeline.is_empty() && !self.group_open && self.passing == 0
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
    ///
    /// Answers of our own within a group may wait as well, as a server's would: they are few, and while they wait the
    /// group can still be run again.
    pub fn more_to_come(&self) -> bool {
        let owed = self.pipeline.owes_client() || self.reapply.owes_ready();
        owed || (self.group_open && self.only_fabricated)
    }

    /// Takes the note that the schema was changed by this session, or may have been. It is left when a statement is
    /// done, and again when its transaction is.
    pub fn take_schema_changed(&mut self) -> bool {
        std::mem::take(&mut self.schema_changed)
    }

    /// Takes the note that a transaction was prepared which has changed the schema.
    pub fn take_schema_prepared(&mut self) -> bool {
        std::mem::take(&mut self.schema_prepared)
    }

    /// Takes the note that a prepared transaction was committed or rolled back.
    pub fn take_finished_prepared(&mut self) -> bool {
        std::mem::take(&mut self.finished_prepared)
    }

    /// Takes the name of a database that the client is about to drop: nobody else may be connected to it.
    pub fn take_dropped_database(&mut self) -> Option<Box<str>> {
        self.drops_database.take()
    }

    /// Takes the number of hints that could not be followed.
    pub fn take_bad_hints(&mut self) -> u32 {
        std::mem::take(&mut self.bad_hints)
    }

    /// Takes the number of requests that were refused on a standby.
    pub fn take_refused_on_standby(&mut self) -> u32 {
        std::mem::take(&mut self.refused_on_standby)
    }

    /// Takes the client's messages that are to be shown to [`frontend`](Self::frontend) again.
    pub fn take_replay(&mut self) -> Vec<u8> {
        self.replay.take()
    }

    /// Notes that what waited for the client is on its way: requests answered in part cannot be run again.
    pub fn answers_sent(&mut self) {
        self.replay.sent();
        self.only_fabricated = false;
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

/// Tells whether executing `statement` does anything the session must follow.
pub(super) fn matters(class: &Classified) -> bool {
    !class.parsed || class.statements.iter().any(|effects| !effects.is_inert())
}

/// Returns `statement`'s class if executing it does anything the session must follow.
pub(super) fn class_that_matters(statement: &Statement) -> Option<Arc<Classified>> {
    matters(&statement.class).then(|| statement.class.clone())
}
