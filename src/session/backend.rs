//! What the server answers: each message matched against the queue of requests.

use super::frontend::WHOLE_MESSAGE;
use super::machine::{Answering, BackendStep, PoolMode, Session};
use super::outbox::Outbox;
use super::parameters;
use super::pins;
use super::pipeline::{Answer, Entry, Internal, Request};
use super::reported::concerns_client;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::sql::SessionState;
use crate::wire::backend::{self, TransactionStatus, tag};
use crate::wire::error_response::{ErrorFields, PgError};
use crate::wire::frame::{HEAD, Head};

/// Tells what a server may not do.
fn violation(what: &str) -> BackendStep {
    let error =
        PgError::error(SqlState::PROTOCOL_VIOLATION, format!("the server broke the protocol: {what}"));
    BackendStep::Lost(Some(error))
}

impl Session {
    /// Looks at the server's bytes from the start of `input`; returns how many were dealt with, and what to do.
    ///
    /// What is put into `to_client` may refer to `input`; what is put into `to_server` does not.
    pub fn backend(
        &mut self,
        input: &[u8],
        server: &mut ServerState,
        to_client: &mut Outbox,
        to_server: &mut Outbox,
    ) -> (usize, BackendStep) {
        let mut at = 0;
        loop {
            if self.answering.bytes > 0 {
                let end = (at + self.answering.bytes).min(input.len());
                if self.answering.to_client {
                    to_client.pass(input, at..end);
                }
                self.answering.bytes -= end - at;
                at = end;
            }
            let head = match Head::read(&input[at..]) {
                Ok(Some(head)) => head,
                Ok(None) => return (at, BackendStep::NeedInput),
                Err(error) => return (at, violation(&error.to_string())),
            };
            let available = input.len() - at;
            if available < head.total && !self.streams(head, available) {
                return (at, BackendStep::NeedInput);
            }
            let end = at + head.total.min(available);
            let step = self.answer(head, input, at..end, server, to_client);
            let to_client = self.answering.to_client;
            self.answering = Answering { bytes: head.total - (end - at), to_client };
            at = end;
            let step = match step {
                Ok(true) => self.at_rest(server, to_server),
                Ok(false) => None,
                Err(step) => Some(step),
            };
            if let Some(step) = step {
                return (at, step);
            }
        }
    }

    /// Tells whether a message of which `available` bytes are there can be dealt with before the rest arrives.
    fn streams(&mut self, head: Head, available: usize) -> bool {
        match head.tag {
            tag::DATA_ROW if self.probing() && head.total <= WHOLE_MESSAGE => false,
            tag::DATA_ROW | tag::COPY_DATA => available > HEAD,
            _ => head.total > WHOLE_MESSAGE && available >= LARGE_PREFIX,
        }
    }

    /// Deals with one message; `Ok(true)` after a ReadyForQuery.
    fn answer(
        &mut self,
        head: Head,
        input: &[u8],
        place: std::ops::Range<usize>,
        server: &mut ServerState,
        to_client: &mut Outbox,
    ) -> Result<bool, BackendStep> {
        let body = &input[place.start + HEAD..place.end];
        let mut forward = self.pipeline.head().is_some_and(|head| matches!(head.answer, Answer::Forward));
        match head.tag {
            tag::DATA_ROW if self.probing() => self.read_probe(body)?,
            tag::DATA_ROW | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_OUT_RESPONSE => {
                self.expect(RESULT)?
            }
            tag::COPY_IN_RESPONSE => {
                self.expect(RESULT)?;
                self.replay.stop();
                self.pipeline.drop_syncs_in_copy();
            }
            tag::COMMAND_COMPLETE => self.complete(Some(body), server)?,
            tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => self.complete(None, server)?,
            tag::PARSE_COMPLETE => drop(self.pop(Request::Parse)?),
            tag::BIND_COMPLETE => drop(self.pop(Request::Bind)?),
            tag::CLOSE_COMPLETE => drop(self.pop(Request::Close)?),
            tag::PARAMETER_DESCRIPTION => self.expect(&[Request::Describe])?,
            tag::ROW_DESCRIPTION | tag::NO_DATA => self.described()?,
            tag::FUNCTION_CALL_RESPONSE => self.expect(&[Request::FunctionCall])?,
            tag::NOTICE_RESPONSE => forward |= self.pipeline.is_empty(),
            tag::NOTIFICATION_RESPONSE => forward = true,
            tag::PARAMETER_STATUS => forward = self.parameter_status(body, server)?,
            tag::ERROR_RESPONSE => forward = self.error(body, head, input, server, to_client)?,
            tag::READY_FOR_QUERY => {
                let rest = self.ready(body, server)?;
                self.pass(forward, input, place, to_client);
                self.give_fabricated(to_client, input);
                return Ok(rest);
            }
            _ => return Err(violation(&format!("unexpected message type 0x{:02X}", head.tag))),
        }
        self.pass(forward, input, place, to_client);
        self.give_fabricated(to_client, input);
        Ok(false)
    }

