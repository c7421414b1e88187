//! What a completed statement did to the session: transaction, settings, prepared statements, pins.

use super::environment::changes_parsing;
use super::machine::Session;
use super::parameters::Followed;
use super::pins;
use super::pipeline::Request;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::sql::{Classified, Discard, Effects, Prepared, SessionState, SettingChange, Transaction};

impl Session {
    /// Follows statement number `place` of `class`, which the server completed with `tag`. `bound` holds the
    /// settings it takes from bind parameters.
    pub(super) fn follow(
        &mut self,
        class: &Classified,
        place: usize,
        bound: &[SettingChange],
        tag: &[u8],
        server: &mut ServerState,
    ) {
        let Some(effects) = class.statements.get(place) else {
            if !class.parsed {
                self.follow_unparsed(tag, server);
            }
            return;
        };
        if let Some(transaction) = &effects.transaction {
            self.may_have_begun = true;
            self.follow_transaction(transaction, tag);
        }
        self.follow_settings(effects, bound);
        self.followed_own(effects);
        self.follow_prepared(effects, server);
        if let Some(discard) = effects.discard {
            self.follow_discard(discard, server);
        }
        if effects.ddl {
            self.schema_followed();
        }
        self.follow_leftovers(effects);
    }

    /// Follows a statement that has returned some of its rows: what its functions do is done, and no
    /// CommandComplete may ever come.
    pub(super) fn follow_suspended(&mut self, class: &Classified, place: usize, bound: &[SettingChange]) {
        match class.statements.get(place) {
            Some(effects) => {
                self.follow_settings(effects, bound);
                self.follow_leftovers(effects);
            }
            None => self.suspect(class, place),
        }
    }

    fn follow_settings(&mut self, effects: &Effects, bound: &[SettingChange]) {
        let direct =
            effects.settings.iter().filter(|change| !matches!(change, SettingChange::SetFromBind { .. }));
        for change in direct.chain(bound) {
            self.follow_setting(change);
        }
        if !effects.settings.is_empty() {
            self.settings_changed();
        }
    }

    fn follow_leftovers(&mut self, effects: &Effects) {
        self.ran_unseen |= effects.may_leave.intersects(SessionState::OPAQUE_CODE);
        let lasting = effects.may_leave.without(ASKED);
        self.pinned = self.pinned.union(lasting);
        // What is known to be there need not be asked about again.
        let news = effects.may_leave.without(lasting).without(self.pinned);
        self.suspected = self.suspected.union(news);
        if effects.may_clear && self.pinned.intersects(pins::ASKABLE) {
            self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
        }
    }

    /// Notes what statement number `place` may have left before it failed.
    pub(super) fn suspect(&mut self, class: &Classified, place: usize) {
        let left = match class.statements.get(place) {
            Some(effects) => effects.may_leave,
            None if class.parsed => SessionState::NONE,
            None => SessionState::OPAQUE_CODE,
        };
        self.ran_unseen |= left.intersects(SessionState::OPAQUE_CODE);
        // The rest is undone with the transaction, or was never done.
        let asked = SessionState::ADVISORY_LOCK.union(SessionState::OPAQUE_CODE);
        self.suspected = self.suspected.union(SessionState(left.0 & asked.0).without(self.pinned));
        let lasting = SessionState::RANDOM_SEED.union(SessionState::DBLINK);
        self.pinned = self.pinned.union(SessionState(left.0 & lasting.0));
    }

    /// Notes what the request that has just failed with `code` may have left all the same.
    pub(super) fn suspect_failed(&mut self, code: Option<SqlState>) {
        let Some(head) = self.pipeline.head() else { return };
        let (place, class) = (head.completed, head.class.clone());
        if head.request == Request::FunctionCall {
            self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
        }
        // A text that cannot be read mostly cannot be read by the server either.
        let unread = matches!(code, Some(SqlState::SYNTAX_ERROR | SqlState::IN_FAILED_SQL_TRANSACTION));
        if let Some(class) = class
            && !unread
        {
            self.suspect(&class, place);
        }
    }

    /// The grammar did not take it but the server did, so only the tag tells what it was.
    fn follow_unparsed(&mut self, tag: &[u8], server: &mut ServerState) {
        self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
        self.may_have_begun = true;
        self.ran_unseen = true;
        let first = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
        if !NO_SCHEMA_CHANGE.contains(&first) {
            self.schema_followed();
        }
        match tag {
            b"SET" | b"RESET" => self.untracked(),
            b"DEALLOCATE ALL" => self.forget_statements(server),
            b"DISCARD ALL" => self.follow_discard(Discard::All, server),
            // If the transaction is over with this, its changes are undone.
            b"ROLLBACK" => self.failed = true,
            _ => {}
        }
    }

