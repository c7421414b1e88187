//! What a server's error means: who is told, what it skips, what it undoes, and when the requests are run again.

use super::backend::LARGE_PREFIX;
use super::errors::Origin;
use super::frontend::WHOLE_MESSAGE;
use super::machine::{BackendStep, Copying, Session};
use super::outbox::Outbox;
use super::pins;
use super::pipeline::{Answer, Entry, Internal, Request};
use super::server::ServerState;
use super::statements::SERVER_NAME_PREFIX;
use super::substitute::REFUSED;
use crate::pg::SqlState;
use crate::sql::{SessionState, Shape};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::{ErrorFields, PgError, Severity};
use crate::wire::frame::{HEAD, Head};
use crate::wire::write;

impl Session {
    /// ErrorResponse, or the beginning of a long one; returns whether the client gets it as it is.
    pub(super) fn error(
        &mut self,
        body: &[u8],
        message: Head,
        input: &[u8],
        server: &mut ServerState,
        to_client: &mut Outbox,
    ) -> Result<bool, BackendStep> {
        debug_assert!(message.total <= WHOLE_MESSAGE || body.len() >= LARGE_PREFIX / 2);
        let fields = ErrorFields::read(body);
        if fields.is_fatal() {
            return Err(BackendStep::Lost(Some(fields.to_error())));
        }
        let Some(head) = self.pipeline.head() else {
            // Not the answer to anything: the server is in trouble.
            return Err(BackendStep::Lost(Some(fields.to_error())));
        };
        let (request, internal) = (head.request, head.internal);
        let shape = if request == Request::Execute { self.shape } else { head.shape };
        match internal {
            Some(Internal::Settings | Internal::Reapply) => return Err(cannot_apply(&fields)),
            // What comes behind a BEGIN that failed would be a transaction of its own.
            Some(Internal::Parting | Internal::Begin) => {
                return Err(BackendStep::Lost(Some(fields.to_error())));
            }
            Some(Internal::Probe) => {
                // Not known, so everything is taken to be there until a statement may have cleared it.
                self.pinned = self.pinned.union(pins::ASKABLE);
                return Ok(false);
            }
            // That was the purpose.
            Some(Internal::Failing) => return Ok(false),
            _ => self.failed = true,
        }
        self.reapply.failed();
        let own = head.own.as_ref().and_then(|own| own.refusal(head.completed));
        let refused = match (std::mem::replace(&mut head.answer, Answer::Swallow), own) {
            (Answer::Forward, Some(error)) => Answer::Refuse(Box::new(error)),
            (refused, _) => refused,
        };
        self.copying = Copying::default();
        self.suspect_failed(fields.code);
        if self.replays(&fields, shape, server, to_client, input) {
            return Ok(false);
        }
        let mut tell = internal.is_none();
        if request.is_extended() {
            self.undo_skipped(server);
            self.group_open = true;
            let owner = self.pipeline.head().map(|head| head.internal);
            // Behind a group that a Flush ended the client's own Sync is still to come.
            self.skipping = matches!(owner, None | Some(Some(Internal::Flush)));
            // A helper of ours in front of the client's request fails in its place.
            tell |= owner != Some(Some(Internal::Helper));
        } else if let Some(head) = self.pipeline.head() {
            head.answer = if tell { Answer::Forward } else { Answer::Swallow };
        }
        match refused {
            Answer::Refuse(error) if matches!(fields.code, Some(SqlState::SYNTAX_ERROR | REFUSED)) => {
                self.only_fabricated = false;
                self.replay.answered(to_client.len());
                self.errors.note(Origin::Proxy, error.code);
                error.write(to_client.write(input));
                Ok(false)
            }
            _ => {
                if tell && let Some(code) = fields.code {
                    self.errors.note(Origin::Server, code);
                }
                let retold = tell
                    && (self.tell_with_hint(&fields, body, message, input, to_client)
                        || self.tell_with_own_name(&fields, body, message, input, to_client));
                Ok(tell && !retold)
            }
        }
    }

    /// Passes a server's error on with a hint of ours behind its fields, where there is one to give; tells whether it did.
    fn tell_with_hint(
        &mut self,
        fields: &ErrorFields<'_>,
        body: &[u8],
        message: Head,
        input: &[u8],
        to_client: &mut Outbox,
    ) -> bool {
        let Some(hint) = self.hint_for(fields) else { return false };
        let Some(whole) = body.strip_suffix(b"\0").filter(|_| body.len() + HEAD == message.total) else {
            return false;
        };
        self.retell([whole, b"H", hint.as_bytes(), &[0, 0]], input, to_client);
        true
    }

    /// Passes a server's error on that names a prepared statement, as a Bind with too few values does: the client knows it
    /// by a name of its own. Tells whether it did.
    fn tell_with_own_name(
        &mut self,
        fields: &ErrorFields<'_>,
        body: &[u8],
        message: Head,
        input: &[u8],
        to_client: &mut Outbox,
    ) -> bool {
        if body.len() + HEAD != message.total {
            return false;
        }
        let Some(from) = memchr::memmem::find(fields.message, SERVER_NAME_PREFIX) else { return false };
        let name = fields.message[from..].split(|byte| *byte == b'"').next().unwrap_or_default();
        let Some(own) = self.statements.name_of(name) else { return false };
        let Some(at) = memchr::memmem::find(body, name) else { return false };
        let own = own.to_vec();
        self.retell([&body[..at], &own, &body[at + name.len()..]], input, to_client);
        true
    }

