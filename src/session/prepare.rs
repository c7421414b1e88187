//! Prepared statements on their way to a server: Parse, Bind, Describe, Close.

use std::sync::Arc;

use super::frontend::{Turn, unparsed};
use super::machine::{Context, PoolMode, Session, class_that_matters};
use super::pins::LARGE_STATEMENT;
use super::pipeline::{Answer, Described, Entry, Internal, Renamed, Request};
use super::portals::Portal;
use super::server::Presence;
use super::shapes::outdated_plan;
use super::statements::{Named, SERVER_NAME_PREFIX, Statement};
use super::substitute;
use crate::pg::SqlState;
use crate::sql::{Classified, OWN_PREFIX, SessionState, SettingChange};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::PgError;
use crate::wire::frame::{Head, Malformed};
use crate::wire::frontend::{self, Parse, Target as About, tag};
use crate::wire::write;

impl Session {
    pub(super) fn parse(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        if !turn.is_whole() {
            return self.large_parse(turn);
        }
        let parse = frontend::parse(turn.body())?;
        if self.reading.utf8 && str::from_utf8(parse.name).is_err() {
            // A name that no server would take.
            return Err(Malformed::String);
        }
        if let Some(error) = self.refusal(parse.name) {
            self.refuse_name(turn, parse, error);
            return Ok(());
        }
        let (statement, generation) = self.intern(turn.context, parse);
        self.count_hint(&statement.class);
        let named = Named::new(statement.clone(), generation, self.round);
        let before = self.statements.replace(parse.name, Some(named));
        let renamed = Some(Renamed { name: parse.name.into(), before });
        if parse.name.is_empty() {
            let entry = Entry { renamed, ..Entry::forward(Request::Parse, self.copies_ended) };
            if statement.class.has_own() {
                write::parse(turn.out(), b"", statement.sent(), &statement.types);
                self.pipeline.push(entry);
            } else {
                self.send(turn, entry);
            }
            self.unnamed_sent(turn, statement);
            return Ok(());
        }
        let present = turn.server.prepared.touch(&statement, generation, self.round) == Presence::Current;
        if present && !self.may_be_failed() {
            let entry = Entry::fabricate(Request::Parse);
            self.pipeline.push(Entry { renamed, ..entry });
            return Ok(());
        }
        // In a failed transaction the server says so itself (25P02). It is asked anew even if it has the statement.
        let entry = Entry { renamed, ..Entry::forward(Request::Parse, self.copies_ended) };
        self.prepare(turn, statement, generation, entry);
        Ok(())
    }