    fn schema_followed(&mut self) {
        self.schema_changed = true;
        self.schema_in_doubt = true;
    }

    fn follow_transaction(&mut self, transaction: &Transaction, tag: &[u8]) {
        match transaction {
            Transaction::Begin { .. } => {}
            Transaction::FinishPrepared => self.finished_prepared = true,
            // COMMIT of a failed transaction answers ROLLBACK.
            Transaction::Commit { .. } if tag == b"COMMIT" => self.transaction_ended(true),
            Transaction::PrepareTransaction if tag == b"PREPARE TRANSACTION" => {
                self.schema_prepared |= self.schema_in_doubt;
                self.transaction_ended(true);
            }
            Transaction::Commit { .. } | Transaction::PrepareTransaction | Transaction::Rollback { .. } => {
                self.transaction_ended(false);
            }
            Transaction::Savepoint(name) => self.parameters.savepoint(name),
            Transaction::Release(name) => self.parameters.release(name),
            Transaction::RollbackTo(name) => {
                self.parameters.rollback_to(name);
                self.settings_changed();
                self.failed = false;
            }
        }
    }

    /// Follows the end of a transaction, which kept or undid its changes.
    pub(super) fn transaction_ended(&mut self, kept: bool) {
        let changed = if kept { self.parameters.commit() } else { self.parameters.rollback() };
        self.failed = false;
        self.unsettled = false;
        self.local_settings = false;
        if changed {
            self.settings_changed();
        }
    }

    fn follow_setting(&mut self, change: &SettingChange) {
        self.settings_followed = true;
        match change {
            SettingChange::SetFromBind { local: true, .. } => {
                self.unsettled = true;
                self.local_settings = true;
            }
            SettingChange::SetFromBind { local: false, .. } => self.untracked(),
            SettingChange::Set { name, local: true, .. } | SettingChange::Reset { name, local: true } => {
                self.unsettled |= changes_parsing(name);
                self.local_settings = true;
            }
            _ => {}
        }
        if self.parameters.follow(change) == Followed::TooLarge {
            self.untracked();
        }
        self.note_reset(change);
        if *change == SettingChange::ResetAll {
            self.pinned = self.pinned.without(SessionState::UNTRACKED_SETTING);
        }
    }

    fn untracked(&mut self) {
        self.pinned = self.pinned.union(SessionState::UNTRACKED_SETTING);
    }

    fn follow_prepared(&mut self, effects: &Effects, server: &mut ServerState) {
        match &effects.prepared {
            Some(Prepared::Deallocate(name)) => {
                let name = name.as_bytes();
                self.statements.replace(name, None);
                self.statements.freed_by_sql(name);
                self.lent.retain(|lent| **lent != *name);
            }
            Some(Prepared::DeallocateAll) => self.forget_statements(server),
            Some(Prepared::Prepare(name)) => self.statements.prepared_by_sql(name.as_bytes()),
            Some(Prepared::Execute(_)) | None => {}
        }
    }

    fn forget_statements(&mut self, server: &mut ServerState) {
        self.statements.clear_named();
        self.lent.clear();
        server.prepared.clear();
        self.pinned = self.pinned.without(SessionState::SQL_PREPARED).without(pins::LARGE_STATEMENT);
    }

    fn follow_discard(&mut self, discard: Discard, server: &mut ServerState) {
        match discard {
            Discard::Plans => {}
            Discard::Sequences => self.discarded_sequences(&mut server.sequences),
            Discard::Temp => self.pinned = self.pinned.without(SessionState::TEMP_OBJECT),
            Discard::All => {
                self.forget_statements(server);
                self.ran_unseen = false;
                server.unseen = None;
                self.discarded_sequences(&mut server.sequences);
                self.parameters.reset_all(true);
                self.note_discarded();
                // Done for good at once, whatever fails behind it in its group (PreventInTransactionBlock() in xact.c).
                self.transaction_ended(true);
                self.settings_changed();
                self.suspected = SessionState::NONE;
                let kept = SessionState::LIBRARY.union(SessionState::DBLINK);
                self.pinned = SessionState(self.pinned.0 & kept.0);
            }
        }
    }
}

/// First words of the tags of statements that leave the schema as it is.
const NO_SCHEMA_CHANGE: [&[u8]; 16] = [
    b"SELECT",
    b"INSERT",
    b"UPDATE",
    b"DELETE",
    b"MERGE",
    b"COPY",
    b"FETCH",
    b"SET",
    b"RESET",
    b"SHOW",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"SAVEPOINT",
    b"RELEASE",
    b"DEALLOCATE",
];

/// What is asked about after the transaction.
const ASKED: SessionState = pins::ASKABLE.union(SessionState::OPAQUE_CODE);
