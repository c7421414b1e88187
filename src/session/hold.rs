//! A transaction that no server knows of yet: BEGIN is answered here, and goes in front of the first statement that
//! needs a server.
//!
//! Until then nothing is decided: `BEGIN; SET TRANSACTION READ ONLY; SELECT ...` reaches a standby, and an empty
//! transaction needs no server at all. The first statement costs the same one packet to the server as without.

use super::bereft::Bereft;
use super::frontend::Turn;
use super::heal::is_off;
use super::machine::{Context, PoolMode, Session};
use super::outbox::Outbox;
use super::pipeline::{Answer, Entry, Internal, Request};
use super::server::ServerState;
use crate::routing::{Asked, Need, Reason, Route, Target};
use crate::sql::{Classified, Effects, Hint, Modes, NeedsPrimary, Transaction};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::PgError;
use crate::wire::frame::{HEAD, Head};
use crate::wire::frontend;
use crate::wire::write;

/// What is held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The client's messages, as they go to the server.
    messages: Vec<u8>,
    /// How many there are; none while nothing is held back.
    count: usize,
    modes: Modes,
    hint: Option<Hint>,
}

/// More than this is not worth holding back, in bytes.
const MOST: usize = 1024;

impl Held {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, message: &[u8], class: &Classified) {
        self.messages.extend_from_slice(message);
        self.count += 1;
        self.hint = self.hint.or(class.hint);
        for effects in &class.statements {
            let modes = match &effects.transaction {
                Some(Transaction::Begin { modes, .. }) => Some(*modes),
                _ => effects.modes,
            };
            self.modes = self.modes.then(modes.unwrap_or_default());
        }
    }

    fn clear(&mut self) {
        self.messages.clear();
        (self.count, self.modes, self.hint) = (0, Modes::default(), None);
    }
}

/// What becomes of a Query while no server knows of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// It is held back, or held back as well.
    Hold,
    /// It ends a transaction in which nothing was done.
    End { kept: bool },
}

impl Session {
    /// Tells whether the Query of `class` needs no server for what it does to its transaction.
    pub(super) fn may_hold(&self, class: &Classified, length: usize, context: &Context<'_>) -> bool {
        context.split && self.held_act(class, length).is_some()
    }

    fn held_act(&self, class: &Classified, length: usize) -> Option<Act> {
        let settled = self.pipeline.is_empty() && !self.group_open && !self.unsettled;
        if self.attached || !settled || self.mode == PoolMode::Session {
            return None;
        }
        let (first, rest) = class.statements.split_first()?;
        // Where there are only standbys, they say themselves what they do not take.
        let taken = |modes: Modes| !self.is_for_reads() || modes.suit_a_standby();
        let modes = |rest: &[Effects]| rest.iter().all(|effects| effects.modes.is_some_and(taken));
        let fits = self.held.messages.len() + length <= MOST;
        match &first.transaction {
            Some(Transaction::Begin { modes: named, .. }) if self.status == TransactionStatus::Idle => {
                (fits && taken(*named) && modes(rest)).then_some(Act::Hold)
            }
            Some(Transaction::Commit { chain: false }) if self.holds() && rest.is_empty() => {
                Some(Act::End { kept: true })
            }
            Some(Transaction::Rollback { chain: false }) if self.holds() && rest.is_empty() => {
                Some(Act::End { kept: false })
            }
            None if self.holds() => (fits && modes(&class.statements)).then_some(Act::Hold),
            _ => None,
        }
    }