    fn pass(&mut self, forward: bool, input: &[u8], place: std::ops::Range<usize>, to_client: &mut Outbox) {
        self.answering.to_client = forward;
        if forward {
            self.replay.answered(to_client.len());
            to_client.pass(input, place);
        }
    }

    fn expect(&mut self, requests: &[Request]) -> Result<(), BackendStep> {
        match self.pipeline.head() {
            Some(head) if requests.contains(&head.request) => Ok(()),
            Some(head) => Err(violation(&format!("an answer that does not fit {:?}", head.request))),
            None => Err(violation("an answer to nothing")),
        }
    }

    fn pop(&mut self, request: Request) -> Result<Entry, BackendStep> {
        self.expect(&[request])?;
        self.pipeline.pop().ok_or_else(|| violation("an answer to nothing"))
    }

    fn described(&mut self) -> Result<(), BackendStep> {
        self.expect(&[Request::Describe, Request::Query, Request::Execute])?;
        if self.pipeline.head().is_some_and(|head| head.request == Request::Describe) {
            self.pipeline.pop();
        }
        Ok(())
    }

    fn probing(&mut self) -> bool {
        self.pipeline.head().is_some_and(|head| head.internal == Some(Internal::Probe))
    }

    fn read_probe(&mut self, row: &[u8]) -> Result<(), BackendStep> {
        let found = pins::read_probe(row).map_err(|error| violation(&error.to_string()))?;
        self.pinned = self.pinned.without(pins::ASKABLE).union(found);
        self.suspected = SessionState::NONE;
        Ok(())
    }

    /// CommandComplete (with its tag), or another end of a statement.
    fn complete(&mut self, tag: Option<&[u8]>, server: &mut ServerState) -> Result<(), BackendStep> {
        self.expect(RESULT)?;
        let tag = tag.map(backend::command_tag).transpose().map_err(|error| violation(&error.to_string()))?;
        let Some(head) = self.pipeline.head() else { return Ok(()) };
        let place = head.completed;
        head.completed += 1;
        let class = head.class.clone();
        let bound = std::mem::take(&mut head.bound);
        if head.request == Request::Execute {
            self.pipeline.pop();
        }
        if let (Some(class), Some(tag)) = (class, tag) {
            self.follow(&class, place, &bound, tag, server);
        }
        Ok(())
    }

