//! Finds the node for a client's request: one that is fresh enough, waiting for it as the session's settings say.

use std::time::{Duration, Instant};

use super::client::{ClientTask, End};
use super::freshness::{Hope, Look, Moves, Must, Outcome, Search, Wished, judge_wished, present};
use super::place::{OutOfReach, Placed};
use super::positions::Demand;
use crate::pg::SqlState;
use crate::pool::Server;
use crate::routing::{Consistency, Need, NoNode, OnStale, Reason, Target, Ticket, Token, later};
use crate::session::PoolMode;
use crate::topology::{NodeView, Snapshot};
use crate::wire::error_response::PgError;

/// How long a read waits for a standby that is about to show what it must see, before the primary is asked instead. A
/// healthy standby needs a millisecond or two.
const GRACE: Duration = Duration::from_millis(50);

/// Of the times that a session looks at other standbys, one in so many it chooses as if it had read on none: a standby
/// that is back gets its share of long sessions within a second or two.
const ANEW_ONE_IN: u8 = 8;

/// How long a read waits for answers that say whether there is such a standby. A healthy server gives them at once, and a
/// busy machine should not send its reads to the primary for that.
const UNKNOWN_LIMIT: Duration = Duration::from_millis(500);

/// How long SHOW bellwether.token waits for the position it tells.
const TOKEN_LIMIT: Duration = Duration::from_secs(5);

/// What came of looking for a node.
pub(super) enum Sought {
    /// This one.
    Node(Placed),
    /// There is none now.
    None,
    /// It is for a standby, none serves reads, and the primary must not.
    NoStandby,
    /// The request fails with this.
    Refused(PgError),
}

/// What one look came to.
enum Found {
    Node(Placed, Must),
    None,
    NoStandby,
    Refused(PgError),
    /// No node will do as far as known, but one may turn out to.
    Wait(Must),
    /// None will, in any time worth waiting.
    Stale(Must),
}

impl ClientTask {
    /// Finds a node for `need`, with `avoid` left out.
    pub(super) async fn seek(
        &mut self,
        need: Need,
        avoid: OutOfReach,
        search: &mut Search,
    ) -> Result<Sought, End> {
        match self.seek_at_once(need, avoid, search) {
            Some(sought) => Ok(sought),
            // Only who waits listens: that takes a lock.
            None => self.seek_patiently(need, avoid, search).await,
        }
    }

    /// Finds one by what is known; `None` when something must be waited for.
    pub(super) fn seek_at_once(
        &mut self,
        need: Need,
        avoid: OutOfReach,
        search: &mut Search,
    ) -> Option<Sought> {
        if need.reason == Reason::OwnAnswer || self.reads.is_free(self.session.wishes()) {
            return Some(match self.place(need, avoid, search.now) {
                Ok(placed) => Sought::Node(placed),
                Err(NoNode::NoPrimary) => Sought::None,
                Err(NoNode::NoStandby) => Sought::NoStandby,
            });
        }
        match self.look(need, avoid, search) {
            Found::Wait(_) => None,
            found => Some(self.conclude(found, need, search)),
        }
    }

    async fn seek_patiently(
        &mut self,
        need: Need,
        avoid: OutOfReach,
        search: &mut Search,
    ) -> Result<Sought, End> {
        let worker = self.worker.clone();
        let mut topology = worker.shared.topology.changes.clone();
        let came = Instant::now();
        loop {
            let heard = worker.shared.positions.changed().notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            topology.mark_unchanged();
            search.now = Instant::now();
            let must = match self.look(need, avoid, search) {
                Found::Wait(must) => must,
                found => return Ok(self.conclude(found, need, search)),
            };
            let left = self.time_left(need, search, came);
            if left.is_zero() {
                return Ok(self.waited_in_vain(need, avoid, must, search));
            }
            search.waited = true;
            tokio::select! {
                biased;
                () = &mut heard => {}
                Ok(()) = topology.changed() => {}
                () = tokio::time::sleep(left) => {}
                () = self.relay.client_gone(&worker.spare) => return Err(End::Gone),
            }
        }
    }

