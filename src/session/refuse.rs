//! Requests that fail before any server saw them.

use std::sync::Arc;

use super::frontend::next_message;
use super::machine::{PoolMode, Session};
use super::outbox::Outbox;
use super::parameters::Settings;
use super::reported::Reported;
use super::server::ServerState;
use crate::wire::error_response::PgError;
use crate::wire::frontend::tag;
use crate::wire::write;

impl Session {
    /// Answers the request at the start of `input`, for which there is no server, with `error`; returns how many bytes
    /// of input that takes. The session goes on: of an extended-protocol group, everything up to Sync is passed over.
    pub fn refuse_request(&mut self, input: &[u8], error: &PgError, to_client: &mut Outbox) -> usize {
        debug_assert!(!self.attached);
        error.write(to_client.write(&[]));
        self.fail_held();
        let Ok(Some((head, end))) = next_message(input, 0) else { return 0 };
        if !matches!(head.tag, tag::QUERY | tag::FUNCTION_CALL) {
            self.skipping = true;
            return 0;
        }
        write::ready_for_query(to_client.write(&[]), self.status.byte());
        self.discarding = true;
        self.passing = head.total - end;
        end
    }

    /// Takes over what the endpoint reports to a client with this session's settings.
    pub fn greet(&mut self, told: Reported) {
        self.told = told;
        self.settings_changed();
    }

    /// Tells when the session gives its server back.
    pub fn mode(&self) -> PoolMode {
        self.mode
    }

    /// Tells whether something of our own runs on the server.
    pub fn is_busy(&self) -> bool {
        self.busy
    }
}

impl ServerState {
    /// Returns the SQL that takes the server back to how it was after connecting, if its settings differ.
    pub fn reset_sql(&mut self) -> Option<String> {
        self.sync_sql(&Settings::default(), &Arc::default())
    }

    /// Notes that this was done.
    pub fn note_reset(&mut self) {
        self.applied = std::sync::Arc::default();
    }
}
