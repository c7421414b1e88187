//! What the client says: each message to the server, to a fabricated answer, or to nothing.

use std::ops::Range;
use std::sync::Arc;

use super::machine::{Context, FrontendStep, Portal, Session, class_that_matters, matters};
use super::outbox::Outbox;
use super::pins::LARGE_STATEMENT;
use super::pipeline::{Answer, Entry, Internal, Renamed, Request};
use super::server::{Presence, ServerState};
use super::statements::{Named, SERVER_NAME_PREFIX, Statement};
use crate::pg::SqlState;
use crate::sql::{Classified, NeedsPrimary, Prepared, SessionState, SettingChange};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::PgError;
use crate::wire::frame::{HEAD, Head, Malformed};
use crate::wire::frontend::{self, Target as About, tag};
use crate::wire::write;

/// Messages up to this size are looked at whole; larger ones pass through as they arrive.
pub const WHOLE_MESSAGE: usize = 1024 * 1024;

/// Of a larger Bind this much must be there, so that its two names are.
const LARGE_BIND_PREFIX: usize = 16 * 1024;

/// One message of the client and where it goes.
struct Turn<'a, 'c> {
    input: &'a [u8],
    /// Place of the message (or of the part that is there) in `input`.
    place: Range<usize>,
    head: Head,
    server: &'a mut ServerState,
    context: &'a mut Context<'c>,
    to_server: &'a mut Outbox,
}

impl<'a> Turn<'a, '_> {
    fn body(&self) -> &'a [u8] {
        &self.input[self.place.start + HEAD..self.place.end]
    }

    fn is_whole(&self) -> bool {
        self.place.len() == self.head.total
    }

    fn out(&mut self) -> &mut Vec<u8> {
        self.to_server.write(self.input)
    }
}

impl Session {
    /// Looks at the client's bytes from the start of `input`; returns how many were dealt with, and what to do.
    ///
    /// `server` is the state of the attached server. What is put into `to_server` may refer to `input`.
    pub fn frontend(
        &mut self,
        input: &[u8],
        mut server: Option<&mut ServerState>,
        context: &mut Context<'_>,
        to_server: &mut Outbox,
        to_client: &mut Outbox,
    ) -> (usize, FrontendStep) {
        let mut at = 0;
        loop {
            if self.passing > 0 {
                let end = (at + self.passing).min(input.len());
                if !self.discarding {
                    to_server.pass(input, at..end);
                }
                self.passing -= end - at;
                at = end;
                if self.passing > 0 {
                    return (at, FrontendStep::NeedInput);
                }
            }
            if self.busy {
                return (at, FrontendStep::Busy);
            }
            let (head, end) = match next_message(input, at) {
                Ok(Some(found)) => found,
                Ok(None) => return (at, FrontendStep::NeedInput),
                Err(error) => return (at, FrontendStep::Violation(violation(error))),
            };
            if self.answer_alone(head, server.is_some(), to_client) {
                self.discarding = true;
                self.passing = head.total - (end - at);
                at = end;
                continue;
            }
            if head.tag == tag::TERMINATE {
                return (at, FrontendStep::Terminate);
            }
            let Some(server) = server.as_deref_mut() else {
                return match self.route(&input[at..], context) {
                    Ok(Some(need)) => (at, FrontendStep::NeedServer(need)),
                    Ok(None) => (at, FrontendStep::NeedInput),
                    Err(error) => (at, FrontendStep::Violation(violation(error))),
                };
            };
            let mut turn = Turn { input, place: at..end, head, server, context, to_server };
            if let Err(error) = self.message(&mut turn, to_client) {
                return (at, FrontendStep::Violation(violation(error)));
            }
            self.discarding = false;
            self.passing = head.total - (end - at);
            at = end;
        }
    }

    /// Deals with a message that no server needs to see. `attached` tells whether there is one.
    fn answer_alone(&mut self, head: Head, attached: bool, to_client: &mut Outbox) -> bool {
        let sync = head.tag == tag::SYNC;
        if self.skipping && head.tag != tag::TERMINATE && !(sync && attached) {
            // The server would ignore it, or it failed with the server that is gone.
            if sync {
                self.skipping = false;
                write::ready_for_query(to_client.write(&[]), self.status.byte());
            }
            return true;
        }
        match head.tag {
            tag::SYNC if !attached => {
                write::ready_for_query(to_client.write(&[]), b'I');
                true
            }
            tag::FLUSH if !attached => true,
            // Left over from a COPY that failed ("accept but ignore these messages", PostgresMain()).
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => !attached || !self.pipeline.may_copy(),
            _ => false,
        }
    }