    /// Makes of what was found what the request is to do.
    fn conclude(&mut self, found: Found, need: Need, search: &mut Search) -> Sought {
        match found {
            Found::Node(placed, must) => {
                let found = if search.waited { Outcome::Waited } else { Outcome::Fresh };
                search.outcome = must.asks().then_some(found);
                Sought::Node(placed)
            }
            Found::Refused(error) => Sought::Refused(error),
            Found::None => Sought::None,
            Found::NoStandby => Sought::NoStandby,
            Found::Wait(must) | Found::Stale(must) => self.stale(need, must, search),
        }
    }

    /// Looks once: at what must be seen, then at the nodes.
    fn look(&mut self, need: Need, avoid: OutOfReach, search: &mut Search) -> Found {
        let worker = self.worker.clone();
        let wishes = *self.session.wishes();
        let (snapshot, positions) = (worker.shared.snapshot(), &worker.shared.positions);
        let Some(present) = present(&snapshot) else { return Found::None };
        search.needs_history = false;
        match self.reads.carry_over(present, &snapshot, positions) {
            Some(None) => {}
            Some(Some(notice)) => {
                self.count(Outcome::LostWrite);
                tracing::warn!(event = "write.lost", pid = self.client.pid, notice = notice.message);
                notice.write_notice(self.relay.to_client.write(&[]));
            }
            None => {
                search.needs_history = true;
                return Found::Wait(Must::default());
            }
        }
        let mut only_primary = need.target == Target::Primary;
        let wished = match judge_wished(wishes.token, present, &snapshot, positions) {
            Wished::See(wished) => wished,
            Wished::PrimaryOnly => {
                only_primary = true;
                None
            }
            Wished::Wait => {
                search.needs_history = true;
                return Found::Wait(Must::default());
            }
            Wished::Refused(error) => {
                if error.code == SqlState::LOST_WRITE {
                    self.count(Outcome::LostWrite);
                }
                return Found::Refused(error);
            }
        };
        if only_primary {
            let primary = Need { target: Target::Primary, ..need };
            return match self.place(primary, avoid, search.now) {
                Ok(placed) => Found::Node(placed, Must::default()),
                Err(_) => Found::None,
            };
        }
        match self.reads.look(search, &wishes, wished, &snapshot, positions) {
            Look::Ready(must) => self.choose_fresh(need, avoid, must, search),
            Look::Wait => Found::Wait(Must::default()),
        }
    }

    /// Chooses among the standbys that show what `must` be seen.
    fn choose_fresh(&mut self, need: Need, avoid: OutOfReach, must: Must, search: &mut Search) -> Found {
        let worker = self.worker.clone();
        let (positions, now) = (&worker.shared.positions, search.now);
        if let Some(home) = must.home()
            && self.reads.reconsiders(now)
        {
            let anew = fastrand::u8(..ANEW_ONE_IN) == 0;
            let stay = self.reads.home.filter(|_| !anew);
            let elsewhere = self.place_if(need, avoid, stay, now, |view, snapshot| {
                let met = must.is_met_by(view.node.id, snapshot, positions, now);
                if !met {
                    // Nobody may have asked it since it came back: while nothing is written, nobody else will.
                    positions.want(view.node.id, Demand::Soon);
                }
                met
            });
            if elsewhere.is_ok_and(|placed| !placed.is_primary && placed.node != home) {
                search.moves = Moves::IfItCan;
                return Found::Wait(must);
            }
        }
        let admit = |view: &NodeView, snapshot: &Snapshot| must.admits(view, snapshot, positions, now);
        let placed = match self.place_if(need, avoid, self.reads.home, now, admit) {
            Ok(placed) if !placed.is_primary => {
                let snapshot = worker.shared.snapshot();
                must.keep_known(placed.node, &snapshot, positions);
                return Found::Node(Placed { must, ..placed }, must);
            }
            Err(NoNode::NoStandby) => return Found::NoStandby,
            otherwise => otherwise,
        };
        let snapshot = worker.shared.snapshot();
        let readable =
            snapshot.readable_standbys().filter(|view| view.node.weight > 0 && !avoid.holds(view.node.id));
        if readable.clone().next().is_none() {
            return placed.map_or(Found::None, |placed| Found::Node(placed, Must::default()));
        }
        if must.home().is_some() && search.moves != Moves::Must {
            // The one read last serves no more, or is behind: others may do, once it is known what was read there.
            search.moves = Moves::Must;
            return Found::Wait(must);
        }
        let pursue = |view: &NodeView| must.pursue(view.node.id, &snapshot, positions, search);
        let hope = readable.map(pursue).max().unwrap_or(Hope::None);
        if hope == Hope::Behind {
            search.behind_since.get_or_insert(now);
        }
        match hope {
            Hope::None if self.on_stale(need) == OnStale::Primary => Found::Stale(must),
            _ => Found::Wait(must),
        }
    }

