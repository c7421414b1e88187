//! What one client's requests came to, in the worker's metrics.

use std::time::Instant;

use super::client::ClientTask;
use crate::session::{self, pins};
use crate::sql::{Lookups, SessionState};
use crate::telemetry::{Direction, Found, Origin};

impl ClientTask {
    pub(super) fn count_lookups(&self, prepared: Lookups) {
        let metrics = &self.worker.metrics;
        let texts = self.worker.brain().classifier.take_lookups();
        for (found, count) in [(Found::Hit, prepared.hits), (Found::Miss, prepared.misses)] {
            metrics.prepared(found, count);
        }
        for (found, count) in [(Found::Hit, texts.hits), (Found::Miss, texts.misses)] {
            metrics.classified(found, count);
        }
    }

    /// Counts a statement whose answer has ended.
    pub(super) fn count_statement(&mut self, now: Instant) {
        if let (Some(asked_at), Some(checkout)) = (self.asked_at.take(), &self.checkout) {
            let took = now.saturating_duration_since(asked_at);
            self.worker.metrics.statement(checkout.node, checkout.need.target as usize, took);
        }
    }

    pub(super) fn count_errors(&mut self) {
        for (origin, code) in self.session.take_errors() {
            let origin = match origin {
                session::Origin::Proxy => Origin::Proxy,
                session::Origin::Server => Origin::Server,
            };
            self.worker.metrics.error(origin, code);
        }
    }

    pub(super) fn count_sent(&mut self) {
        self.count_errors();
        let sent = std::mem::take(&mut self.relay.sent);
        self.worker.metrics.bytes(Direction::ToClient, sent.to_client);
        self.worker.metrics.bytes(Direction::ToServer, sent.to_server);
    }

    pub(super) fn count_pins(&mut self) {
        let pinned = self.session.pinned();
        if pinned != self.pins_counted {
            let counted = self.pins_counted;
            for (index, (pin, name)) in pins::PINS.iter().enumerate() {
                match (counted.intersects(*pin), pinned.intersects(*pin)) {
                    (false, true) => {
                        tracing::debug!(event = "session.pinned", pid = self.client.pid, reason = name);
                        self.worker.metrics.pinned(index);
                    }
                    (true, false) => self.worker.metrics.unpinned(index),
                    _ => {}
                }
            }
            self.pins_counted = pinned;
        }
    }

    pub(super) fn uncount_pins(&mut self) {
        for (index, (pin, _)) in pins::PINS.iter().enumerate() {
            if self.pins_counted.intersects(*pin) {
                self.worker.metrics.unpinned(index);
            }
        }
        self.pins_counted = SessionState::NONE;
    }
}