    /// ParameterStatus; returns whether the client is told.
    fn parameter_status(&mut self, body: &[u8], server: &mut ServerState) -> Result<bool, BackendStep> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (name, value) = backend::parameter_status(body).map_err(|error| violation(&error.to_string()))?;
        let (Some(name), Some(value)) = (text(name), text(value)) else { return Ok(false) };
        server.reported.set(name, value);
        let syncing = self.pipeline.head().is_some_and(|head| head.internal == Some(Internal::Settings));
        if syncing || !concerns_client(name) || !self.told.set(name, value) {
            return Ok(false);
        }
        self.settings_changed();
        Ok(true)
    }

    /// ErrorResponse; returns whether the client gets it as it is.
    fn error(
        &mut self,
        body: &[u8],
        message: Head,
        input: &[u8],
        server: &mut ServerState,
        to_client: &mut Outbox,
    ) -> Result<bool, BackendStep> {
        let fields = ErrorFields::read(body);
        if fields.is_fatal() || message.total > WHOLE_MESSAGE {
            return Err(BackendStep::Lost(Some(fields.to_error())));
        }
        let Some(head) = self.pipeline.head() else {
            // Not the answer to anything: the server is in trouble.
            return Err(BackendStep::Lost(Some(fields.to_error())));
        };
        let (request, internal) = (head.request, head.internal);
        let refused = std::mem::replace(&mut head.answer, Answer::Swallow);
        match internal {
            Some(Internal::Settings | Internal::Reapply) => return Err(cannot_apply(&fields)),
            Some(Internal::Probe) => {
                // Not known, so everything is taken to be there until a statement may have cleared it.
                self.pinned = self.pinned.union(pins::ASKABLE);
                self.suspected = SessionState::NONE;
                return Ok(false);
            }
            _ => self.failed = true,
        }
        if self.replays(&fields, server, to_client, input) {
            return Ok(false);
        }
        let mut tell = internal.is_none();
        if request.is_extended() {
            self.undo_failed(server);
            self.group_open = true;
            let owner = self.pipeline.head().map(|head| head.internal);
            self.skipping = owner.is_none();
            // A helper of ours in front of the client's request fails in its place.
            tell |= owner != Some(Some(Internal::Helper));
        } else if let Some(head) = self.pipeline.head() {
            head.answer = if tell { Answer::Forward } else { Answer::Swallow };
        }
        match refused {
            Answer::Refuse(error) if fields.code == Some(SqlState::SYNTAX_ERROR) => {
                self.replay.answered(to_client.len());
                error.write(to_client.write(input));
                Ok(false)
            }
            _ => Ok(tell),
        }
    }

    /// Forgets the request that failed and those the server skips with it, last one first.
    fn undo_failed(&mut self, server: &mut ServerState) {
        let mut skipped = self.pipeline.skip_to_sync().peekable();
        while let Some(entry) = skipped.next() {
            let failed = skipped.peek().is_none();
            match (entry.request, entry.prepares) {
                (Request::Parse, Some(statement)) => drop(server.prepared.remove(statement.id)),
                // It was not closed after all, and is older than what it was to be replaced by.
                (Request::Close, Some(statement)) => server.prepared.insert(statement, 0),
                (Request::Parse, None) => server.unnamed = None,
                _ => {}
            }
            if let Some(renamed) = entry.renamed {
                // A Parse of the unnamed statement drops the old one even when it fails.
                let gone = failed && renamed.name.is_empty();
                self.statements.replace(&renamed.name, renamed.before.filter(|_| !gone));
            }
        }
    }

    /// Tells whether the requests are to be run again because the server's plan was out of date (rule 4d.8).
    fn replays(
        &mut self,
        fields: &ErrorFields<'_>,
        server: &mut ServerState,
        to_client: &mut Outbox,
        input: &[u8],
    ) -> bool {
        // "cached plan must not change result type", raised in RevalidateCachedQuery().
        if fields.code != Some(SqlState::FEATURE_NOT_SUPPORTED) || fields.routine != b"RevalidateCachedQuery"
        {
            return false;
        }
        // Whatever becomes of this request, no later one should meet the outdated plan.
        server.prepared.outdate();
        server.unnamed = None;
        let whole = self.status == TransactionStatus::Idle && self.pipeline.ends_with_its_only_sync();
        let mark = if whole { self.replay.rewind_to(to_client.len()) } else { None };
        let Some(mark) = mark else { return false };
        to_client.rewind(input, mark);
        self.undo_failed(server);
        if let Some(sync) = self.pipeline.head() {
            sync.answer = Answer::Swallow;
            sync.internal = Some(Internal::Replay);
        }
        true
    }

    /// ReadyForQuery; returns whether the session may be at rest now, which it is not before its first request.
    fn ready(&mut self, body: &[u8], server: &mut ServerState) -> Result<bool, BackendStep> {
        self.expect(&[Request::Query, Request::FunctionCall, Request::Sync])?;
        self.status = TransactionStatus::read(body).map_err(|error| violation(&error.to_string()))?;
        let Some(entry) = self.pipeline.pop() else { return Ok(true) };
        self.group_open = self.pipeline.holds_group();
        if self.status == TransactionStatus::Idle {
            self.portals.clear();
            self.transaction_ended(!self.failed);
        }
        match entry.internal {
            Some(Internal::Settings) => {
                server.applied = self.parameters.current().clone();
                self.busy = false;
                return Ok(false);
            }
            Some(Internal::Reapply | Internal::Probe) => self.busy = false,
            Some(Internal::Helper) => self.busy = self.busy && !self.pipeline.is_empty(),
            Some(Internal::Replay) => return Err(BackendStep::Replay),
            None => {}
        }
        Ok(true)
    }

    /// After a ReadyForQuery with nothing outstanding: what we have to do ourselves, or the end of the checkout.
    fn at_rest(&mut self, server: &ServerState, to_server: &mut Outbox) -> Option<BackendStep> {
        if !self.pipeline.is_empty() || self.group_open || self.passing > 0 {
            return None;
        }
        if std::mem::take(&mut self.reapply) && self.status != TransactionStatus::Failed {
            let sql = parameters::reapply_sql(self.parameters.current(), self.parameters.startup());
            if let Some(sql) = sql {
                self.ask(Internal::Reapply, &sql, to_server);
                return None;
            }
        }
        if self.status != TransactionStatus::Idle || self.mode == PoolMode::Session {
            return None;
        }
        if !self.suspected.is_empty() {
            if server.reported("in_hot_standby") == Some("on") {
                self.suspected = SessionState::NONE;
            } else {
                self.ask(Internal::Probe, pins::PROBE, to_server);
                return None;
            }
        }
        self.is_free().then_some(BackendStep::Release)
    }
}

/// Of a message too large to be kept this much must be there: what decides of an error stands at its start.
const LARGE_PREFIX: usize = 1024;

const RESULT: &[Request] = &[Request::Query, Request::Execute];

/// The session's settings cannot be brought to another server, so it cannot go on.
fn cannot_apply(fields: &ErrorFields<'_>) -> BackendStep {
    let error = fields.to_error();
    BackendStep::Fatal(PgError {
        severity: crate::wire::error_response::Severity::Fatal,
        hint: error
            .hint
            .or_else(|| Some("A setting of this session cannot be applied to its server.".into())),
        ..error
    })
}