    /// Returns why the client cannot have a statement of this name.
    pub(super) fn refusal(&self, name: &[u8]) -> Option<PgError> {
        if name.is_empty() {
            None
        } else if self.statements.is_taken(name) {
            let name = String::from_utf8_lossy(name);
            let message = format!("prepared statement \"{name}\" already exists");
            Some(PgError::error(SqlState::DUPLICATE_PREPARED_STATEMENT, message))
        } else if self.statements.is_full() {
            let error = PgError::error(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many prepared statements");
            Some(error.hint("Close statements that are no longer used."))
        } else {
            None
        }
    }

    /// Finds the shared statement of a Parse, and the schema generation it must be parsed at.
    pub(super) fn intern(&self, context: &mut Context<'_>, parse: Parse<'_>) -> (Arc<Statement>, u64) {
        let reading = self.reading;
        let Context { classifier, statements, schema_generation, .. } = context;
        let environment = if self.unsettled { statements.unique_environment() } else { self.environment() };
        let mut statement = statements.intern(parse.text, parse.types, environment, || {
            if reading.utf8 || parse.text.is_ascii() {
                classifier.classify(parse.text, reading.standard_conforming_strings)
            } else {
                Arc::new(unparsed())
            }
        });
        if statement.class.statements.iter().any(|effects| effects.of_session) {
            // What it returns is looked up when it is parsed.
            let own = statements.unique_environment();
            statement = statements.intern(parse.text, parse.types, own, || statement.class.clone());
        }
        (statement, *schema_generation)
    }

    /// Tells whether the transaction may have failed by the time the server comes to the next request, so that it would
    /// refuse what we could answer ourselves.
    fn may_be_failed(&self) -> bool {
        self.status == TransactionStatus::Failed
            || (self.rounds_open()
                && (self.status == TransactionStatus::InTransaction
                    || self.may_have_begun
                    || self.pipeline.may_begin()))
    }

    /// Sends something the server must refuse, in place of the message, and answers with `error`.
    fn refuse(&mut self, turn: &mut Turn<'_, '_>, error: PgError) {
        // A syntax error: refused in any state of the transaction, and it fails a transaction as `error` would.
        write::parse(turn.out(), b"", b"!", b"");
        turn.server.unnamed = None;
        let answer = Answer::Refuse(Box::new(error));
        self.pipeline.push(Entry { answer, ..Entry::forward(Request::Parse, self.copies_ended) });
    }

    /// Refuses a Parse for its name. The server looks at everything else first, as it would have done.
    fn refuse_name(&mut self, turn: &mut Turn<'_, '_>, parse: Parse<'_>, error: PgError) {
        write::parse(turn.out(), b"", parse.text, parse.types);
        self.pipeline.push(Entry::internal(Request::Parse, Internal::Helper));
        self.refuse(turn, error);
    }

    /// Writes a Parse of a shared statement, behind a Close of what it replaces or of what must make room.
    fn prepare(&mut self, turn: &mut Turn<'_, '_>, statement: Arc<Statement>, generation: u64, entry: Entry) {
        let outdated = turn.server.prepared.remove(statement.id);
        let room = turn.server.prepared.make_room(turn.context.prepared_limit.max(1));
        // What an earlier group closes is still there if that group fails.
        let doubtful = self.rounds_open().then(|| statement.clone());
        for closed in room.into_iter().chain(outdated.or(doubtful)) {
            write::close_statement(turn.out(), &closed.server_name);
            let entry = Entry::internal(Request::Close, Internal::Helper);
            let prepares = Some(turn.server.prepared.send(closed));
            self.pipeline.push(Entry { prepares, ..entry });
        }
        write::parse(turn.out(), &statement.server_name, statement.sent(), &statement.types);
        let prepares = Some(turn.server.prepared.insert(statement, generation, self.round));
        self.pipeline.push(Entry { prepares, ..entry });
    }

    /// Passes a Parse on that is too long to be kept: it exists under the client's name on this server only.
    fn large_parse(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        self.pinned = self.pinned.union(LARGE_STATEMENT);
        turn.server.unnamed = None;
        self.statements.replace(b"", None);
        self.replay.stop();
        self.forward(turn, Request::Parse);
        Ok(())
    }

    pub(super) fn bind(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let bind = frontend::bind(turn.body())?;
        let Some(named) = self.statements.get(bind.statement) else {
            if !self.refuse_unknown(turn, bind.statement) {
                // Prepared by SQL, too long to be kept, or unknown: the server knows.
                let class = Arc::new(unparsed());
                self.portals
                    .set(bind.portal, Some(Portal { class, bound: Box::default(), round: self.round }));
                self.forward(turn, Request::Bind);
            }
            return Ok(());
        };
        let (statement, generation) = (named.statement.clone(), named.generation);
        if self.shape_differs(turn, named) {
            self.refuse(turn, outdated_plan());
            return Ok(());
        }
        if let Some(error) = sets_own_by_name(&statement.class, bind.rest) {
            self.refuse(turn, error);
            return Ok(());
        }
        let (was_told, round) = (named.told.is_some(), self.round);
        if let Some(error) =
            self.allows_writes(&statement.class).or_else(|| self.unfit(&statement.class, turn))
        {
            self.refuse(turn, error);
            return Ok(());
        }
        self.relies_on_shape |= was_told;
        let portal = class_that_matters(&statement).map(|class| Portal {
            bound: resolve_bound(&class, bind.rest),
            class,
            round,
        });
        self.portals.set(bind.portal, portal);
        self.portals.bound(bind.portal, bind.statement, statement.id, round);
        self.lend_to_group(&statement.class, turn);
        self.before_sequences(&statement.class, turn, true);
        self.ensure_prepared(turn, bind.statement, &statement, generation);
        let entry =
            Entry { shape: statement.class.shape(), ..Entry::forward(Request::Bind, self.copies_ended) };
        if bind.statement.is_empty() {
            self.send(turn, entry);
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
        self.pipeline.push(entry);
        Ok(())
    }

    /// Refuses a name that is not the client's, if the server might know it as another's; tells whether it did.
    fn refuse_unknown(&mut self, turn: &mut Turn<'_, '_>, name: &[u8]) -> bool {
        let message = if name.is_empty() {
            if self.pinned.intersects(LARGE_STATEMENT) {
                return false;
            }
            "unnamed prepared statement does not exist".into()
        } else if name.starts_with(SERVER_NAME_PREFIX) {
            format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name))
        } else {
            return false;
        };
        self.refuse(turn, PgError::error(SqlState::INVALID_SQL_STATEMENT_NAME, message));
        true
    }

