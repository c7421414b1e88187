//! Which errors of a standby mean that the read went to the wrong place, and where it goes then.

use super::machine::Session;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::routing::{Reason, Target};
use crate::sql::{NeedsPrimary, Shape};
use crate::wire::backend::TransactionStatus;
use crate::wire::error_response::ErrorFields;

/// Why a read is run again on another server, its client none the wiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    /// It writes after all (25006).
    Writes,
    /// It reads a relation that standbys do not have.
    Unlogged,
    /// Its transaction is serializable, by a default that is not known here.
    Serializable,
    /// It was in the way of what the standby replays.
    Conflict,
    /// The standby is gone.
    StandbyLost,
    /// The primary is gone, and it was proven to be a plain read.
    PrimaryLost,
}

impl Healing {
    /// The names they are counted under, each at the place of its number.
    pub const NAMES: [&'static str; 6] =
        ["writes", "unlogged", "serializable", "recovery_conflict", "standby_lost", "primary_lost"];

    /// Tells whether the next statement of the shape would meet the same.
    fn is_lasting(self) -> bool {
        matches!(self, Healing::Writes | Healing::Unlogged | Healing::Serializable)
    }

    /// Returns why it is run on the primary; `None` if any server will do.
    ///
    /// After a conflict too: other standbys replay the same at about the same time, and the primary has no conflicts.
    pub(super) fn reason(self) -> Option<Reason> {
        match self {
            Healing::Writes | Healing::Unlogged | Healing::Serializable => {
                Some(Reason::Statement(NeedsPrimary::Learned))
            }
            Healing::Conflict => Some(Reason::RecoveryConflict),
            Healing::StandbyLost | Healing::PrimaryLost => None,
        }
    }
}

impl Session {
    /// Tells whether the error is the standby's alone, so that the primary would have done what was asked.
    ///
    /// Within a transaction it is not ours to mend: what came before was answered by the standby.
    pub(super) fn heals(&self, fields: &ErrorFields<'_>, server: &ServerState) -> Option<Healing> {
        // Older servers do not say what they are.
        let standby = self.routed.is_some_and(|need| need.target == Target::Standby)
            && server.reported("in_hot_standby") != Some("off");
        if !standby || self.status != TransactionStatus::Idle || self.may_have_begun {
            return None;
        }
        // What asked for a standby is meant to be refused there.
        let proven = self.routed.is_some_and(|need| need.reason == Reason::PlainRead);
        let healing = cause(fields).filter(|_| proven)?;
        (!self.reads_only() || !healing.is_lasting()).then_some(healing)
    }

    /// Notes what failed, for the catalog to learn.
    pub(super) fn learn(&mut self, healing: Healing, shape: Option<Shape>) {
        if healing.is_lasting() {
            self.learned = shape;
        }
    }

    /// Takes the shape that a standby has refused, for [`Catalog::learn`](crate::sql::Catalog::learn).
    pub fn take_learned(&mut self) -> Option<Shape> {
        self.learned.take()
    }
}

/// Only the primary's own errors are left. Codes and names of routines are the same in every language.
fn cause(fields: &ErrorFields<'_>) -> Option<Healing> {
    match (fields.code?, fields.routine) {
        (SqlState::READ_ONLY_SQL_TRANSACTION, _) => Some(Healing::Writes),
        // "cannot access temporary or unlogged relations during recovery"
        (SqlState::FEATURE_NOT_SUPPORTED, b"get_relation_info") => Some(Healing::Unlogged),
        // "cannot use serializable mode in a hot standby"
        (SqlState::FEATURE_NOT_SUPPORTED, b"GetSerializableTransactionSnapshot") => {
            Some(Healing::Serializable)
        }
        (SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED, _) => Some(Healing::Conflict),
        _ => None,
    }
}

/// Reads a boolean setting as PostgreSQL does, as far as "no" goes.
pub(super) fn is_off(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value == "0"
        || value == "off"
        || value == "of"
        || ["false", "no"].iter().any(|no| no.starts_with(&*value))
}
