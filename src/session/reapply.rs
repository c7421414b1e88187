//! Sets the startup packet's values again: RESET and its kin go to the server's default where the session has its own.
//!
//! Within a group that is done in front of what the client says next, as part of the group. Otherwise it is done once the
//! server has nothing else to do, and the client is told only then that it is ready: it sees no moment in between.

use super::frontend::Turn;
use super::machine::Session;
use super::outbox::Outbox;
use super::parameters::{IDENTITY, quote_literal};
use super::pipeline::{Entry, Internal, Request};
use crate::sql::SettingChange;
use crate::wire::backend::TransactionStatus;
use crate::wire::frontend::tag;
use crate::wire::write;

/// What is to be set again.
#[derive(Debug, Default)]
pub(super) struct Reapply {
    due: Vec<Due>,
    /// What was set again within the open group: an error there may undo it.
    done: Vec<Due>,
    /// The client awaits the ReadyForQuery that comes when it is done.
    owes_ready: bool,
}

/// A setting by its name, and whether its value is to end with the transaction (SET LOCAL ... TO DEFAULT).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Due {
    name: Box<str>,
    local: bool,
}

/// The statement and the portal by which it is done within a group.
const NAME: &[u8] = b"bellwether_again";

impl Reapply {
    /// Tells whether anything is to be set again.
    pub fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Tells whether the server's value of `name` is about to be replaced.
    pub fn concerns(&self, name: &str) -> bool {
        self.due.iter().any(|due| due.name.eq_ignore_ascii_case(name))
    }

    /// Tells whether the client awaits a ReadyForQuery behind it.
    pub fn owes_ready(&self) -> bool {
        self.owes_ready
    }

    /// Takes the note that the client awaits it.
    pub fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.owes_ready)
    }

    /// Forgets what was to be done, with the server.
    pub fn forget(&mut self) {
        self.due.clear();
        self.done.clear();
    }

    /// Follows an error: it may have undone what was done in its transaction.
    pub fn failed(&mut self) {
        self.due.append(&mut self.done);
    }

    /// Follows a ReadyForQuery.
    pub fn ready(&mut self, status: TransactionStatus) {
        self.done.clear();
        if status == TransactionStatus::Idle {
            self.due.retain(|due| !due.local);
        }
    }

    fn add(&mut self, name: &str, local: bool) {
        if self.due.iter().all(|due| *due.name != *name || due.local != local) {
            self.due.push(Due { name: name.into(), local });
        }
    }
}

impl Session {
    /// Notes what `change` took to the server's default.
    pub(super) fn note_reset(&mut self, change: &SettingChange) {
        let startup = self.parameters.startup();
        match change {
            SettingChange::Reset { name, local } if startup.get(name).is_some() => {
                self.reapply.add(name, *local);
            }
            SettingChange::ResetAll => {
                let names = startup.iter().filter(|(name, _)| !IDENTITY.contains(name));
                names.for_each(|(name, _)| self.reapply.add(name, false));
            }
            _ => {}
        }
    }

    /// Notes that everything is at the server's default (DISCARD ALL).
    pub(super) fn note_discarded(&mut self) {
        self.parameters.startup().iter().for_each(|(name, _)| self.reapply.add(name, false));
    }

    /// Tells whether the ReadyForQuery at hand is kept back, because the values are set again now.
    pub(super) fn keeps_ready_back(&mut self) -> bool {
        let now = self.reapply.is_due() && self.is_quiet() && self.status != TransactionStatus::Failed;
        self.reapply.owes_ready = now && !self.reset_statements().is_empty();
        self.reapply.owes_ready
    }

    /// Tells whether the client gets the ReadyForQuery at hand in the place of one that was kept back.
    pub(super) fn pays_ready(&mut self) -> bool {
        let reapplied = self.pipeline.head().is_some_and(|head| head.internal == Some(Internal::Reapply));
        reapplied && self.reapply.take_ready()
    }

    /// Sets the values again with nothing outstanding; tells whether that takes anything.
    pub(super) fn reapply_at_rest(&mut self, to_server: &mut Outbox) -> bool {
        if !self.reapply.is_due() || self.status == TransactionStatus::Failed {
            return false;
        }
        let sql = self.reset_statements();
        self.reapply.due.clear();
        if !sql.is_empty() {
            self.ask(Internal::Reapply, &sql.join(";"), to_server);
        }
        !sql.is_empty()
    }

    /// Sets the values again in front of the message at hand, if that belongs to the group in which they were reset; tells
    /// whether it must wait for the end of what they were reset in.
    pub(super) fn reapply_within(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        if !self.reapply.is_due() || self.status == TransactionStatus::Failed {
            return false;
        }
        if matches!(
            turn.head.tag,
            tag::SYNC | tag::FLUSH | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::TERMINATE
        ) {
            return false;
        }
        if self.pipeline.ends_round() || !self.group_open {
            return self.pipeline.ends_round();
        }
        for sql in self.reset_statements() {
            write::parse(turn.out(), NAME, sql.as_bytes(), b"");
            write::bind_portal(turn.out(), NAME, NAME);
            write::execute_portal(turn.out(), NAME);
            write::close_portal(turn.out(), NAME);
            write::close_statement(turn.out(), NAME);
            for request in [Request::Parse, Request::Bind, Request::Execute, Request::Close, Request::Close] {
                self.pipeline.push(Entry::internal(request, Internal::Reapply));
            }
        }
        self.reapply.done.append(&mut self.reapply.due);
        false
    }

    /// Returns the statements that set again what is due, and has not been changed since.
    fn reset_statements(&self) -> Vec<String> {
        let (startup, current) = (self.parameters.startup(), self.parameters.current());
        let value = |due: &Due| {
            let value = startup.get(&due.name)?;
            (due.local || current.get(&due.name) == Some(value)).then_some(value)
        };
        let due = || self.reapply.due.iter().filter_map(|due| value(due).map(|value| (due, value)));
        let call = |(due, value): (&Due, &str)| {
            let (name, value) = (quote_literal(&due.name), quote_literal(value));
            format!("pg_catalog.set_config({name},{value},{})", due.local)
        };
        let calls: Vec<_> = due().filter(|(due, _)| !IDENTITY.contains(&&*due.name)).map(call).collect();
        let mut statements = Vec::new();
        if !calls.is_empty() {
            statements.push(format!("SELECT {}", calls.join(",")));
        }
        // Last, as they decide what else may be changed; and a new session user drops the role.
        for name in IDENTITY {
            for (due, value) in due().filter(|(due, _)| *due.name == *name) {
                let local = if due.local { "LOCAL " } else { "" };
                let keyword = if name == "role" { "ROLE" } else { "SESSION AUTHORIZATION" };
                statements.push(format!("SET {local}{keyword} {}", quote_literal(value)));
            }
        }
        statements
    }
}
