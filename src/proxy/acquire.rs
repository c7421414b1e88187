//! Getting a server for a client's request: choose the node, check out, and wait where waiting helps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Checkout, ClientTask, End};
use super::freshness::Search;
use super::place::{OutOfReach, Placed, no_standby};
use super::seek::Sought;
use super::state::Trouble;
use crate::pg::SqlState;
use crate::pool::{CheckoutError, Patience, Pool, Server};
use crate::routing::{Need, Reason};
use crate::sql::NeedsPrimary;
use crate::telemetry::{HoldEnd, NoServer, Origin};
use crate::topology::{NodeId, Snapshot};
use crate::wire::error_response::PgError;

/// What came of waiting.
enum Waited {
    Server(Result<Box<Server>, CheckoutError>),
    TopologyChanged,
    TooLong,
}

impl ClientTask {
    /// Gets a server for `need` and attaches it. A request that gets none is answered with an error, and the session
    /// goes on.
    pub(super) async fn acquire(&mut self, need: Need) -> Result<(), End> {
        let mut search = Search::new(Instant::now());
        match self.take_at_once(need, &mut search) {
            Ok(()) => self.relay.push_to_server(0).await.or_else(|_| self.lost()),
            // Boxed, as what else is seldom waited for: idle clients should not keep room for it.
            Err(first) => Box::pin(self.acquire_in_time(need, first, search)).await,
        }
    }

    /// Takes and attaches a server that needs no waiting for, as nearly always. Else says what came of looking for a
    /// node, unless that is to be done again.
    fn take_at_once(&mut self, need: Need, search: &mut Search) -> Result<(), Option<Box<Sought>>> {
        let placed = match self.seek_at_once(need, self.out_of_reach(), search) {
            Some(Sought::Node(placed)) => placed,
            other => return Err(other.map(Box::new)),
        };
        let leader = if placed.is_primary { self.leader(placed.node) } else { Ok(None) };
        let Ok(leader) = leader else { return Err(Some(Box::new(Sought::Node(placed)))) };
        let pool = self.pool(placed.node);
        let server = self.where_it_wrote(&pool, need).or_else(|| pool.try_checkout(self.worker.home));
        let Some(server) = server else { return Err(Some(Box::new(Sought::Node(placed)))) };
        let term = leader.map(|leader| leader.lead.term);
        let sound = self.trusts(&server, Some(&placed)) && fits(&server, placed.is_primary);
        if !sound || !term.is_none_or(|term| server.verified == term && self.underway.begin(term)) {
            server.release();
            return Err(Some(Box::new(Sought::Node(placed))));
        }
        search.outcome.into_iter().for_each(|outcome| self.count(outcome));
        self.attach(server, need, Some(placed), term, (search.began, search.now));
        Ok(())
    }