    /// Puts a Parse in front of what needs `statement`, unless the server has it.
    pub(super) fn ensure_prepared(
        &mut self,
        turn: &mut Turn<'_, '_>,
        name: &[u8],
        statement: &Arc<Statement>,
        generation: u64,
    ) {
        if name.is_empty() {
            if self.unnamed_parsed(turn, statement).is_none_or(|parsed| parsed < generation) {
                write::parse(turn.out(), b"", statement.sent(), &statement.types);
                self.unnamed_sent(turn, statement.clone());
                self.pipeline.push(Entry::internal(Request::Parse, Internal::Helper));
            }
        } else if turn.server.prepared.touch(statement, generation, self.round) != Presence::Current {
            let entry = Entry::internal(Request::Parse, Internal::Helper);
            let generation = turn.context.schema_generation;
            self.prepare(turn, statement.clone(), generation, entry);
        }
    }

    /// Returns at which schema generation the server has parsed `statement` as its unnamed one; `None` if it is not that, or
    /// not whatever becomes of the groups that are not answered.
    pub(super) fn unnamed_parsed(&self, turn: &Turn<'_, '_>, statement: &Statement) -> Option<u64> {
        let (_, parsed) = turn.server.unnamed.as_ref().filter(|(known, _)| known.id == statement.id)?;
        (!self.is_unsettled(self.unnamed_round)).then_some(*parsed)
    }

    fn unnamed_sent(&mut self, turn: &mut Turn<'_, '_>, statement: Arc<Statement>) {
        turn.server.unnamed = Some((statement, turn.context.schema_generation));
        self.unnamed_round = self.round;
    }

    /// Tells whether the message is about a name that a group not yet answered gave its meaning: if that group fails,
    /// so must this.
    pub(super) fn names_unsettled(&self, kind: u8, body: &[u8]) -> bool {
        if !self.rounds_open() {
            return false;
        }
        let name = match kind {
            tag::PARSE => frontend::parse(body).ok().map(|parse| parse.name).filter(|name| !name.is_empty()),
            tag::BIND => frontend::bind(body).ok().map(|bind| bind.statement),
            tag::DESCRIBE | tag::CLOSE => match frontend::target(body) {
                Ok(About::Statement(name)) => Some(name),
                _ => None,
            },
            _ => None,
        };
        let Some(name) = name else { return false };
        let [before, last] = self.removed_rounds;
        let removed = if last < self.round { last } else { before };
        self.is_unsettled(self.statements.get(name).map_or(removed, |named| named.round))
    }

    /// Tells whether something sent in `round` depends on a group that is not answered and that has been ended.
    fn is_unsettled(&self, round: u64) -> bool {
        (self.answered..self.round).contains(&round)
    }

    pub(super) fn describe(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        let name = match frontend::target(turn.body())? {
            About::Statement(name) => name,
            About::Portal(portal) => {
                let class = self.portals.get(portal).map(|portal| portal.class.clone());
                let own = class.and_then(|class| self.own_portal(&class, turn));
                let describes = self.describes_statement(turn, portal);
                let entry = Entry::forward(Request::Describe, self.copies_ended);
                self.send(turn, Entry { own, describes, ..entry });
                return Ok(());
            }
        };
        let Some(named) = self.statements.get(name) else {
            if !self.refuse_unknown(turn, name) {
                self.forward(turn, Request::Describe);
            }
            return Ok(());
        };
        let (statement, generation) = (named.statement.clone(), named.generation);
        self.ensure_prepared(turn, name, &statement, generation);
        if name.is_empty() {
            let own = self.own_portal(&statement.class, turn);
            let described = Described { statement, copy: None, name: Some(Box::default()), rows: false };
            let describes = Some(Box::new(described));
            let entry = Entry::forward(Request::Describe, self.copies_ended);
            self.send(turn, Entry { own, describes, ..entry });
            return Ok(());
        }
        self.describe_named(turn, name, statement);
        Ok(())
    }

