//! What the server answers: each message matched against the queue of requests.

use super::frontend::WHOLE_MESSAGE;
use super::machine::{Answering, BackendStep, PoolMode, Session};
use super::outbox::Outbox;
use super::pins;
use super::pipeline::{Answer, Entry, Internal, Request};
use super::reported::concerns_client;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::sql::SessionState;
use crate::wire::backend::{self, TransactionStatus, tag};
use crate::wire::error_response::PgError;
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
    /// What is put into `to_client` may refer to `input`; what is put into `to_server` does not, and `to_server` must
    /// hold no range of the client's bytes.
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
            tag::DATA_ROW if (self.probing() || self.exchanges()) && head.total <= WHOLE_MESSAGE => false,
            tag::DATA_ROW | tag::COPY_DATA => available > HEAD,
            _ => head.total > WHOLE_MESSAGE && available >= LARGE_PREFIX,
        }
    }

    /// Deals with one message; `Ok(true)` after a ReadyForQuery with which the checkout may end.
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
        if self.exchanges() && forward && place.len() == head.total {
            forward = !self.exchange(head.tag, body, input, to_client);
        }
        forward &= !self.doubted || head.tag == tag::READY_FOR_QUERY;
        match head.tag {
            tag::DATA_ROW if self.probing() => self.read_probe(body)?,
            tag::DATA_ROW | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_OUT_RESPONSE => {
                self.expect(RESULT)?
            }
            tag::COPY_IN_RESPONSE => {
                self.expect(RESULT)?;
                self.copy_begins();
            }
            tag::COMMAND_COMPLETE => self.complete(Some(body), server)?,
            tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => self.complete(None, server)?,
            tag::PARSE_COMPLETE => {
                if let Some(sent) = self.pop(Request::Parse)?.prepares {
                    // In a transaction, or with a temporary table, it may be sound for this client alone.
                    let lasting = self.status == TransactionStatus::Idle && self.pinned.is_empty();
                    server.prepared.confirm(&sent, lasting);
                }
            }
            tag::BIND_COMPLETE => self.shape = self.pop(Request::Bind)?.shape,
            tag::CLOSE_COMPLETE => drop(self.pop(Request::Close)?),
            tag::PARAMETER_DESCRIPTION => {
                self.expect(&[Request::Describe])?;
                if place.len() == head.total {
                    self.learn_types(body, server).map_err(|error| violation(&error.to_string()))?;
                }
            }
            tag::ROW_DESCRIPTION | tag::NO_DATA => {
                let whole = place.len() == head.total;
                self.described(whole.then_some(body), server)?;
            }
            tag::FUNCTION_CALL_RESPONSE => {
                self.expect(&[Request::FunctionCall])?;
                self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
            }
            tag::NOTICE_RESPONSE if self.gave_up_waiting(body) => {
                forward = false;
                self.doubt_commit(to_client, input);
            }
            tag::NOTICE_RESPONSE => {
                // One about what runs is given again when that is run again.
                let apart = self.pipeline.is_empty();
                self.keep_answers(apart);
                forward |= apart;
            }
            tag::NOTIFICATION_RESPONSE => {
                forward = true;
                self.keep_answers(forward);
            }
            tag::PARAMETER_STATUS => {
                forward = self.parameter_status(body, server)?;
                self.keep_answers(forward);
            }
            tag::ERROR_RESPONSE => forward = self.error(body, head, input, server, to_client)?,
            tag::READY_FOR_QUERY => {
                forward |= self.pays_ready();
                let rest = self.ready(body, server)?;
                forward &= !(forward && rest && self.keeps_ready_back());
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
            self.only_fabricated = false;
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
        self.pop_answered().ok_or_else(|| violation("an answer to nothing"))
    }

    /// RowDescription (its body, unless that is too long), or NoData.
    fn described(&mut self, body: Option<&[u8]>, server: &mut ServerState) -> Result<(), BackendStep> {
        self.expect(&[Request::Describe, Request::Query, Request::Execute])?;
        if self.pipeline.head().is_some_and(|head| head.request == Request::Describe)
            && let Some(described) = self.pop_answered().and_then(|entry| entry.describes)
        {
            self.learn_shape(*described, body, server);
        }
        Ok(())
    }

    /// The server awaits the data of a COPY.
    fn copy_begins(&mut self) {
        self.replay.stop();
        self.flush = true;
        self.answered += self.pipeline.drop_syncs_in_copy() as u64;
        let ended = self.copies_ended;
        if let Some(head) = self.pipeline.head() {
            self.copying.begun = head.copies_ended == ended;
            // Another COPY of the same Query ends with the client's next CopyDone.
            head.copies_ended = head.copies_ended.wrapping_add(1);
        }
    }

    /// What is told besides the answers is told once, so they cannot be taken back any more.
    fn keep_answers(&mut self, forward: bool) {
        if forward {
            self.replay.stop();
        }
    }

    /// Tells whether what is being answered is the proxy's own.
    fn exchanges(&mut self) -> bool {
        self.pipeline.head().is_some_and(|head| head.own.is_some())
    }

    fn probing(&mut self) -> bool {
        self.pipeline.head().is_some_and(|head| head.internal == Some(Internal::Probe))
    }

    fn read_probe(&mut self, row: &[u8]) -> Result<(), BackendStep> {
        let found = pins::read_probe(row).map_err(|error| violation(&error.to_string()))?;
        self.pinned = self.pinned.without(pins::ASKABLE).union(found);
        self.suspected = SessionState::NONE;
        if !found.intersects(SessionState::SQL_PREPARED) {
            self.statements.clear_by_sql();
        }
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
            self.pop_answered();
        }
        let Some(class) = class else { return Ok(()) };
        // It may have ended a transaction, and must not be run twice.
        self.replay.stop();
        match tag {
            Some(tag) => self.follow(&class, place, &bound, tag, server),
            None => self.follow_suspended(&class, place, &bound),
        }
        Ok(())
    }

    /// ParameterStatus; returns whether the client is told.
    fn parameter_status(&mut self, body: &[u8], server: &mut ServerState) -> Result<bool, BackendStep> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let (name, value) = backend::parameter_status(body).map_err(|error| violation(&error.to_string()))?;
        // The proxy cannot read it, but the client may.
        let (Some(name), Some(value)) = (text(name), text(value)) else { return Ok(!self.syncing()) };
        server.reported.set(name, value);
        let known = self.syncing() || !concerns_client(name) || self.is_about_to_return(name);
        if known || !self.told.set(name, value) {
            return Ok(false);
        }
        self.settings_changed();
        Ok(true)
    }

    fn syncing(&mut self) -> bool {
        self.pipeline.head().is_some_and(|head| head.internal == Some(Internal::Settings))
    }

    /// Tells whether the value now reported is the server's default, for which the session has its own: that is set
    /// again before anything else runs. After an error it is what the rollback returned to.
    fn is_about_to_return(&self, name: &str) -> bool {
        !self.failed && self.reapply.concerns(name)
    }

    /// ReadyForQuery; returns whether the checkout may end with it.
    fn ready(&mut self, body: &[u8], server: &mut ServerState) -> Result<bool, BackendStep> {
        self.expect(&[Request::Query, Request::FunctionCall, Request::Sync])?;
        let status = TransactionStatus::read(body).map_err(|error| violation(&error.to_string()))?;
        let Some(entry) = self.pipeline.pop() else { return Ok(false) };
        if entry.internal == Some(Internal::Begin) {
            // The client was told before.
            self.busy &= !self.pipeline.is_empty();
            let begun = status == TransactionStatus::InTransaction;
            return if begun { Ok(false) } else { Err(violation("no transaction has begun")) };
        }
        self.status = status;
        self.may_have_begun = false;
        self.doubted = false;
        self.group_open = self.pipeline.holds_group();
        self.reapply.ready(status);
        let of_client = matches!(entry.internal, None | Some(Internal::Replay));
        self.answered += u64::from(of_client);
        if self.status == TransactionStatus::Idle {
            if of_client {
                self.portals.end_round(entry.round);
            }
            self.transaction_ended(!self.failed);
            self.schema_changed |= std::mem::take(&mut self.schema_in_doubt);
        }
        if entry.internal.is_some() && entry.request == Request::Query {
            server.unnamed = None;
        }
        if entry.internal != Some(Internal::Replay) {
            // What was answered up to here must not be run again with what comes behind.
            self.replay.stop();
        }
        // Values that are about to be set again are not the session's.
        if !self.local_settings
            && !self.reapply.is_due()
            && self.status != TransactionStatus::Failed
            && std::mem::take(&mut self.settings_followed)
        {
            self.parameters.spell(&server.reported);
            self.settings_changed();
        }
        match entry.internal {
            None => {}
            Some(Internal::Settings) => {
                server.applied = self.parameters.current().clone();
                self.busy = !self.pipeline.is_empty();
                // The client's request comes now.
                return Ok(false);
            }
            Some(Internal::Probe) => {
                self.suspected = SessionState::NONE;
                self.busy = false;
            }
            Some(Internal::Begin) => {}
            Some(Internal::Reapply) => self.busy = false,
            Some(Internal::Helper | Internal::Flush | Internal::Parting | Internal::Failing) => {
                self.busy &= !self.pipeline.is_empty();
            }
            Some(Internal::Replay) => return Err(self.replay_begins()),
        }
        Ok(true)
    }

    /// After a ReadyForQuery with nothing outstanding: what we have to do ourselves, or the end of the checkout.
    fn at_rest(&mut self, server: &ServerState, to_server: &mut Outbox) -> Option<BackendStep> {
        if !self.is_quiet() || self.reapply_at_rest(to_server) {
            return None;
        }
        if self.status != TransactionStatus::Idle || self.mode == PoolMode::Session {
            return None;
        }
        if !self.suspected.is_empty() {
            let proven = self.routed.is_some_and(|need| need.reason.is_proof());
            if proven && server.reported("in_hot_standby") == Some("on") {
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
pub(super) const LARGE_PREFIX: usize = 1024;

const RESULT: &[Request] = &[Request::Query, Request::Execute];