    async fn acquire_in_time(
        &mut self,
        need: Need,
        mut first: Option<Box<Sought>>,
        mut search: Search,
    ) -> Result<(), End> {
        let began = search.began;
        let mut avoid = self.out_of_reach();
        let mut hold = None;
        loop {
            let sought = match first.take() {
                Some(sought) => *sought,
                None => self.seek(need, avoid, &mut search).await?,
            };
            let placed = match sought {
                Sought::Node(placed) => Some(placed),
                Sought::None => None,
                Sought::NoStandby => {
                    self.worker.metrics.not_checked_out(NoServer::NoStandby);
                    return self.refuse(&no_standby());
                }
                Sought::Refused(error) => return self.refuse(&error),
            };
            let is_primary = placed.as_ref().is_some_and(|placed| placed.is_primary);
            let leader = match &placed {
                Some(placed) if placed.is_primary => self.leader(placed.node),
                _ => Ok(None),
            };
            let without_leave = leader.is_err();
            if placed.is_none() || without_leave {
                hold.get_or_insert_with(|| self.worker.metrics.hold());
            }
            // Nothing may go to a primary that has no leave, though it is there.
            let pool = placed.as_ref().filter(|_| leader.is_ok()).map(|placed| self.pool(placed.node));
            let server = pool.as_ref().and_then(|pool| {
                self.where_it_wrote(pool, need).or_else(|| pool.try_checkout(self.worker.home))
            });
            let waited = match server {
                Some(server) => Waited::Server(Ok(server)),
                None => {
                    let patience = if is_primary { Patience::Wait } else { Patience::FailFast };
                    let pool = pool.as_ref().map(|pool| (pool, patience));
                    self.wait_for_server(pool, began).await?
                }
            };
            match waited {
                Waited::Server(Ok(server)) if !self.trusts(&server, placed.as_ref()) => {
                    // It was opened after the node was asked; the answer to the next question holds for it.
                    avoid = self.await_proof(&server, avoid, &mut search).await?;
                    server.release();
                }
                Waited::Server(Ok(server)) if fits(&server, is_primary) => {
                    let (server, term) = match leader.ok().flatten() {
                        None => (server, None),
                        Some(leader) => match self.admit(server, &leader).await {
                            Some((server, term)) => (server, Some(term)),
                            None => continue,
                        },
                    };
                    search.outcome.into_iter().for_each(|outcome| self.count(outcome));
                    if let Some(hold) = hold {
                        hold.end(HoldEnd::Released);
                    }
                    self.attach(server, need, placed, term, (began, Instant::now()));
                    return self.relay.push_to_server(0).await.or_else(|_| self.lost());
                }
                Waited::Server(Ok(server)) => self.not_primary(server).await,
                Waited::Server(Err(error)) if is_primary => {
                    self.worker.metrics.not_checked_out(match error {
                        CheckoutError::Timeout { .. } => NoServer::Timeout,
                        CheckoutError::Connect(_) => NoServer::Connect,
                    });
                    return self.no_server(error.to_pg_error(), &error).await;
                }
                Waited::Server(Err(error)) => {
                    // The standby is out of reach: what it could do, another can, or the primary.
                    tracing::debug!(event = "read.moved", %error);
                    let Some(Placed { node, .. }) = placed else { continue };
                    match error {
                        CheckoutError::Connect(_) => {
                            self.worker.shared.report(Trouble::Unreachable(node));
                            avoid.add(node);
                        }
                        // Another standby would be waited for as long.
                        CheckoutError::Timeout { .. } => avoid = OutOfReach::ALL,
                    }
                }
                Waited::TopologyChanged => {}
                Waited::TooLong => {
                    self.worker.metrics.not_checked_out(NoServer::NoPrimary);
                    if let Some(hold) = hold {
                        hold.end(HoldEnd::Expired);
                    }
                    return self.refuse(&no_primary(began.elapsed(), without_leave));
                }
            }
        }
    }

    /// Takes the server this session wrote on last, where `need` may be a question about what it did there.
    fn where_it_wrote(&self, pool: &Arc<Pool>, need: Need) -> Option<Box<Server>> {
        if need.reason != Reason::Statement(NeedsPrimary::Function) {
            return None;
        }
        let place = self.session.sequence_home()?;
        pool.try_checkout_this(|server| server.state.is_at(place))
    }