    fn message(&mut self, turn: &mut Turn<'_, '_>, to_client: &mut Outbox) -> Result<(), Malformed> {
        if self.pipeline.is_empty() && !self.group_open {
            if self.status == TransactionStatus::Idle {
                self.replay.begin();
            } else {
                self.replay.stop();
            }
        }
        self.replay.record(&turn.input[turn.place.clone()]);
        let extended = !matches!(turn.head.tag, tag::QUERY | tag::FUNCTION_CALL | tag::SYNC | tag::FLUSH);
        match turn.head.tag {
            tag::QUERY => return self.query(turn),
            tag::PARSE => self.parse(turn)?,
            tag::BIND => self.bind(turn)?,
            tag::DESCRIBE => self.describe(turn)?,
            tag::EXECUTE => self.execute(turn)?,
            tag::CLOSE => self.close(turn)?,
            tag::SYNC => {
                self.skipping = false;
                self.send(turn, Entry::forward(Request::Sync, self.copies_ended));
            }
            tag::FLUSH => {
                self.flush = true;
                turn.to_server.pass(turn.input, turn.place.clone());
            }
            tag::FUNCTION_CALL => {
                self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
                self.send(turn, Entry::forward(Request::FunctionCall, self.copies_ended));
            }
            other => {
                if other != tag::COPY_DATA {
                    self.copies_ended = self.copies_ended.wrapping_add(1);
                }
                self.replay.stop();
                turn.to_server.pass(turn.input, turn.place.clone());
                return Ok(());
            }
        }
        self.group_open |= extended;
        self.give_fabricated(to_client, &[]);
        Ok(())
    }

    /// Sends the message as it is.
    fn send(&mut self, turn: &mut Turn<'_, '_>, entry: Entry) {
        turn.to_server.pass(turn.input, turn.place.clone());
        self.pipeline.push(entry);
    }

    fn forward(&mut self, turn: &mut Turn<'_, '_>, request: Request) {
        self.send(turn, Entry::forward(request, self.copies_ended));
    }

    /// Sends something the server must refuse, in place of the message, and answers with `error`.
    fn refuse(&mut self, turn: &mut Turn<'_, '_>, error: PgError) {
        // A syntax error: refused in any state of the transaction, and it fails a transaction as `error` would.
        write::parse(turn.out(), b"", b"!", b"");
        turn.server.unnamed = None;
        let answer = Answer::Refuse(Box::new(error));
        self.pipeline.push(Entry { answer, ..Entry::forward(Request::Parse, self.copies_ended) });
    }

    pub(super) fn classify(&self, text: &[u8], context: &mut Context<'_>) -> Arc<Classified> {
        if !self.reading.utf8 && !text.is_ascii() {
            return Arc::new(unparsed());
        }
        context.classifier.classify(text, self.reading.standard_conforming_strings)
    }

    fn query(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let class = if turn.is_whole() {
            let text = frontend::query(turn.body())?;
            let class = self.classify(text, turn.context);
            matters(&class).then_some(class)
        } else {
            // Too long to be read: it may have changed any setting.
            self.pinned = self.pinned.union(SessionState::UNTRACKED_SETTING);
            Some(Arc::new(unparsed()))
        };
        // "A simple Query message also destroys the unnamed statement" (protocol-flow).
        self.statements.clear_unnamed();
        turn.server.unnamed = None;
        let lent = class.as_deref().and_then(lent_name).filter(|name| self.statements.get(name).is_some());
        let lent: Option<Box<[u8]>> = lent.map(Into::into);
        if let Some(name) = &lent {
            self.lend(name, turn);
            write::sync(turn.out());
            self.pipeline.push(Entry::internal(Request::Sync, Internal::Helper));
        }
        self.send(turn, Entry { class, ..Entry::forward(Request::Query, self.copies_ended) });
        if let Some(name) = lent {
            write::close_statement(turn.out(), &name);
            write::sync(turn.out());
            self.pipeline.push(Entry::internal(Request::Close, Internal::Helper));
            self.pipeline.push(Entry::internal(Request::Sync, Internal::Helper));
        }
        Ok(())
    }

