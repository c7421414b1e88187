//! What a completed statement did to the session: transaction, settings, prepared statements, pins.

use super::machine::Session;
use super::parameters::Followed;
use super::pins;
use super::server::ServerState;
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
                self.follow_unparsed(tag);
            }
            return;
        };
        if let Some(transaction) = &effects.transaction {
            self.follow_transaction(transaction, tag);
        }
        let direct =
            effects.settings.iter().filter(|change| !matches!(change, SettingChange::SetFromBind { .. }));
        for change in direct.chain(bound) {
            self.follow_setting(change);
        }
        if !effects.settings.is_empty() {
            self.settings_changed();
        }
        self.follow_prepared(effects, server);
        if let Some(discard) = effects.discard {
            self.follow_discard(discard, server);
        }
        self.schema_changed |= effects.ddl;
        let lasting = effects.may_leave.without(pins::ASKABLE).without(SessionState::OPAQUE_CODE);
        self.pinned = self.pinned.union(lasting);
        self.suspected = self.suspected.union(effects.may_leave.without(lasting));
        if effects.may_clear && !self.pinned.is_empty() {
            self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
        }
    }

    /// The grammar did not take it but the server did, so only the tag tells what it was.
    fn follow_unparsed(&mut self, tag: &[u8]) {
        self.suspected = self.suspected.union(SessionState::OPAQUE_CODE);
        if matches!(tag, b"SET" | b"RESET") {
            self.pinned = self.pinned.union(SessionState::UNTRACKED_SETTING);
        }
    }

    fn follow_transaction(&mut self, transaction: &Transaction, tag: &[u8]) {
        match transaction {
            Transaction::Begin { .. } | Transaction::FinishPrepared => {}
            // COMMIT of a failed transaction answers ROLLBACK.
            Transaction::Commit { .. } if tag == b"COMMIT" => self.transaction_ended(true),
            Transaction::PrepareTransaction if tag == b"PREPARE TRANSACTION" => self.transaction_ended(true),
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
        if kept {
            self.parameters.commit();
        } else if self.parameters.rollback() {
            self.settings_changed();
        }
        self.failed = false;
        self.local_settings = false;
    }

    fn follow_setting(&mut self, change: &SettingChange) {
        match change {
            SettingChange::SetFromBind { local: false, .. } => self.untracked(),
            SettingChange::Set { local: true, .. } | SettingChange::Reset { local: true, .. } => {
                self.local_settings = true;
            }
            _ => {}
        }
        match self.parameters.follow(change) {
            Followed::Done => {}
            Followed::Reapply => self.reapply = true,
            Followed::TooLarge => self.untracked(),
        }
        if *change == SettingChange::ResetAll {
            self.pinned = self.pinned.without(SessionState::UNTRACKED_SETTING);
        }
    }

    fn untracked(&mut self) {
        self.pinned = self.pinned.union(SessionState::UNTRACKED_SETTING);
    }

    fn follow_prepared(&mut self, effects: &Effects, server: &mut ServerState) {
        match &effects.prepared {
            Some(Prepared::Deallocate(name)) => drop(self.statements.replace(name.as_bytes(), None)),
            Some(Prepared::DeallocateAll) => self.forget_statements(server),
            Some(Prepared::Prepare(_) | Prepared::Execute(_)) | None => {}
        }
    }

    fn forget_statements(&mut self, server: &mut ServerState) {
        self.statements.clear_named();
        server.prepared.clear();
        self.pinned = self.pinned.without(SessionState::SQL_PREPARED).without(pins::LARGE_STATEMENT);
    }

    fn follow_discard(&mut self, discard: Discard, server: &mut ServerState) {
        match discard {
            Discard::Plans => {}
            Discard::Sequences => self.pinned = self.pinned.without(SessionState::SEQUENCE),
            Discard::Temp => self.pinned = self.pinned.without(SessionState::TEMP_OBJECT),
            Discard::All => {
                self.forget_statements(server);
                if self.parameters.reset_all(true) == Followed::Reapply {
                    self.reapply = true;
                }
                self.settings_changed();
                self.suspected = SessionState::NONE;
                let kept = SessionState::LIBRARY.union(SessionState::DBLINK);
                self.pinned = SessionState(self.pinned.0 & kept.0);
            }
        }
    }
}
