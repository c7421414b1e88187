//! The ends of a checkout that nobody planned: the client is gone, or the server is.

use std::sync::Arc;

use super::bereft::Bereft;
use super::errors::Origin;
use super::machine::{Answering, Context, Copying, PoolMode, Session};
use super::outbox::Outbox;
use super::parameters::Parameters;
use super::pipeline::{Entry, Internal};
use super::sequences::Sequences;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::routing::{Need, Target};
use crate::sql::SessionState;
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::{PgError, Severity};
use crate::wire::write;

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

impl Session {
    /// Begins to clean the server of this session, whose client is gone. Returns what the shell has to do.
    ///
    /// After [`Parting::Clean`] the shell shows the server's bytes as before until the step is `Release`; any step
    /// but that and `NeedInput` means that the server could not be cleaned and must be closed.
    pub fn part(&mut self, to_server: &mut Outbox) -> Parting {
        if !self.attached {
            return Parting::Nothing;
        }
        let within = (self.passing > 0 && !self.discarding) || self.answering.bytes > 0;
        if !self.pipeline.is_empty() || self.group_open || within {
            self.schema_maybe_changed();
            return Parting::Close { running: self.pipeline.owes_client() };
        }
        let left = self.pinned.union(self.suspected);
        if left.intersects(CLEANED_BY_NOTHING) {
            return Parting::Close { running: false };
        }
        if self.status != TransactionStatus::Idle {
            self.ask(Internal::Parting, "ROLLBACK", to_server);
            self.parameters.rollback();
        }
        if !left.is_empty() || self.mode == PoolMode::Session {
            self.ask(Internal::Parting, "DISCARD ALL", to_server);
            self.parameters = Parameters::new(Arc::default());
            self.parting = true;
        }
        self.mode = PoolMode::Transaction;
        self.pinned = SessionState::NONE;
        self.suspected = SessionState::NONE;
        self.reapply.forget();
        if self.pipeline.is_empty() { Parting::Nothing } else { Parting::Clean }
    }

    /// Answers the client for a server that is gone. Returns `Err` with what to tell the client before closing
    /// when the session cannot go on.
    ///
    /// Statements outside a transaction fail and the session lives. A transaction is over, and its client hears so at
    /// what is outstanding or else with its next request. Only state that lived on the server and that the client
    /// counts on ends the session: the connection's end is how PostgreSQL would tell of it.
    pub fn server_lost(&mut self, error: Option<PgError>, to_client: &mut Outbox) -> Result<(), PgError> {
        let error = error.unwrap_or_else(lost_connection);
        let in_transaction = self.status != TransactionStatus::Idle;
        let within =
            (self.passing > 0 && !self.discarding) || (self.answering.bytes > 0 && self.answering.to_client);
        let held = !self.lost_state(in_transaction).is_empty() || self.mode == PoolMode::Session;
        let told = self.failed || std::mem::take(&mut self.doubted);
        self.healing = None;
        self.forget_checkout();
        if held || within {
            return Err(PgError { severity: Severity::Fatal, ..error });
        }
        let entries: Vec<Entry> = self.pipeline.drain().collect();
        let error = PgError { severity: Severity::Error, ..error };
        if in_transaction {
            self.bereft = (self.status == TransactionStatus::Failed).then_some(Bereft::Told);
            self.fail_transaction(&entries, told, &error, to_client);
            if self.status != TransactionStatus::Idle {
                self.bereft.get_or_insert(Bereft::Untold);
                self.status = TransactionStatus::Failed;
            }
        } else {
            self.fail_entries(&entries, told, &error, to_client);
        }
        // No server will carry them out, so what they would have changed stays as it was.
        let mut unknown = ServerState::new(Vec::new());
        self.undo(entries.into_iter().rev(), &mut unknown);
        Ok(())
    }

    /// What a session loses with its server beyond the transaction. Of a transaction it is enough to know what
    /// outlives its rollback; code that cannot be seen is taken not to have left a lock there.
    fn lost_state(&self, in_transaction: bool) -> SessionState {
        let suspected = if in_transaction {
            SessionState(self.suspected.0 & SessionState::ADVISORY_LOCK.0)
        } else {
            // What a statement may have left, and nobody has asked about yet, is lost as well.
            self.suspected
        };
        self.pinned.union(suspected)
    }