    /// Prepares a statement under the client's own name, for SQL that speaks of it by that name.
    fn lend(&mut self, name: &[u8], turn: &mut Turn<'_, '_>) {
        let Some(named) = self.statements.get(name) else { return };
        let statement = named.statement.clone();
        write::parse(turn.out(), name, &statement.text, &statement.types);
        self.pipeline.push(Entry::internal(Request::Parse, Internal::Helper));
    }

    fn parse(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        if !turn.is_whole() {
            return self.large_parse(turn);
        }
        let parse = frontend::parse(turn.body())?;
        let taken = !parse.name.is_empty() && self.statements.get(parse.name).is_some();
        if taken {
            let name = String::from_utf8_lossy(parse.name);
            let message = format!("prepared statement \"{name}\" already exists");
            self.refuse(turn, PgError::error(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
            return Ok(());
        }
        if !parse.name.is_empty() && self.statements.is_full() {
            let error = PgError::error(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many prepared statements")
                .hint("Close statements that are no longer used.");
            self.refuse(turn, error);
            return Ok(());
        }
        let reading = self.reading;
        let Context { classifier, statements, schema_generation, .. } = &mut *turn.context;
        let environment =
            if self.local_settings { statements.unique_environment() } else { self.environment };
        let generation = *schema_generation;
        let statement = statements.intern(parse.text, parse.types, environment, || {
            if reading.utf8 || parse.text.is_ascii() {
                classifier.classify(parse.text, reading.standard_conforming_strings)
            } else {
                Arc::new(unparsed())
            }
        });
        let named = Named { statement: statement.clone(), generation };
        let before = self.statements.replace(parse.name, Some(named));
        let renamed = Some(Renamed { name: parse.name.into(), before });
        if parse.name.is_empty() {
            turn.server.unnamed = Some(statement);
            self.send(turn, Entry { renamed, ..Entry::forward(Request::Parse, self.copies_ended) });
            return Ok(());
        }
        self.parse_named(turn, statement, generation, renamed);
        Ok(())
    }

    /// Prepares a named statement on the server under its shared name, unless it is there.
    fn parse_named(
        &mut self,
        turn: &mut Turn<'_, '_>,
        statement: Arc<Statement>,
        generation: u64,
        renamed: Option<Renamed>,
    ) {
        if turn.server.prepared.touch(&statement, generation) == Presence::Current {
            let refused = self.status == TransactionStatus::Failed && !ends_transaction(&statement.class);
            if refused {
                // The server says so itself (25P02), whatever the name.
                write::parse(turn.out(), &statement.server_name, &statement.text, &statement.types);
                let entry = Entry { renamed, ..Entry::forward(Request::Parse, self.copies_ended) };
                self.pipeline.push(entry);
            } else {
                let entry = Entry::fabricate(Request::Parse, write::PARSE_COMPLETE);
                self.pipeline.push(Entry { renamed, ..entry });
            }
            return;
        }
        let entry = Entry { renamed, ..Entry::forward(Request::Parse, self.copies_ended) };
        self.prepare(turn, statement, generation, entry);
    }

    /// Writes a Parse of a shared statement, behind a Close of what it replaces or of what must make room.
    fn prepare(&mut self, turn: &mut Turn<'_, '_>, statement: Arc<Statement>, generation: u64, entry: Entry) {
        let outdated = turn.server.prepared.remove(statement.id);
        let closed = outdated.or_else(|| turn.server.prepared.make_room(turn.context.prepared_limit.max(1)));
        if let Some(closed) = closed {
            write::close_statement(turn.out(), &closed.server_name);
            let entry = Entry::internal(Request::Close, Internal::Helper);
            self.pipeline.push(Entry { prepares: Some(closed), ..entry });
        }
        write::parse(turn.out(), &statement.server_name, &statement.text, &statement.types);
        turn.server.prepared.insert(statement.clone(), generation);
        self.pipeline.push(Entry { prepares: Some(statement), ..entry });
    }

    /// Passes a Parse on that is too long to be kept: it exists under the client's name on this server only.
    fn large_parse(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        self.pinned = self.pinned.union(LARGE_STATEMENT);
        turn.server.unnamed = None;
        self.statements.clear_unnamed();
        self.replay.stop();
        self.forward(turn, Request::Parse);
        Ok(())
    }

    fn bind(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let bind = frontend::bind(turn.body())?;
        let Some(named) = self.statements.get(bind.statement) else {
            if bind.statement.starts_with(SERVER_NAME_PREFIX) {
                self.refuse(turn, unknown_statement(bind.statement));
                return Ok(());
            }
            // Prepared by SQL, or unknown: the server knows.
            self.portals.set(bind.portal, Some(Portal { class: Arc::new(unparsed()), bound: Vec::new() }));
            self.forward(turn, Request::Bind);
            return Ok(());
        };
        let (statement, generation) = (named.statement.clone(), named.generation);
        let portal = class_that_matters(&statement)
            .map(|class| Portal { bound: resolve_bound(&class, bind.rest), class });
        self.portals.set(bind.portal, portal);
        self.ensure_prepared(turn, bind.statement, &statement, generation);
        if bind.statement.is_empty() {
            self.forward(turn, Request::Bind);
            return Ok(());
        }
        let head = turn.head;
        let total = head.total - bind.statement.len() + statement.server_name.len();
        let rest = turn.place.end - bind.rest.len()..turn.place.end;
        let out = turn.out();
        out.push(head.tag);
        out.extend_from_slice(&u32::try_from(total - 1).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(bind.portal);
        out.push(0);
        out.extend_from_slice(&statement.server_name);
        out.push(0);
        turn.to_server.pass(turn.input, rest);
        self.pipeline.push(Entry::forward(Request::Bind, self.copies_ended));
        Ok(())
    }

    /// Puts a Parse in front of what needs `statement`, unless the server has it.
    fn ensure_prepared(
        &mut self,
        turn: &mut Turn<'_, '_>,
        name: &[u8],
        statement: &Arc<Statement>,
        generation: u64,
    ) {
        if name.is_empty() {
            if turn.server.unnamed.as_ref().is_none_or(|unnamed| unnamed.id != statement.id) {
                write::parse(turn.out(), b"", &statement.text, &statement.types);
                turn.server.unnamed = Some(statement.clone());
                self.pipeline.push(Entry::internal(Request::Parse, Internal::Helper));
            }
        } else if turn.server.prepared.touch(statement, generation) != Presence::Current {
            let entry = Entry::internal(Request::Parse, Internal::Helper);
            let generation = turn.context.schema_generation;
            self.prepare(turn, statement.clone(), generation, entry);
        }
    }

    fn describe(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let About::Statement(name) = frontend::target(turn.body())? else {
            self.forward(turn, Request::Describe);
            return Ok(());
        };
        let Some(named) = self.statements.get(name) else {
            if name.starts_with(SERVER_NAME_PREFIX) {
                self.refuse(turn, unknown_statement(name));
            } else {
                self.forward(turn, Request::Describe);
            }
            return Ok(());
        };
        let (statement, generation) = (named.statement.clone(), named.generation);
        self.ensure_prepared(turn, name, &statement, generation);
        if name.is_empty() {
            self.forward(turn, Request::Describe);
            return Ok(());
        }
        write::message(turn.out(), tag::DESCRIBE, |body| {
            body.push(b'S');
            body.extend_from_slice(&statement.server_name);
            body.push(0);
        });
        self.pipeline.push(Entry::forward(Request::Describe, self.copies_ended));
        Ok(())
    }

    fn execute(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let (portal, _) = frontend::execute(turn.body())?;
        let Some(portal) = self.portals.get(portal).cloned() else {
            self.forward(turn, Request::Execute);
            return Ok(());
        };
        let lent = lent_name(&portal.class).filter(|name| self.statements.get(name).is_some());
        let lent: Option<Box<[u8]>> = lent.map(Into::into);
        if let Some(name) = &lent {
            self.lend(name, turn);
        }
        let entry = Entry::forward(Request::Execute, self.copies_ended);
        self.send(turn, Entry { class: Some(portal.class), bound: portal.bound, ..entry });
        if let Some(name) = lent {
            write::close_statement(turn.out(), &name);
            self.pipeline.push(Entry::internal(Request::Close, Internal::Helper));
        }
        Ok(())
    }

    fn close(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        match frontend::target(turn.body())? {
            About::Statement(name) if !name.is_empty() && self.statements.get(name).is_some() => {
                // The server keeps it for others; the client only gives up its name for it.
                let before = self.statements.replace(name, None);
                let renamed = Some(Renamed { name: name.into(), before });
                let entry = Entry::fabricate(Request::Close, write::CLOSE_COMPLETE);
                self.pipeline.push(Entry { renamed, ..entry });
            }
            About::Statement(name) if name.starts_with(SERVER_NAME_PREFIX) => {
                self.pipeline.push(Entry::fabricate(Request::Close, write::CLOSE_COMPLETE));
            }
            About::Statement(name) => {
                if name.is_empty() {
                    self.statements.clear_unnamed();
                    turn.server.unnamed = None;
                }
                self.suspected = self.suspected.union(SessionState::SQL_PREPARED);
                self.forward(turn, Request::Close);
            }
            About::Portal(name) => {
                self.portals.set(name, None);
                self.forward(turn, Request::Close);
            }
        }
        Ok(())
    }

    /// Sends what needs no server once everything before it has been answered.
    pub(super) fn give_fabricated(&mut self, to_client: &mut Outbox, input: &[u8]) {
        while let Some(Answer::Fabricate(message)) = self.pipeline.head().map(|head| &head.answer) {
            let message = *message;
            self.replay.answered(to_client.len());
            to_client.write(input).extend_from_slice(message);
            self.pipeline.pop();
        }
    }
}

/// Finds the message at `at`: its head, and where its end is or, for a long one, as much as has arrived.
/// `None` when too little of it is there.
pub(super) fn next_message(input: &[u8], at: usize) -> Result<Option<(Head, usize)>, Malformed> {
    let available = &input[at..];
    let Some(head) = Head::read(available)? else { return Ok(None) };
    frontend::check(head)?;
    if available.len() >= head.total {
        return Ok(Some((head, at + head.total)));
    }
    let enough = match head.tag {
        tag::COPY_DATA => true,
        _ if head.total <= WHOLE_MESSAGE => false,
        tag::BIND => available.len() >= LARGE_BIND_PREFIX,
        _ => true,
    };
    Ok(enough.then_some((head, input.len())))
}

fn violation(error: Malformed) -> PgError {
    PgError::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string())
}

fn unknown_statement(name: &[u8]) -> PgError {
    let name = String::from_utf8_lossy(name);
    let message = format!("prepared statement \"{name}\" does not exist");
    PgError::error(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}

pub(super) fn unparsed() -> Classified {
    Classified { statements: Box::default(), plain_read: Err(NeedsPrimary::Unparsed), parsed: false }
}

/// Returns the name of a prepared statement that `class` speaks of in SQL.
fn lent_name(class: &Classified) -> Option<&[u8]> {
    class.statements.iter().find_map(|effects| match &effects.prepared {
        Some(Prepared::Execute(name) | Prepared::Deallocate(name) | Prepared::Prepare(name)) => {
            Some(name.as_bytes())
        }
        _ => None,
    })
}

/// Tells whether a failed transaction takes it (`IsTransactionExitStmt()`).
fn ends_transaction(class: &Classified) -> bool {
    use crate::sql::Transaction::{Commit, PrepareTransaction, Rollback, RollbackTo};
    let ends = |transaction: &_| {
        matches!(transaction, Commit { .. } | Rollback { .. } | RollbackTo(_) | PrepareTransaction)
    };
    matches!(&*class.statements, [only] if only.transaction.as_ref().is_some_and(ends))
}

/// Fills in the settings whose names or values are parameters of this Bind. What cannot be read is left as it is.
fn resolve_bound(class: &Classified, rest: &[u8]) -> Vec<SettingChange> {
    let resolve = |part: &Result<Box<str>, u16>| match part {
        Ok(text) => Some(text.clone()),
        Err(index) => {
            let value = frontend::text_parameter(rest, usize::from(*index))?;
            std::str::from_utf8(value).ok().map(Box::from)
        }
    };
    let changes = class.statements.iter().flat_map(|effects| &effects.settings);
    changes
        .filter_map(|change| match change {
            SettingChange::SetFromBind { name, value, local } => {
                let resolved = resolve(name).zip(resolve(value)).map(|(name, value)| SettingChange::Set {
                    name: name.to_ascii_lowercase().into(),
                    value,
                    local: *local,
                });
                Some(resolved.unwrap_or_else(|| change.clone()))
            }
            _ => None,
        })
        .collect()
}
