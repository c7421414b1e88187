//! What the gate to the primary means for one client: it waits, goes on, or loses its server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::{AskError, ask};
use super::client::{ClientTask, End};
use super::gate::Leader;
use crate::pg::SqlState;
use crate::pool::Server;
use crate::telemetry::{Hold, HoldEnd};
use crate::topology::NodeId;
use crate::wire::error_response::PgError;

/// How long a new connection may take to show that it is to the primary.
const VERIFIED_WITHIN: Duration = Duration::from_secs(2);

/// Nothing may go to the primary now.
pub(super) struct MustWait;

impl ClientTask {
    /// Waits until the client's next bytes may go to the server it has; false when there is none any more.
    ///
    /// A session that keeps its server is held here between its transactions, as others are before they get one.
    pub(super) async fn may_go_on(&mut self) -> Result<bool, End> {
        let Some(term) = self.term() else { return Ok(true) };
        if self.underway.gate().passes(term) && self.underway.begin(term) {
            return Ok(true);
        }
        Box::pin(self.held(term)).await
    }

    async fn held(&mut self, term: u64) -> Result<bool, End> {
        let mut hold = None;
        loop {
            let gate = self.underway.gate().clone();
            let mut turns = gate.turns();
            turns.mark_unchanged();
            if !gate.passes(term) {
                self.permission_lost()?;
                return Ok(false);
            }
            if self.underway.begin(term) {
                if let Some(hold) = hold {
                    Hold::end(hold, HoldEnd::Released);
                }
                return Ok(true);
            }
            let worker = self.worker.clone();
            hold.get_or_insert_with(|| worker.metrics.hold());
            tokio::select! {
                biased;
                _ = turns.changed() => {}
                () = self.relay.client_gone(&worker.spare) => return Err(End::Gone),
                // A permission may run out while nobody is there to turn the gate.
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Whether what the server sent may go to the client (rule P3).
    pub(super) fn may_deliver(&self) -> bool {
        self.term().is_none_or(|term| self.underway.gate().passes(term))
    }

    fn term(&self) -> Option<u64> {
        self.checkout.as_ref().and_then(|checkout| checkout.term)
    }

    /// The server is no longer one to talk to: what it says now counts for nothing.
    pub(super) fn permission_lost(&mut self) -> Result<(), End> {
        tracing::debug!(event = "permission.lost", pid = self.client.pid);
        // What the client has not taken yet came under a permission that is over.
        if !self.relay.to_client.is_empty() {
            return Err(End::Gone);
        }
        self.server_lost(None)
    }

    /// Who leads, if `node` may be talked to as the primary now; `Ok(None)` where no gate watches over that.
    pub(super) fn leader(&self, node: NodeId) -> Result<Option<Arc<Leader>>, MustWait> {
        let gate = self.underway.gate();
        if !gate.is_guarded() {
            return Ok(None);
        }
        gate.leader().filter(|leader| leader.node == node).map(Some).ok_or(MustWait)
    }

    /// Makes sure that `server` is what the term says, and counts the client as at work there. `None` when it was given
    /// back or closed, because nothing may go there now or because it is another.
    pub(super) async fn admit(
        &mut self,
        mut server: Box<Server>,
        leader: &Leader,
    ) -> Option<(Box<Server>, u64)> {
        let term = leader.lead.term;
        if server.verified != term {
            if let Err(why) = Box::pin(verify(&mut server, leader)).await {
                tracing::warn!(event = "primary.not_verified", node = server.node.0, term, "{why}");
                server.close();
                tokio::time::sleep(AFTER_A_STRANGER).await;
                return None;
            }
            server.verified = term;
        }
        if self.underway.begin(term) {
            return Some((server, term));
        }
        server.release();
        None
    }

    /// How long a request that began to wait at `began` may go on waiting, for a server or for a primary.
    pub(super) fn patience(&self, began: Instant) -> Duration {
        let whole = self.settings.patience;
        let whole = if self.underway.gate().is_guarded() { whole.min(self.settings.hold) } else { whole };
        whole.saturating_sub(began.elapsed())
    }
}

/// How often a session that is held looks whether its permission is over.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Pause after a connection to the wrong server, so that nobody connects without end.
const AFTER_A_STRANGER: Duration = Duration::from_millis(50);

/// One row, whatever the role's rights: names are qualified, as a role's search_path may hold others.
const IDENTITY: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), c.system_identifier,
  CASE WHEN NOT pg_catalog.pg_is_in_recovery()
    THEN pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) END,
  (pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8
FROM pg_catalog.pg_control_system() AS c";

/// Asks the server who it is (rule P2): addresses are given to other machines, and copies started where the original
/// was. The branch is known by its number here; where it forked is compared by the coordinator's probes.
async fn verify(server: &mut Server, leader: &Leader) -> Result<(), String> {
    let rows = ask(server, IDENTITY, VERIFIED_WITHIN).await.map_err(|error| match error {
        AskError::Refused(error) => format!("it does not say who it is: {error}"),
        AskError::Failed(error) => error,
    })?;
    let [row] = &rows[..] else { return Err("it does not say who it is".to_owned()) };
    let column = |index: usize| row.get(index).and_then(|value| value.as_deref());
    if column(0) != Some("f") {
        return Err("it is in recovery".to_owned());
    }
    let system = column(1).and_then(|text| text.parse::<i64>().ok()).map(i64::cast_unsigned);
    if leader.system_identifier.is_some_and(|expected| system != Some(expected)) {
        return Err(format!("it belongs to another cluster, {}", column(1).unwrap_or("unknown")));
    }
    let timeline = column(2).and_then(|text| u32::from_str_radix(text, 16).ok());
    let expected = leader.lead.lineage.last().timeline;
    if timeline != Some(expected.0) {
        return Err(format!(
            "it is on timeline {}, and the primary is on {expected}",
            column(2).unwrap_or("?")
        ));
    }
    let started = column(3).and_then(|text| text.parse::<u64>().ok());
    if leader.lead.run.is_some_and(|run| started != Some(run)) {
        return Err("it has been restarted since this term began".to_owned());
    }
    Ok(())
}

/// What is told of a request that was sent and never answered.
pub(super) fn outcome_unknown() -> PgError {
    PgError::error(SqlState::TRANSACTION_RESOLUTION_UNKNOWN, "the outcome of the statement is unknown")
        .detail("The server was lost after the statement was sent and before it was answered.")
        .hint("Look whether it has taken effect before running it again.")
}