    /// Tells whether what is outstanding is one request that is proven to be a plain read, so that it may be run again
    /// although its server is gone: whatever has become of it there, it has changed nothing.
    pub fn is_reading(&mut self, context: &mut Context<'_>) -> bool {
        let request = self.replay.recorded().to_vec();
        self.is_plain_read(&request, context)
    }

    /// Takes the requests outstanding on a server that is gone, to be run again on another one: those of a standby, where
    /// nothing that ran can have changed anything, or a read ([`is_reading`](Self::is_reading)). What waits of the answer in `to_client`, which refers to `input`, is taken back.
    /// `None` if part of it has gone out, or if this is the second time: what
    /// may have brought two servers down must not be tried on a third.
    pub fn take_requests_back(&mut self, input: &[u8], to_client: &mut Outbox) -> Option<Vec<u8>> {
        let left = !self.pinned.union(self.suspected).is_empty();
        let held = self.status != TransactionStatus::Idle || left || self.mode == PoolMode::Session;
        // What only asked for a standby may have done something outside of the database.
        let asked = |need: Need| need.target == Target::Standby && need.reason.is_wish();
        let proven = !self.routed.is_some_and(asked);
        if held || !proven || self.passing > 0 || self.answering.bytes > 0 {
            return None;
        }
        let mark = self.replay.rewind_to(to_client.len())?;
        to_client.rewind(input, mark);
        for renamed in self.replay.take_renamed() {
            self.statements.replace(&renamed.name, renamed.before);
        }
        let requests = self.replay.take();
        self.forget_checkout();
        self.group_open = false;
        let entries: Vec<Entry> = self.pipeline.drain().collect();
        let mut unknown = ServerState::new(Vec::new());
        self.undo(entries.into_iter().rev(), &mut unknown);
        Some(requests)
    }

    /// What was not answered may have been carried out all the same.
    fn schema_maybe_changed(&mut self) {
        let in_doubt = std::mem::take(&mut self.schema_in_doubt);
        self.schema_changed |= in_doubt || self.pipeline.may_change_schema();
        self.schema_prepared |= in_doubt;
    }

    fn forget_checkout(&mut self) {
        self.schema_maybe_changed();
        self.attached = false;
        self.busy = false;
        self.held_back = false;
        self.nudged = false;
        self.reapply.forget();
        self.failed = false;
        self.may_have_begun = false;
        self.unsettled = false;
        self.suspected = SessionState::NONE;
        self.copying = Copying::default();
        self.answering = Answering { bytes: 0, to_client: self.answering.to_client };
        self.portals.clear();
        self.lent.clear();
        self.sequences = Sequences::default();
        self.answered = self.round;
        self.replay.stop();
        self.parameters.rollback();
        self.settings_changed();
    }

    /// Writes an error for each of the client's requests that has none yet (`told`: the first has), and the
    /// ReadyForQuery that ends it.
    fn fail_entries(&mut self, entries: &[Entry], mut told: bool, error: &PgError, to_client: &mut Outbox) {
        let out = to_client.write(&[]);
        // A group whose answers are all there goes on with requests that have not come yet.
        let ended = entries.iter().any(|entry| entry.internal == Some(Internal::Flush));
        let mut open = std::mem::take(&mut self.group_open) && !ended;
        let owed = self.reapply.take_ready();
        let of_client = |entry: &&Entry| match entry.internal {
            None | Some(Internal::Replay) => true,
            internal => owed && internal == Some(Internal::Reapply),
        };
        for entry in entries.iter().filter(of_client) {
            open = true;
            // Of requests that were to be run again nothing was told.
            told &= entry.internal.is_none();
            if entry.request.ends_round() {
                if !std::mem::take(&mut told) {
                    self.errors.note(Origin::Proxy, error.code);
                    error.write(out);
                }
                write::ready_for_query(out, b'I');
                (open, self.skipping) = (false, false);
            }
        }
        if open && !self.skipping {
            if !told {
                self.errors.note(Origin::Proxy, error.code);
                error.write(out);
            }
            self.skipping = true;
        }
    }
}

/// State that DISCARD ALL leaves as it is.
const CLEANED_BY_NOTHING: SessionState =
    SessionState::LIBRARY.union(SessionState::RANDOM_SEED).union(SessionState::DBLINK);

fn lost_connection() -> PgError {
    PgError::error(SqlState::CONNECTION_FAILURE, "the server closed the connection unexpectedly")
        .hint("The statement may or may not have taken effect. Try again.")
}