    /// Flush: the client waits for answers before it goes on.
    ///
    /// A group that has only prepared so far is ended here: nothing of it depends on what comes behind, so that may run
    /// elsewhere, and no server is held while the client thinks. Drivers that prepare in this way bind and execute in the
    /// second half, which is then decided as a whole. What comes next waits for the end, because all of it is skipped if
    /// a Parse fails.
    pub(super) fn flush(&mut self, turn: &mut Turn<'_, '_>) {
        self.flush = true;
        let free = self.status == TransactionStatus::Idle && self.pinned.is_empty();
        if !(free && self.group_open && self.only_prepares && self.mode == PoolMode::Transaction) {
            turn.to_server.pass(turn.input, turn.place.clone());
            return;
        }
        write::sync(turn.out());
        self.pipeline.push(Entry::internal(Request::Sync, Internal::Flush));
        self.busy = true;
    }

    /// Takes a name away from the client; returns what it takes to undo that, if there was anything.
    pub(super) fn remove_name(&mut self, name: &[u8]) -> Option<Renamed> {
        let before = self.statements.replace(name, None)?;
        if self.removed_rounds[1] != self.round {
            self.removed_rounds = [self.removed_rounds[1], self.round];
        }
        Some(Renamed { name: name.into(), before: Some(before) })
    }

    pub(super) fn close(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), Malformed> {
        match frontend::target(turn.body())? {
            About::Statement(b"") => {
                turn.server.unnamed = None;
                let renamed = self.remove_name(b"");
                self.send(turn, Entry { renamed, ..Entry::forward(Request::Close, self.copies_ended) });
            }
            About::Statement(name) if self.statements.get(name).is_some() => {
                // The server keeps it for others; the client only gives up its name for it.
                let renamed = self.remove_name(name);
                let entry = Entry::fabricate(Request::Close);
                self.pipeline.push(Entry { renamed, ..entry });
            }
            About::Statement(name) if name.starts_with(SERVER_NAME_PREFIX) => {
                self.pipeline.push(Entry::fabricate(Request::Close));
            }
            About::Statement(name) => {
                if self.pinned.intersects(SessionState::SQL_PREPARED) {
                    self.suspected = self.suspected.union(SessionState::SQL_PREPARED);
                }
                // The name is free once the server has closed it.
                let holds_back = self.statements.is_taken(name);
                let renamed = holds_back.then(|| Renamed { name: name.into(), before: None });
                let entry = Entry::forward(Request::Close, self.copies_ended);
                self.send(turn, Entry { renamed, holds_back, ..entry });
            }
            About::Portal(name) => {
                self.portals.set(name, None);
                self.forward(turn, Request::Close);
            }
        }
        Ok(())
    }
}

/// Tells whether a message does no more than prepare and describe statements.
pub(super) fn only_prepares(head: Head, body: &[u8]) -> bool {
    match head.tag {
        tag::PARSE | tag::FLUSH => true,
        tag::DESCRIBE | tag::CLOSE => matches!(frontend::target(body), Ok(About::Statement(_))),
        _ => false,
    }
}

/// Returns why a Bind that names one of the proxy's own settings is refused, if it does.
fn sets_own_by_name(class: &Classified, rest: &[u8]) -> Option<PgError> {
    let changes = class.statements.iter().flat_map(|effects| &effects.settings);
    changes.filter(|change| matches!(change, SettingChange::SetFromBind { name: Err(_), .. })).find_map(
        |change| {
            let SettingChange::SetFromBind { name: Err(index), .. } = change else { return None };
            let name = std::str::from_utf8(frontend::text_parameter(rest, usize::from(*index))?).ok()?;
            let name = name.to_ascii_lowercase();
            name.starts_with(OWN_PREFIX).then(|| substitute::unclear(&name))
        },
    )
}

/// Fills in the settings whose names or values are parameters of this Bind. What cannot be read is left as it is.
fn resolve_bound(class: &Classified, rest: &[u8]) -> Box<[SettingChange]> {
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
