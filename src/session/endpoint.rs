//! What a client sees as one server: the endpoint that is the primary to it, or the read-only one, a standby.

use std::sync::Arc;

use super::frontend::Turn;
use super::heal::is_off;
use super::machine::Session;
use super::outbox::Outbox;
use super::server::ServerState;
use crate::pg::SqlState;
use crate::routing::{Asked, Reason, Target};
use crate::sql::{Classified, Effects, Hint, SettingChange, Transaction};
use crate::wire::error_response::{ErrorFields, PgError};
use crate::wire::write;

const VERSION: &str = "server_version";

impl Session {
    /// Makes it a session of the read-only endpoint. `elsewhere` is the hint that goes with refused writes: where they
    /// can be sent.
    pub fn for_reads(mut self, elsewhere: Arc<str>) -> Self {
        self.reads_elsewhere = Some(elsewhere);
        self
    }

    /// Returns what is asked of routing for a text with this hint, besides the proof.
    pub(super) fn asked(&self, hint: Option<Hint>) -> Option<Asked> {
        match self.reads_elsewhere {
            Some(_) => Some(Asked { target: Target::Standby, by: Reason::Endpoint }),
            None => Asked::new(hint, self.wishes().route),
        }
    }

    /// Tells whether the session is of the read-only endpoint.
    pub(super) fn is_for_reads(&self) -> bool {
        self.reads_elsewhere.is_some()
    }

    /// Tells whether the session keeps to standbys, as far as there are any.
    pub fn wants_standby(&self) -> bool {
        self.asked(None).is_some_and(|asked| asked.target == Target::Standby)
    }

    /// Notes that the primary has another version than the client was told, as it may after a failover. What a standby
    /// says of itself is of no interest: all nodes are one server.
    pub(super) fn note_version(&mut self, server: &ServerState) {
        let version = server.reported(VERSION).filter(|_| server.reported("in_hot_standby") != Some("on"));
        let told = self.told.get(VERSION);
        self.new_version = version.filter(|version| told.is_some_and(|told| told != *version)).map(Box::from);
    }

    /// Tells the client of the primary's new version, if there is one.
    pub(super) fn tell_version(&mut self, to_client: &mut Outbox) {
        if let Some(version) = self.new_version.take() {
            write::parameter_status(to_client.write(&[]), VERSION.as_bytes(), version.as_bytes());
            self.told.set(VERSION, &version);
        }
    }

    /// Returns why `class` is refused on the read-only endpoint, if it is: where the primary serves for want of a standby,
    /// it would allow writes.
    pub(super) fn allows_writes(&self, class: &Classified) -> Option<PgError> {
        let elsewhere = self.reads_elsewhere.as_ref()?;
        let by_default = |change: &SettingChange| match change {
            SettingChange::Set { name, value, .. } => {
                &**name == "default_transaction_read_only" && is_off(value)
            }
            _ => false,
        };
        let allows = |effects: &Effects| {
            let modes = match effects.transaction {
                Some(Transaction::Begin { modes, .. }) => Some(modes),
                _ => effects.modes,
            };
            modes.is_some_and(|modes| modes.read_only == Some(false))
                || effects.settings.iter().any(by_default)
        };
        class.statements.iter().any(allows).then(|| {
            let message = "cannot set transaction read-write mode on a read-only endpoint";
            PgError::error(SqlState::READ_ONLY_SQL_TRANSACTION, message).hint(&**elsewhere)
        })
    }

    /// Returns the hint that is added to a server's error, if one is.
    pub(super) fn hint_for(&self, fields: &ErrorFields<'_>) -> Option<Arc<str>> {
        let writes = fields.code == Some(SqlState::READ_ONLY_SQL_TRANSACTION) && fields.hint.is_empty();
        self.reads_elsewhere.clone().filter(|_| writes)
    }

    /// Refuses the Query or FunctionCall of `turn` if it cannot be run where the session is; tells whether it did.
    pub(super) fn refuses_round(&mut self, class: &Classified, turn: &mut Turn<'_, '_>) -> bool {
        let error = self.allows_writes(class).or_else(|| self.unfit(class, turn));
        let refused = error.is_some();
        if let Some(error) = error {
            self.refuse_round(turn, error);
        }
        refused
    }
}