    /// Tells whether what was found out about the node holds for `server`.
    pub(super) fn trusts(&self, server: &Server, placed: Option<&Placed>) -> bool {
        placed.is_none_or(|placed| placed.must.trusts(server, &self.worker.shared.positions))
    }

    /// Has the node of `server` asked again, and waits for the answer. When it does not come, the node is avoided.
    pub(super) async fn await_proof(
        &mut self,
        server: &Server,
        mut avoid: OutOfReach,
        search: &mut Search,
    ) -> Result<OutOfReach, End> {
        let worker = self.worker.clone();
        let positions = &worker.shared.positions;
        let until = tokio::time::Instant::now() + UNKNOWN_LIMIT;
        // What was read here before may have been read from an earlier life of the node.
        search.moves = Moves::Must;
        loop {
            let heard = positions.changed().notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            if positions.latest(server.node).is_some_and(|sample| sample.holds_for(server.created_at)) {
                return Ok(avoid);
            }
            positions.want(server.node, Demand::Now);
            tokio::select! {
                biased;
                () = &mut heard => {}
                () = tokio::time::sleep_until(until) => {
                    avoid.add(server.node);
                    return Ok(avoid);
                }
                () = self.relay.client_gone(&worker.spare) => return Err(End::Gone),
            }
        }
    }

    /// How long the request, which has waited since `came`, may wait for what it needs to know and for a node that is
    /// fresh enough.
    fn time_left(&self, need: Need, search: &Search, came: Instant) -> Duration {
        let (now, wishes) = (search.now, self.session.wishes());
        let of = |limit: Duration, since| limit.saturating_sub(now.saturating_duration_since(since));
        let leaderless = || self.worker.shared.snapshot().primary.is_none();
        match (self.on_stale(need), search.behind_since) {
            // To go on would be to claim that nothing was lost.
            _ if search.needs_history => of(self.settings.patience, came),
            // There is nothing to turn to.
            (OnStale::Primary | OnStale::Wait, _) if leaderless() => of(self.settings.patience, came),
            (OnStale::Wait | OnStale::Error, _) => of(wishes.wait_limit, came),
            (OnStale::Primary, Some(since)) => of(GRACE, since),
            // Nobody has said that the standbys are behind: answers are on their way.
            (OnStale::Primary, None) => of(UNKNOWN_LIMIT, came),
        }
    }

    /// Returns what becomes of a read for which no standby is fresh enough.
    fn on_stale(&self, need: Need) -> OnStale {
        match need.reason {
            _ if need.target == Target::Primary => OnStale::Primary,
            // It was sent to a standby unproven, and may write.
            Reason::Hint | Reason::Setting => OnStale::Error,
            // Whoever asks for a standby rather waits for one.
            Reason::AskedRead if self.session.wishes().on_stale == OnStale::Primary => OnStale::Wait,
            _ => self.session.wishes().on_stale,
        }
    }

