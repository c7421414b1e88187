//! What the client says: each message to the server, to a fabricated answer, or to nothing.

use std::ops::Range;
use std::sync::Arc;

use super::machine::{Context, Copying, FrontendStep, Session};
use super::outbox::Outbox;
use super::pipeline::{Answer, Entry, Internal, Renamed, Request};
use super::prepare::only_prepares;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::routing::Reason;
use crate::sql::{Classified, NeedsPrimary};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::PgError;
use crate::wire::frame::{HEAD, Head, Malformed};
use crate::wire::frontend::{self, tag};
use crate::wire::write;

/// Messages up to this size are looked at whole; larger ones pass through as they arrive.
pub const WHOLE_MESSAGE: usize = 1024 * 1024;

/// Of a larger Bind this much must be there, so that its two names are.
const LARGE_BIND_PREFIX: usize = 16 * 1024;

/// One message of the client and where it goes.
pub(super) struct Turn<'a, 'c> {
    pub input: &'a [u8],
    /// Place of the message (or of the part that is there) in `input`.
    pub place: Range<usize>,
    pub head: Head,
    pub server: &'a mut ServerState,
    pub context: &'a mut Context<'c>,
    pub to_server: &'a mut Outbox,
    /// What a Query is, once that was looked at.
    pub class: Option<Arc<Classified>>,
    /// Something else was sent in its place, so the rest of it goes nowhere.
    pub refused: bool,
}

impl<'a> Turn<'a, '_> {
    pub fn body(&self) -> &'a [u8] {
        &self.input[self.place.start + HEAD..self.place.end]
    }

    pub fn is_whole(&self) -> bool {
        self.place.len() == self.head.total
    }

    pub fn out(&mut self) -> &mut Vec<u8> {
        self.to_server.write(self.input)
    }
}

/// What a message has to wait for.
enum Wait {
    /// Nothing.
    No,
    /// An answer that is on its way.
    Answer,
    /// Nothing either: no side needs to see it.
    Drop,
}

impl Session {
    /// Looks at the client's bytes from the start of `input`; returns how many were dealt with, and what to do.
    ///
    /// `server` is the state of the attached server. What is put into `to_server` may refer to `input`; what is put
    /// into `to_client` does not, and `to_client` must hold no range of the server's bytes.
    pub fn frontend(
        &mut self,
        input: &[u8],
        mut server: Option<&mut ServerState>,
        context: &mut Context<'_>,
        to_server: &mut Outbox,
        to_client: &mut Outbox,
    ) -> (usize, FrontendStep) {
        self.tell_version(to_client);
        let mut at = 0;
        loop {
            if self.passing > 0 {
                at = self.pass_on(input, at, to_server);
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
                Err(error) => return (at, self.violation(error, input, to_server)),
            };
            if self.answer_alone(head, server.is_some(), to_client) {
                at = self.drop_message(head, at, end);
                continue;
            }
            if head.tag == tag::TERMINATE {
                // What was asked before the goodbye is still done, as a server reads its messages in turn.
                // Of a COPY nothing more is to come.
                if self.pipeline.is_empty() || self.copying.begun {
                    return (at, FrontendStep::Terminate);
                }
                self.nudge(input, to_server);
                return (at, FrontendStep::Busy);
            }
            let Some(server) = server.as_deref_mut() else {
                if let Some(length) = self.answer_bereft(head, &input[at..], context, to_client) {
                    at += length;
                    continue;
                }
                if let Some(length) = self.group_alone(&input[at..], context, to_client) {
                    at += length;
                    continue;
                }
                return match self.route(&input[at..], context) {
                    Some(need) if need.reason == Reason::OwnAnswer && self.may_answer_alone() => {
                        match self.query_alone(head, &input[at..], context, to_client) {
                            Ok(length) => {
                                at += length;
                                continue;
                            }
                            Err(step) => (at, step),
                        }
                    }
                    Some(need) if need.reason == Reason::Held => {
                        at += self.hold(head, &input[at..], context, to_client);
                        continue;
                    }
                    Some(need) => {
                        self.routed = Some(need);
                        (at, FrontendStep::NeedServer(need))
                    }
                    None => (at, FrontendStep::NeedInput),
                };
            };
            match self.may_follow(head, &input[at..], context) {
                Some(true) => {}
                Some(false) => return (at, FrontendStep::Busy),
                None => return (at, FrontendStep::NeedInput),
            }
            match self.must_wait(head, input, at..end, to_server) {
                Wait::No => {}
                Wait::Answer => return (at, FrontendStep::Busy),
                Wait::Drop => {
                    at = self.drop_message(head, at, end);
                    continue;
                }
            }
            let mut turn =
                Turn { input, place: at..end, head, server, context, to_server, class: None, refused: false };
            if self.reapply_within(&mut turn) || self.must_ask(&mut turn) {
                return (at, FrontendStep::Busy);
            }
            if let Some(step) = self.must_ask_shell(&mut turn) {
                return (at, step);
            }
            self.message(&mut turn, to_client);
            self.discarding = turn.refused;
            self.passing = head.total - (end - at);
            at = end;
        }
    }

