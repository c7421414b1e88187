//! A session takes a server, with the memory to work with, and gives it back.

use std::sync::Arc;

use super::machine::Session;
use super::outbox::Outbox;
use super::pipeline::Internal;
use super::server::ServerState;

impl Session {
    /// Takes a server: brings its settings to the session's, if they differ. The client's bytes wait meanwhile.
    pub fn attach(&mut self, server: &mut ServerState, to_server: &mut Outbox) {
        debug_assert!(!self.attached && self.pipeline.is_empty());
        self.attached = true;
        std::mem::swap(&mut self.pipeline, &mut server.workspace.pipeline);
        self.replay.borrow(&mut server.workspace.replay);
        if let Some(sql) = server.bring_to(&self.parameters, &self.identity) {
            self.ask(Internal::Settings, &sql, to_server);
        }
        self.note_version(server);
        self.fail_like_client(to_server);
        self.send_held(server, to_server);
    }

    /// Leaves the server as far as this session goes; it may serve others now.
    pub fn detach(&mut self, server: &mut ServerState) {
        self.attached = false;
        if self.pipeline.is_empty() {
            std::mem::swap(&mut self.pipeline, &mut server.workspace.pipeline);
        }
        self.replay.give_back(&mut server.workspace.replay);
        self.portals.clear();
        self.leave_sequences(&mut server.sequences);
        if std::mem::take(&mut self.ran_unseen) {
            server.unseen = Some(self.identity.clone());
        }
        if self.parting {
            server.unseen = None;
            server.sequences.clear();
            server.prepared.clear();
            server.unnamed = None;
        }
        server.placeholders.add(&self.parameters.placeholders);
        if !Arc::ptr_eq(&server.applied, self.parameters.current()) {
            server.applied = self.parameters.current().clone();
        }
    }
}