    /// Gives up waiting.
    fn waited_in_vain(&mut self, need: Need, avoid: OutOfReach, must: Must, search: &mut Search) -> Sought {
        if search.needs_history {
            return Sought::Refused(no_history());
        }
        if std::mem::replace(&mut search.moves, Moves::No) == Moves::IfItCan
            && let Found::Node(placed, must) = self.look(need, avoid, search)
        {
            // It stays where it is.
            return self.conclude(Found::Node(placed, must), need, search);
        }
        let worker = self.worker.clone();
        let snapshot = worker.shared.snapshot();
        let standbys = snapshot.readable_standbys().map(|view| view.node.id);
        must.note_stalled(standbys, snapshot.primary, &worker.shared.positions);
        self.stale(need, must, search)
    }

    /// Does with a read for which no standby is fresh enough as the session wishes.
    fn stale(&mut self, need: Need, must: Must, search: &mut Search) -> Sought {
        if self.on_stale(need) == OnStale::Error {
            self.count(Outcome::Error);
            return Sought::Refused(must.refusal(search.began.elapsed()));
        }
        let primary = Need { target: Target::Primary, ..need };
        match self.place(primary, OutOfReach::default(), search.now) {
            Ok(placed) => {
                search.outcome = Some(Outcome::Primary);
                Sought::Node(Placed { fallback: Some(Placed::STALE), ..placed })
            }
            Err(_) => Sought::None,
        }
    }

    /// Notes what the session saw of the node it had, when it is done there.
    pub(super) fn note_use(&mut self, checkout: &super::client::Checkout, now: Instant) {
        if !self.greeted {
            // Nothing of the client's.
            return;
        }
        let ticket = Ticket { node: checkout.node, after: now, timeline: checkout.timeline };
        if !checkout.is_primary {
            self.reads.seen.read_on(ticket);
            self.reads.shown = checkout.shown;
            return;
        }
        self.reads.seen.used_primary(ticket);
        let positions = &self.worker.shared.positions;
        let by_position = matches!(self.session.wishes().consistency, Consistency::Session);
        let splits = self.settings.split && self.session.mode() == PoolMode::Transaction;
        if by_position && splits && self.worker.shared.snapshot().nodes.len() > 1 {
            // Also one that has read on no standby yet, because none was far enough.
            let reads = self.reads.home.is_some() || checkout.need.target == Target::Standby;
            positions.want(checkout.node, if reads { Demand::Soon } else { Demand::Later });
        }
    }

    /// Returns where the session stands: whoever sees this position sees all that the session wrote and saw. `None` when
    /// it wrote and saw nothing, or when that cannot be found out in time.
    pub(super) async fn stand(&mut self) -> Result<Option<Token>, End> {
        let worker = self.worker.clone();
        let (shared, began) = (&worker.shared, Instant::now());
        let under_way =
            self.checkout.as_ref().map(|checkout| (checkout.node, checkout.is_primary, checkout.timeline));
        if let Some((node, is_primary, timeline)) = under_way {
            let ticket = Ticket { node, after: began, timeline };
            match is_primary {
                true => self.reads.seen.used_primary(ticket),
                false => {
                    self.reads.seen.read_on(ticket);
                    self.reads.shown = None;
                }
            }
        }
        loop {
            let heard = shared.positions.changed().notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            let snapshot = shared.snapshot();
            let known = self.reads.learn_read(true, &snapshot, &shared.positions)
                && self.reads.learn_written(&shared.positions);
            drop(snapshot);
            let wished = self.session.wishes().token;
            if known {
                return Ok(later(self.reads.seen.token, wished));
            }
            let left = TOKEN_LIMIT.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = &mut heard => {}
                () = tokio::time::sleep(left) => {}
                () = self.relay.client_gone(&worker.spare) => return Err(End::Gone),
            }
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.worker.metrics.freshness(outcome as usize);
    }
}

/// What a client is told whose token of an earlier timeline cannot be judged.
fn no_history() -> PgError {
    PgError::error(SqlState::CANNOT_CONNECT_NOW, "it is not known what was lost in the last promotion")
        .detail("The new primary does not tell where the timeline before ended.")
        .hint("Try again later.")
}