    /// Tells the client of an error, put together of `parts`, in the place of the server's.
    fn retell<const N: usize>(&mut self, parts: [&[u8]; N], input: &[u8], to_client: &mut Outbox) {
        self.only_fabricated = false;
        self.replay.answered(to_client.len());
        write::message(to_client.write(input), b'E', |out| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
        });
    }

    /// Forgets the request that failed and those the server skips with it.
    fn undo_skipped(&mut self, server: &mut ServerState) {
        let skipped: Vec<Entry> = self.pipeline.skip_to_sync().collect();
        // A Query in the middle of the group gets no answer at all.
        self.answered += skipped.iter().filter(|entry| entry.request.ends_round()).count() as u64;
        self.undo(skipped.into_iter(), server);
    }

    /// Undoes what requests were to change that were not carried out, last one first; the first of them failed.
    pub(super) fn undo(&mut self, entries: impl Iterator<Item = Entry>, server: &mut ServerState) {
        let mut entries = entries.peekable();
        while let Some(entry) = entries.next() {
            let failed = entries.peek().is_none();
            if entry.describes.is_some_and(|described| described.name.is_none()) {
                // What waited for it goes on, and is skipped with it.
                self.busy = false;
            }
            match (entry.request, entry.prepares) {
                (Request::Parse | Request::Close, Some(undone)) => server.prepared.doubt(undone),
                (Request::Parse, None) => server.unnamed = None,
                _ => {}
            }
            if let Some(renamed) = entry.renamed {
                // A Parse of the unnamed statement drops the old one even when it fails.
                let gone = failed && renamed.name.is_empty() && entry.request == Request::Parse;
                let before = renamed.before.filter(|_| !gone);
                // To a request behind it that changes the name again, this is now what was before.
                match self.pipeline.renamed(&renamed.name) {
                    Some(later) => later.before = before,
                    None => drop(self.statements.replace(&renamed.name, before)),
                }
            }
        }
    }

    /// Tells whether the requests are to be run again: because the server's plan was out of date (rule 4d.8), or because
    /// they belong elsewhere.
    fn replays(
        &mut self,
        fields: &ErrorFields<'_>,
        shape: Option<Shape>,
        server: &mut ServerState,
        to_client: &mut Outbox,
        input: &[u8],
    ) -> bool {
        let mut elsewhere = None;
        if is_outdated_plan(fields) {
            // Whatever becomes of this request, no later one should meet the outdated plan.
            server.prepared.outdate();
            server.unnamed = None;
            if self.relies_on_shape {
                return false;
            }
        } else if is_missing_statement(fields) {
            // Deallocated behind our back, by code that we cannot see.
            server.prepared.outdate();
        } else if let Some(healing) = self.heals(fields, server) {
            self.learn(healing, shape);
            elsewhere = Some(healing);
        } else {
            return false;
        }
        let whole = self.status == TransactionStatus::Idle && self.pipeline.is_one_round();
        let mark = match elsewhere {
            _ if !whole => None,
            Some(_) => self.replay.rewind_for_good(to_client.len()),
            None => self.replay.rewind_to(to_client.len()),
        };
        let Some(mark) = mark else { return false };
        to_client.rewind(input, mark);
        if self.pipeline.head().is_some_and(|head| head.request.is_extended()) {
            self.undo_skipped(server);
        }
        for renamed in self.replay.take_renamed() {
            self.statements.replace(&renamed.name, renamed.before);
        }
        if let Some(end) = self.pipeline.head() {
            end.answer = Answer::Swallow;
            end.internal = Some(Internal::Replay);
        }
        // What comes next comes behind the requests that are run again.
        self.busy = true;
        self.healing = elsewhere;
        true
    }

    /// The answer to requests that are to be run again is over.
    pub(super) fn replay_begins(&mut self) -> BackendStep {
        self.busy = false;
        let Some(healing) = self.healing else { return BackendStep::Replay };
        // On a standby nothing can have been left.
        self.suspected = SessionState::NONE;
        BackendStep::RunElsewhere(healing)
    }
}

/// "cached plan must not change result type", raised in `RevalidateCachedQuery()`.
fn is_outdated_plan(fields: &ErrorFields<'_>) -> bool {
    fields.code == Some(SqlState::FEATURE_NOT_SUPPORTED) && fields.routine == b"RevalidateCachedQuery"
}

/// `prepared statement "bellwether_..." does not exist`
fn is_missing_statement(fields: &ErrorFields<'_>) -> bool {
    fields.code == Some(SqlState::INVALID_SQL_STATEMENT_NAME)
        && memchr::memmem::find(fields.message, SERVER_NAME_PREFIX).is_some()
}

/// The session's settings cannot be brought to another server, so it cannot go on.
fn cannot_apply(fields: &ErrorFields<'_>) -> BackendStep {
    let error = fields.to_error();
    BackendStep::Fatal(PgError {
        severity: Severity::Fatal,
        hint: error
            .hint
            .or_else(|| Some("A setting of this session cannot be applied to its server.".into())),
        ..error
    })
}
