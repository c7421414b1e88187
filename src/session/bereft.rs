//! A transaction whose server is gone: the client keeps its connection and is told once; then only the end of the
//! transaction block is left to it, as after any error.
//!
//! What only the transaction held is undone with it, so the session can go on. A COMMIT that was sent and not answered
//! is another matter: nobody knows, and that is what the client is told (`08007`).

use super::errors::Origin;
use super::frontend::next_message;
use super::machine::{Context, Session};
use super::outbox::Outbox;
use super::pipeline::{Entry, Internal};
use crate::pg::SqlState;
use crate::sql::{Classified, Transaction};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::{ErrorFields, PgError};
use crate::wire::frame::{HEAD, Head};
use crate::wire::frontend::{self, tag};
use crate::wire::write;

/// What the client knows of its lost transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bereft {
    /// Nothing: the server went while the client was thinking.
    Untold,
    /// It got an error.
    Told,
}

/// How a request would have ended the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By COMMIT, END or PREPARE TRANSACTION, which keep what it did.
    Kept,
    /// By ROLLBACK.
    Undone,
}

/// How `class` ends a transaction block, if it does.
pub(super) fn ending(class: &Classified) -> Option<Ending> {
    class.statements.iter().find_map(|effects| match effects.transaction {
        Some(Transaction::Commit { .. } | Transaction::PrepareTransaction) => Some(Ending::Kept),
        Some(Transaction::Rollback { .. }) => Some(Ending::Undone),
        _ => None,
    })
}

impl Session {
    /// Answers the message at the start of `input` for a client whose transaction is lost; returns how many bytes that
    /// takes, or `None` when a server must answer. It is given one that is inside a failed transaction too
    /// ([`fail_like_client`](Self::fail_like_client)).
    pub(super) fn answer_bereft(
        &mut self,
        head: Head,
        input: &[u8],
        context: &mut Context<'_>,
        to_client: &mut Outbox,
    ) -> Option<usize> {
        let told = self.bereft? == Bereft::Told;
        let (_, end) = next_message(input, 0).ok().flatten()?;
        if !matches!(head.tag, tag::QUERY | tag::FUNCTION_CALL) {
            if told {
                return None;
            }
            self.tell_lost(to_client.write(&[]));
            self.bereft = Some(Bereft::Told);
            self.skipping = true;
            return Some(0);
        }
        let class = (head.tag == tag::QUERY && end == head.total)
            .then(|| frontend::query(&input[HEAD..end]).ok().map(|text| self.classify(text, context)))
            .flatten();
        let ending = class.as_deref().and_then(ending);
        let plain = class.as_deref().is_some_and(ends_plainly);
        let out = to_client.write(&[]);
        match (told, ending) {
            // What was to be kept is not, and a tag would be overlooked.
            (false, Some(Ending::Kept)) => self.tell_lost(out),
            (_, Some(_)) if plain => write::command_complete(out, "ROLLBACK"),
            (false, _) => self.tell_lost(out),
            (true, _) => return None,
        }
        let over = ending == Some(Ending::Kept) || (ending.is_some() && plain);
        if over {
            self.status = TransactionStatus::Idle;
            self.bereft = None;
        } else {
            self.bereft = Some(Bereft::Told);
        }
        // "A simple Query message also destroys the unnamed statement" (protocol-flow).
        self.remove_name(b"");
        write::ready_for_query(to_client.write(&[]), self.status.byte());
        self.discarding = true;
        self.passing = head.total - end;
        Some(end)
    }

    fn tell_lost(&mut self, out: &mut Vec<u8>) {
        let error = lost_transaction();
        self.errors.note(Origin::Proxy, error.code);
        error.write(out);
    }

    /// Brings the server just attached to where the client is: inside a transaction that has failed.
    pub(super) fn fail_like_client(&mut self, to_server: &mut Outbox) {
        if self.bereft.take().is_some() {
            self.ask(Internal::Failing, "BEGIN", to_server);
            self.ask(Internal::Failing, SURE_TO_FAIL, to_server);
        }
    }