    /// Waits for a server of `pool`, or for a change of the topology that may bring another.
    async fn wait_for_server(
        &mut self,
        pool: Option<(&Arc<Pool>, Patience)>,
        began: Instant,
    ) -> Result<Waited, End> {
        let worker = self.worker.clone();
        let mut changes = worker.shared.topology.changes.clone();
        changes.mark_unchanged();
        let mut turns = worker.shared.gate().turns();
        turns.mark_unchanged();
        let seen = worker.shared.snapshot().version;
        // What came between choosing the node and listening for changes must not be missed.
        if let Some((pool, _)) = pool
            && !still_fits(&worker.shared.snapshot(), pool.node())
        {
            return Ok(Waited::TopologyChanged);
        }
        let patience = self.patience(began);
        let checkout = async {
            match pool {
                Some((pool, patience)) => pool.checkout(worker.home, patience).await,
                None => std::future::pending().await,
            }
        };
        let moved = async {
            loop {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let snapshot = worker.shared.snapshot();
                let stays = pool.is_some_and(|(pool, _)| still_fits(&snapshot, pool.node()));
                if !stays && snapshot.version != seen {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            server = checkout => Ok(Waited::Server(server)),
            () = moved => Ok(Waited::TopologyChanged),
            Ok(()) = turns.changed() => Ok(Waited::TopologyChanged),
            () = self.relay.client_gone(&worker.spare) => Err(End::Gone),
            () = tokio::time::sleep(patience), if pool.is_none() => Ok(Waited::TooLong),
        }
    }

    fn attach(
        &mut self,
        mut server: Box<Server>,
        need: Need,
        placed: Option<Placed>,
        term: Option<u64>,
        (began, now): (Instant, Instant),
    ) {
        let metrics = &self.worker.metrics;
        let route = need.target as usize;
        metrics.checked_out(route, now.saturating_duration_since(began));
        metrics.routed(route, need.reason.index());
        self.asked_at.get_or_insert(began);
        if let Some(fallback) = placed.as_ref().and_then(|placed| placed.fallback) {
            metrics.fell_back(fallback);
        }
        // It counted for the read that is run again, which has its server now.
        self.reads.lost = None;
        if placed.as_ref().is_some_and(|placed| !placed.is_primary) {
            self.reads.home = Some((server.node, now));
        }
        self.checkout = Some(Checkout {
            node: server.node,
            is_primary: placed.as_ref().is_none_or(|placed| placed.is_primary),
            timeline: placed.as_ref().and_then(|placed| placed.timeline),
            shown: placed.as_ref().and_then(|placed| placed.must.token()),
            need,
            term,
            attached: now,
            _in_flight: placed.map(|placed| placed.in_flight),
        });
        self.client.attach(server.cancel.clone());
        // Those who were attached when the node fell silent have been told.
        if self.worker.shared.snapshot().has_fallen_silent(server.node) {
            self.client.give_up_server(|_| true);
        }
        self.session.attach(&mut server.state, &mut self.relay.to_server);
        if self.session.is_busy() {
            metrics.settings_synced();
        }
        self.relay.server = Some(server);
    }

    /// A server of the node we take for the primary said it was a standby when it was connected. After a promotion
    /// that is old news; if new connections say so too, the topology is.
    async fn not_primary(&mut self, server: Box<Server>) {
        let node = server.node;
        let age = server.created_at.elapsed();
        let pool = server.pool().cloned();
        server.close();
        if let Some(pool) = pool {
            pool.retire_all();
        }
        self.worker.shared.report(Trouble::NotPrimary(node));
        if age < RECENT {
            let mut changes = self.worker.shared.topology.changes.clone();
            let _ = tokio::time::timeout(RECENT, changes.changed()).await;
        }
    }

    async fn no_server(&mut self, told: PgError, error: &CheckoutError) -> Result<(), End> {
        if let CheckoutError::Connect(cause) = error
            && cause.is_permanent()
        {
            return Err(End::Told(told));
        }
        self.refuse(&PgError { severity: crate::wire::error_response::Severity::Error, ..told })
    }

    fn refuse(&mut self, error: &PgError) -> Result<(), End> {
        if !self.greeted {
            return Err(End::Told(error.clone()));
        }
        self.worker.metrics.error(Origin::Proxy, error.code);
        let relay = &mut self.relay;
        let dealt_with = self.session.refuse_request(relay.from_client.filled(), error, &mut relay.to_client);
        relay.from_client.consume(dealt_with);
        Ok(())
    }

    fn lost(&mut self) -> Result<(), End> {
        // Nothing of the client's was sent, so the next turn asks for another server.
        Ok(())
    }

    fn pool(&mut self, node: NodeId) -> Arc<Pool> {
        let place = usize::from(node.0);
        if self.pools.len() <= place {
            self.pools.resize(place + 1, None);
        }
        let registry = &self.worker.shared.registry;
        self.pools[place].get_or_insert_with(|| registry.pool(node, &self.identity)).clone()
    }
}

/// What a request is told that waited in vain: for somebody to lead, or `without_leave` to talk to whoever does.
fn no_primary(waited: Duration, without_leave: bool) -> PgError {
    let waited = waited.as_secs();
    let (detail, hint) = match without_leave {
        true => (
            format!(
                "Waited {waited} s: there is one, but etcd gives this proxy no permission to talk to it."
            ),
            "Reads go on where a standby serves them. Writes go on by themselves once etcd answers.",
        ),
        false => (
            format!("Waited {waited} s for one."),
            "Reads go on where a standby serves them. Try again later.",
        ),
    };
    PgError::error(SqlState::CANNOT_CONNECT_NOW, "no primary is available").detail(detail).hint(hint)
}

/// A connection younger than this speaks of the present.
const RECENT: Duration = Duration::from_millis(250);

fn fits(server: &Server, is_primary: bool) -> bool {
    !is_primary || server.in_hot_standby() != Some(true)
}

fn still_fits(snapshot: &Snapshot, node: NodeId) -> bool {
    snapshot.primary == Some(node) || snapshot.node(node).is_some_and(|view| view.serves_reads)
}