    /// Tells whether a transaction is held back, so that no server knows of it.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Answers the Query at the start of `input`, which [`may_hold`](Self::may_hold); returns its length.
    pub(super) fn hold(
        &mut self,
        head: Head,
        input: &[u8],
        context: &mut Context<'_>,
        to_client: &mut Outbox,
    ) -> usize {
        let text = frontend::query(&input[HEAD..head.total]).unwrap_or_default();
        let class = self.classify(text, context);
        self.count_hint(&class);
        let out = to_client.write(&[]);
        match self.held_act(&class, head.total) {
            Some(Act::Hold) => {
                for effects in &class.statements {
                    write::command_complete(out, tag(effects.transaction.as_ref()));
                }
                self.held.add(&input[..head.total], &class);
                self.status = TransactionStatus::InTransaction;
            }
            Some(Act::End { kept }) => {
                write::command_complete(out, if kept { "COMMIT" } else { "ROLLBACK" });
                self.held.clear();
                self.transaction_ended(kept);
                self.status = TransactionStatus::Idle;
            }
            None => debug_assert!(false, "asked before"),
        }
        self.remove_name(b"");
        write::ready_for_query(out, self.status.byte());
        head.total
    }

    /// Puts what is held back in front of what the client sends next.
    pub(super) fn send_held(&mut self, server: &mut ServerState, to_server: &mut Outbox) {
        if self.held.is_empty() {
            return;
        }
        to_server.write(&[]).extend_from_slice(&self.held.messages);
        for _ in 0..self.held.count {
            self.pipeline.push(Entry::internal(Request::Query, Internal::Begin));
        }
        server.unnamed = None;
        self.held.clear();
    }

    /// Fails the transaction that is held back, if there is one, whose client gets an error.
    pub(super) fn fail_held(&mut self) {
        if self.holds() {
            self.held.clear();
            self.parameters.own.rollback();
            self.status = TransactionStatus::Failed;
            self.bereft = Some(Bereft::Told);
        }
    }

    /// Decides for the first request of a transaction that is held back, `judged` by what a READ ONLY transaction on a
    /// standby may do. `hint` is that of the request.
    pub(super) fn route_held(&self, judged: Result<(), NeedsPrimary>, hint: Option<Hint>) -> Need {
        let modes = self.held.modes;
        let read_only = modes.read_only.unwrap_or_else(|| self.reads_only());
        let serializable = modes.serializable.unwrap_or_else(|| self.wants_serializable());
        let asked = match self.asked(self.held.hint) {
            // What comes later may write, so a hint at the first statement is not enough.
            None if read_only => Asked::new(hint, Route::Auto),
            asked => asked,
        };
        // What a standby does not take is not asked for there.
        let asked = asked.filter(|asked| asked.suits(modes));
        match (asked, judged) {
            (Some(asked), _) => asked.need(),
            (None, _) if !read_only => Need::primary(Reason::ReadWrite),
            (None, _) if serializable => Need::primary(Reason::Statement(NeedsPrimary::SessionState)),
            (None, Ok(())) => Need { target: Target::Standby, reason: Reason::ReadOnly },
            (None, Err(needs)) => Need::primary(Reason::Statement(needs)),
        }
    }

    /// Tells whether transactions are READ ONLY unless they say otherwise: by a setting of the session, or by a default of
    /// its role that the server reports.
    pub(super) fn reads_only(&self) -> bool {
        const NAME: &str = "default_transaction_read_only";
        self.settings().get(NAME).or_else(|| self.told.get(NAME)).is_some_and(|value| !is_off(value))
    }

    /// Refuses the message in the place of the server, with an error that fails a transaction, and up to ReadyForQuery.
    pub(super) fn refuse_round(&mut self, turn: &mut Turn<'_, '_>, error: PgError) {
        write::query(turn.out(), b"!");
        turn.server.unnamed = None;
        turn.refused = true;
        let answer = Answer::Refuse(Box::new(error));
        let entry = Entry::forward(Request::Query, self.copies_ended);
        self.pipeline.push(Entry { answer, round: self.round, ..entry });
        self.round += 1;
    }
}

/// Returns the tag with which a statement that is held back is answered.
fn tag(transaction: Option<&Transaction>) -> &'static str {
    match transaction {
        Some(Transaction::Begin { start: true, .. }) => "START TRANSACTION",
        Some(Transaction::Begin { .. }) => "BEGIN",
        _ => "SET",
    }
}