    /// Answers what a client in a transaction has outstanding, whose server is gone, in the order in which a server
    /// would. `told`: the first request has had its error.
    pub(super) fn fail_transaction(
        &mut self,
        entries: &[Entry],
        mut told: bool,
        error: &PgError,
        to_client: &mut Outbox,
    ) {
        let out = to_client.write(&[]);
        let mut open = std::mem::take(&mut self.group_open);
        let mut ends = None;
        let owed = self.reapply.take_ready();
        let of_client =
            |entry: &&Entry| entry.internal.is_none() || (owed && entry.internal == Some(Internal::Reapply));
        for entry in entries.iter().filter(of_client) {
            open = true;
            ends = ends.or(entry.class.as_deref().and_then(ending));
            if entry.request.ends_round() {
                if !std::mem::take(&mut told) {
                    self.tell_end(ends, error, out);
                }
                self.told_of_end(ends.take());
                write::ready_for_query(out, self.status.byte());
                (open, self.skipping) = (false, false);
            }
        }
        if open && !self.skipping {
            if !told {
                self.tell_end(ends, error, out);
            }
            self.told_of_end(ends);
            self.skipping = true;
        }
    }

    /// Makes it an error when a commit did not get as far as `synchronous_commit` wants it (rule P5).
    pub fn be_strict(&mut self) {
        self.strict = true;
    }

    /// Tells whether the server is at the end of a transaction that is to be kept: cut short there, it would call done
    /// what may not be safe (rule P6).
    pub fn is_committing(&self) -> bool {
        self.strict && self.pipeline.keeps_transaction()
    }

    /// Whether this notice says that a commit stopped waiting for its standbys: it is done on the primary, and a failover
    /// may undo it. Known by the routine, as texts are translated.
    pub(super) fn gave_up_waiting(&self, notice: &[u8]) -> bool {
        self.strict && ErrorFields::read(notice).routine == b"SyncRepWaitForLSN"
    }

    /// Tells the client so, in place of whatever success the server goes on to report.
    pub(super) fn doubt_commit(&mut self, to_client: &mut Outbox, input: &[u8]) {
        self.replay.stop();
        if !std::mem::replace(&mut self.doubted, true) {
            self.only_fabricated = false;
            let error = not_replicated();
            self.errors.note(Origin::Proxy, error.code);
            error.write(to_client.write(input));
        }
    }

    /// What the client is told of a request in or behind its lost transaction.
    fn tell_end(&mut self, ends: Option<Ending>, error: &PgError, out: &mut Vec<u8>) {
        let error = self.words(ends, error);
        self.errors.note(Origin::Proxy, error.code);
        error.write(out);
    }

    fn words(&self, ends: Option<Ending>, error: &PgError) -> PgError {
        match (self.status, ends, self.bereft) {
            (TransactionStatus::Idle, ..) => error.clone(),
            (TransactionStatus::InTransaction, Some(Ending::Kept), None) => in_doubt(),
            (.., Some(Bereft::Told)) => already_failed(),
            _ => lost_transaction(),
        }
    }

    fn told_of_end(&mut self, ends: Option<Ending>) {
        if ends.is_some() {
            self.status = TransactionStatus::Idle;
            self.bereft = None;
        } else if self.status != TransactionStatus::Idle {
            self.status = TransactionStatus::Failed;
            self.bereft = Some(Bereft::Told);
        }
    }
}

/// Whether the text is nothing but the end of a transaction block, without AND CHAIN.
fn ends_plainly(class: &Classified) -> bool {
    let [only] = &*class.statements else { return false };
    matches!(
        only.transaction,
        Some(Transaction::Commit { chain: false } | Transaction::Rollback { chain: false })
    )
}

/// Refused inside every transaction, and what it says in the server's log is true.
const SURE_TO_FAIL: &str = "ROLLBACK TO \"before the server of this transaction was lost\"";

/// The transaction is gone for certain: no COMMIT of it was sent. Clients know by the code that they may run it again.
fn lost_transaction() -> PgError {
    PgError::error(SqlState::SERIALIZATION_FAILURE, "the transaction was lost with its server")
        .detail("Nothing of it has taken effect.")
        .hint("Run the transaction again.")
}

fn in_doubt() -> PgError {
    PgError::error(SqlState::TRANSACTION_RESOLUTION_UNKNOWN, "the outcome of the COMMIT is unknown")
        .detail("The server was lost after the COMMIT was sent and before it was answered.")
        .hint("Look whether the transaction has taken effect before running it again.")
}

fn not_replicated() -> PgError {
    PgError::error(
        SqlState::STATEMENT_COMPLETION_UNKNOWN,
        "the commit did not wait for the standbys it needs",
    )
    .detail("It is done on the primary, and lost if the primary is lost before they have it.")
    .hint("Look whether it has taken effect before running it again.")
}

fn already_failed() -> PgError {
    PgError::error(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}
