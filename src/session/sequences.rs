//! `currval()` and `lastval()`: what a server's session remembers of sequences, and whose memory that is.
//!
//! A session that asks gets its own values or PostgreSQL's error 55000, never another session's: a server on which
//! others have advanced sequences forgets all of them first. The first time anybody asks, the value is there if the
//! server that the session wrote on last is free and nobody else wrote on it since. From then on sessions of that
//! user and database keep the server they write on.

use std::sync::Arc;

use super::frontend::Turn;
use super::machine::Session;
use super::pipeline::{Entry, Internal, Request};
use crate::routing::Target;
use crate::sql::{Classified, NeedsPrimary, SessionState};
use crate::wire::backend::TransactionStatus;
use crate::wire::write;

/// Whose sequence values a server remembers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Names the server.
    place: Arc<()>,
    owner: Owner,
}

#[derive(Debug, Default)]
enum Owner {
    #[default]
    Nobody,
    Session(Arc<()>),
    Several,
}

impl Memory {
    /// Forgets whose values there were: they are gone.
    pub fn clear(&mut self) {
        self.owner = Owner::Nobody;
    }

    /// Tells whether there may be values of another session than `session`.
    fn is_foreign_to(&self, session: &Arc<()>) -> bool {
        match &self.owner {
            Owner::Nobody => false,
            Owner::Session(owner) => !Arc::ptr_eq(owner, session),
            Owner::Several => true,
        }
    }

    fn add(&mut self, session: &Arc<()>) {
        match &self.owner {
            Owner::Nobody => self.owner = Owner::Session(session.clone()),
            Owner::Session(owner) if Arc::ptr_eq(owner, session) => {}
            Owner::Session(_) | Owner::Several => self.owner = Owner::Several,
        }
    }

    /// Tells whether this is the server named `place`.
    pub fn is_at(&self, place: &Arc<()>) -> bool {
        Arc::ptr_eq(&self.place, place)
    }
}

/// What a session knows of its own sequence values.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// The server it wrote on last.
    home: Option<Arc<()>>,
    /// It may have advanced a sequence on the server it has now.
    advanced: bool,
    /// It asked for a value, and the shell has not been told.
    asked: bool,
}

impl Session {
    /// Returns what names the server this session last may have advanced a sequence on
    /// ([`ServerState::is_at`](super::ServerState::is_at)).
    pub fn sequence_home(&self) -> Option<&Arc<()>> {
        self.sequences.home.as_ref()
    }

    /// Takes the note that this session asked for the present value of a sequence.
    pub fn take_sequence_asked(&mut self) -> bool {
        std::mem::take(&mut self.sequences.asked)
    }

    /// Looks at a statement about to be sent. `within` tells that a group goes on behind it.
    pub(super) fn before_sequences(&mut self, class: &Classified, turn: &mut Turn<'_, '_>, within: bool) {
        // A standby refuses what would advance one, and the server to keep is the primary's.
        let standby = self.routed.is_some_and(|need| need.target == Target::Standby)
            && turn.server.reported("in_hot_standby") != Some("off");
        let advances = may_advance(class) && !standby;
        let asks =
            class.statements.iter().any(|effects| effects.may_leave.intersects(SessionState::SEQUENCE));
        if !advances && !asks {
            return;
        }
        self.sequences.asked |= asks;
        let keeps = turn.context.keeps_sequences && advances;
        let foreign = !self.sequences.advanced && turn.server.sequences.is_foreign_to(&self.identity);
        if (asks || keeps) && foreign && self.status != TransactionStatus::Failed {
            self.discard_sequences(turn, within);
        }
        if keeps {
            self.pinned = self.pinned.union(SessionState::SEQUENCE);
        }
        self.sequences.advanced |= advances;
    }

    /// Has the server forget all sequence values, in the form that fits into a group as well.
    fn discard_sequences(&mut self, turn: &mut Turn<'_, '_>, within: bool) {
        const NAME: &[u8] = b"bellwether_discard";
        write::parse(turn.out(), NAME, b"DISCARD SEQUENCES", b"");
        write::message(turn.out(), b'B', |body| {
            body.extend_from_slice(NAME);
            body.push(0);
            body.extend_from_slice(NAME);
            body.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0]);
        });
        write::message(turn.out(), b'E', |body| {
            body.extend_from_slice(NAME);
            body.extend_from_slice(&[0, 0, 0, 0, 0]);
        });
        write::message(turn.out(), b'C', |body| {
            body.push(b'P');
            body.extend_from_slice(NAME);
            body.push(0);
        });
        write::close_statement(turn.out(), NAME);
        for request in [Request::Parse, Request::Bind, Request::Execute, Request::Close, Request::Close] {
            self.pipeline.push(Entry::internal(request, Internal::Helper));
        }
        if !within {
            write::sync(turn.out());
            self.pipeline.push(Entry::internal(Request::Sync, Internal::Helper));
        }
        turn.server.sequences.clear();
    }

    /// Leaves a server: notes whose values it remembers now.
    pub(super) fn leave_sequences(&mut self, memory: &mut Memory) {
        if std::mem::take(&mut self.sequences.advanced) {
            memory.add(&self.identity);
            if !self.sequences.home.as_ref().is_some_and(|home| memory.is_at(home)) {
                self.sequences.home = Some(memory.place.clone());
            }
        }
    }

    /// Follows DISCARD SEQUENCES.
    pub(super) fn discarded_sequences(&mut self, memory: &mut Memory) {
        memory.clear();
        self.sequences.home = None;
        self.sequences.advanced = false;
        self.pinned = self.pinned.without(SessionState::SEQUENCE);
    }
}

/// Tells whether `class` may call `nextval()`, seen or unseen (the default of a column, a function, a trigger).
fn may_advance(class: &Classified) -> bool {
    let unseen = matches!(
        class.plain_read,
        Err(NeedsPrimary::Writes | NeedsPrimary::Unparsed | NeedsPrimary::Utility)
    );
    unseen
        || class.statements.iter().any(|effects| {
            effects.advances_sequence || effects.may_leave.intersects(SessionState::OPAQUE_CODE)
        })
}