    /// Deals with more of a long message; returns where what is left of `input` begins.
    fn pass_on(&mut self, input: &[u8], at: usize, to_server: &mut Outbox) -> usize {
        let end = (at + self.passing).min(input.len());
        self.passing -= end - at;
        if self.discarding {
            return end;
        }
        to_server.pass(input, at..end);
        if self.passing == 0 && self.attached && self.pipeline.is_empty() && !self.group_open {
            // Data of a COPY that failed meanwhile. The ReadyForQuery that would have ended the checkout came while
            // the message was half sent, so another one is needed.
            write::query(to_server.write(input), b"");
            self.pipeline.push(Entry::internal(Request::Query, Internal::Helper));
            self.busy = true;
        }
        end
    }

    fn drop_message(&mut self, head: Head, at: usize, end: usize) -> usize {
        self.discarding = true;
        self.passing = head.total - (end - at);
        end
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
                write::ready_for_query(to_client.write(&[]), self.status.byte());
                true
            }
            tag::FLUSH if !attached => true,
            // Left over from a COPY that failed ("accept but ignore these messages", PostgresMain()).
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => !attached || !self.pipeline.may_copy(),
            _ => false,
        }
    }

    /// Tells whether the message at `place` can be dealt with now.
    fn must_wait(&mut self, head: Head, input: &[u8], place: Range<usize>, to_server: &mut Outbox) -> Wait {
        match head.tag {
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::FLUSH => Wait::No,
            tag::SYNC => self.sync_in_copy(input, place.end, to_server),
            _ if self.held_back => {
                self.held_back = self.pipeline.holds_back();
                if !self.held_back {
                    return Wait::No;
                }
                self.nudge(input, to_server);
                Wait::Answer
            }
            kind if self.names_unsettled(kind, &input[place.start + HEAD..place.end]) => Wait::Answer,
            _ => Wait::No,
        }
    }

    /// The server ignores Sync while it takes data, but answers it once the COPY has failed. Only what comes next from
    /// either side tells which of both it is.
    fn sync_in_copy(&mut self, input: &[u8], end: usize, to_server: &mut Outbox) -> Wait {
        let copying = self.copying.begun || (self.copying.data && self.pipeline.may_copy());
        if !copying {
            self.copying = Copying::default();
            return Wait::No;
        }
        let mut at = end;
        while let Ok(Some((next, after))) = next_message(input, at) {
            match next.tag {
                tag::SYNC | tag::FLUSH => at = after,
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => return Wait::Drop,
                // Only a COPY that is over can be followed by it. If it is not over, the server says so and ends the
                // connection.
                _ => {
                    self.copying = Copying::default();
                    return Wait::No;
                }
            }
        }
        if !self.copying.begun {
            self.nudge(input, to_server);
        }
        Wait::Answer
    }

    /// What comes of bytes that are no message: nothing behind them can be understood. What was asked before is still
    /// answered, as a server does; where that takes data, no more is to come.
    fn violation(&mut self, error: Malformed, input: &[u8], to_server: &mut Outbox) -> FrontendStep {
        if self.pipeline.is_empty() || self.copying.begun {
            return FrontendStep::Violation(PgError::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string()));
        }
        self.nudge(input, to_server);
        FrontendStep::Busy
    }

    /// Makes sure that the answers we wait for are not kept back until Sync.
    fn nudge(&mut self, input: &[u8], to_server: &mut Outbox) {
        if !self.nudged && self.pipeline.may_be_kept_back() {
            self.nudged = true;
            write::flush(to_server.write(input));
        }
    }

    fn message(&mut self, turn: &mut Turn<'_, '_>, to_client: &mut Outbox) {
        if self.pipeline.is_empty() && !self.group_open {
            self.only_prepares = true;
            if self.status == TransactionStatus::Idle {
                self.replay.begin();
                self.relies_on_shape = false;
            } else {
                self.replay.stop();
            }
        }
        if turn.is_whole() {
            self.replay.record(&turn.input[turn.place.clone()]);
        } else {
            self.replay.stop();
        }
        self.nudged = false;
        self.only_prepares &= turn.is_whole() && only_prepares(turn.head, turn.body());
        let extended = !matches!(turn.head.tag, tag::QUERY | tag::FUNCTION_CALL | tag::SYNC | tag::FLUSH);
        turn.server.spoiled |= self.breaks_into_group(turn.head.tag);
        match turn.head.tag {
            tag::QUERY => return self.query(turn),
            tag::PARSE => self.extended(Request::Parse, turn, Session::parse),
            tag::BIND => self.extended(Request::Bind, turn, Session::bind),
            tag::DESCRIBE => self.extended(Request::Describe, turn, Session::describe),
            tag::EXECUTE => self.extended(Request::Execute, turn, Session::execute),
            tag::CLOSE => self.extended(Request::Close, turn, Session::close),
            tag::SYNC => {
                self.skipping = false;
                self.send_round(turn, Entry::forward(Request::Sync, self.copies_ended));
                self.take_back_lent(turn);
            }
            tag::FLUSH => self.flush(turn),
            tag::FUNCTION_CALL => {
                if let Some(error) = self.unfit_for(Err(NeedsPrimary::Function), turn) {
                    return self.refuse_round(turn, error);
                }
                self.ran_unseen = true;
                self.send_round(turn, Entry::forward(Request::FunctionCall, self.copies_ended));
            }
            other => return self.copy(other, turn),
        }
        self.group_open |= extended;
        self.give_fabricated(to_client, &[]);
    }

    /// Tells whether a message of kind `tag` asks for an answer of its own while a group waits for its Sync.
    fn breaks_into_group(&self, tag: u8) -> bool {
        self.group_open && matches!(tag, tag::QUERY | tag::FUNCTION_CALL) && !self.pipeline.ends_round()
    }

    /// Deals with a message of the extended protocol. One that cannot be read is the server's to refuse: nothing of it is
    /// known here, and the server skips the rest of the group.
    fn extended<'a, 'c>(
        &mut self,
        request: Request,
        turn: &mut Turn<'a, 'c>,
        deal: fn(&mut Session, &mut Turn<'a, 'c>) -> Result<(), Malformed>,
    ) {
        if deal(self, turn).is_err() {
            self.forward(turn, request);
        }
    }

    /// CopyData, CopyDone or CopyFail.
    fn copy(&mut self, kind: u8, turn: &mut Turn<'_, '_>) {
        if kind == tag::COPY_DATA {
            self.copying.data = true;
        } else {
            self.copying = Copying::default();
            self.copies_ended = self.copies_ended.wrapping_add(1);
        }
        self.replay.stop();
        turn.to_server.pass(turn.input, turn.place.clone());
    }

    /// Sends the message as it is.
    pub(super) fn send(&mut self, turn: &mut Turn<'_, '_>, entry: Entry) {
        turn.to_server.pass(turn.input, turn.place.clone());
        self.held_back |= entry.holds_back;
        self.pipeline.push(entry);
    }

    /// Sends a message that is answered up to ReadyForQuery.
    pub(super) fn send_round(&mut self, turn: &mut Turn<'_, '_>, entry: Entry) {
        self.send(turn, Entry { round: self.round, ..entry });
        self.round += 1;
    }

    pub(super) fn forward(&mut self, turn: &mut Turn<'_, '_>, request: Request) {
        self.send(turn, Entry::forward(request, self.copies_ended));
    }

    pub(super) fn classify(&self, text: &[u8], context: &mut Context<'_>) -> Arc<Classified> {
        if !self.reading.utf8 && !text.is_ascii() {
            return Arc::new(unparsed());
        }
        context.classifier.classify(text, self.reading.standard_conforming_strings)
    }

    /// Sends what needs no server once everything before it has been answered.
    pub(super) fn give_fabricated(&mut self, to_client: &mut Outbox, input: &[u8]) {
        while let Some(Entry { answer: Answer::Fabricate, request, .. }) = self.pipeline.head() {
            let message =
                if *request == Request::Close { write::CLOSE_COMPLETE } else { write::PARSE_COMPLETE };
            self.only_fabricated |= to_client.is_empty();
            self.replay.answered(to_client.len());
            to_client.write(input).extend_from_slice(message);
            self.pop_answered();
        }
    }

    /// Takes the request that has been answered.
    pub(super) fn pop_answered(&mut self) -> Option<Entry> {
        let mut entry = self.pipeline.pop()?;
        if entry.request == Request::Close
            && let Some(Renamed { name, before: None }) = &entry.renamed
        {
            self.statements.freed_by_sql(name);
        }
        self.replay.keep(entry.renamed.take());
        Some(entry)
    }
}

/// Finds the message at `at`: its head, and where its end is or, for a long one, as much as has arrived.
/// `None` when too little of it is there.
pub(super) fn next_message(input: &[u8], at: usize) -> Result<Option<(Head, usize)>, Malformed> {
    let available = input.get(at..).unwrap_or_default();
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

/// What is said of a text that cannot be read.
pub(super) fn unparsed() -> Classified {
    Classified::unparsed()
}
