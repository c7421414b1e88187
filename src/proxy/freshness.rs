//! What this session must see, as far as known, and which standbys show it by their last samples.
//!
//! A read-only session that keeps to its standby is let through by one comparison. Everything else is decided from the
//! samples in [`Positions`]; where these do not tell yet, [`Look::Wait`] says so, and what is needed has been asked for.

use std::time::{Duration, Instant};

use super::place::Reads;
use super::positions::{Demand, Positions};
use crate::pg::{SqlState, Timeline};
use crate::pool::Server;
use crate::routing::{Bounds, Carried, Consistency, Ticket, Token, Wishes, carry, later};
use crate::topology::{NodeId, NodeView, Snapshot};
use crate::wire::error_response::{PgError, Severity};

/// What came of reads that had to see something, as it is counted.
pub(super) const OUTCOMES: &[&str] = &["fresh", "waited", "primary", "error", "lost_write"];

/// Places in [`OUTCOMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A standby was known to show it.
    Fresh,
    /// A standby was seen to show it after a wait.
    Waited,
    /// The primary served the read.
    Primary,
    /// It failed.
    Error,
    /// A write that the session made, saw or named was lost in a promotion.
    LostWrite,
}

/// How often a session that reads on one standby looks whether another is better: to go there, it must learn how far the
/// first one was, which takes a round trip.
const RECONSIDER: Duration = Duration::from_millis(50);

/// What one read must see.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Must {
    token: Option<Token>,
    /// What it read last, of which the position is not known.
    home: Option<Ticket>,
    /// What was shown there.
    shown: Option<Token>,
    bounds: Option<Bounds>,
}

/// What is to be hoped for of a standby that is not known to show what must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hope {
    /// It does not answer, or does not move: nobody needs to wait for it.
    None,
    /// It was behind when it was asked, and may come up.
    Behind,
    /// It has not been asked since the request came.
    Unknown,
}

/// Whether the nodes can be chosen from.
#[derive(Debug)]
pub(super) enum Look {
    /// By this.
    Ready(Must),
    /// Not before something else is known.
    Wait,
}

/// What one request has done so far to find a node that is fresh enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// When the request came.
    pub began: Instant,
    /// The present, as of the last look.
    pub now: Instant,
    /// Whether the session leaves the standby it read on last.
    pub moves: Moves,
    /// It had to wait.
    pub waited: bool,
    /// Since when all standbys that answer are known to be behind.
    pub behind_since: Option<Instant>,
    /// It waits to learn where earlier timelines ended.
    pub needs_history: bool,
    /// What came of it, to be counted once a server is there.
    pub outcome: Option<Outcome>,
    /// A read that must see the latest commit has taken its ticket.
    latest: bool,
}

/// Whether a session leaves the standby it read on last. For that it must learn how far that one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    No,
    /// Another would be better.
    IfItCan,
    /// It does not serve any more.
    Must,
}

impl Search {
    pub(super) fn new(began: Instant) -> Self {
        Search {
            began,
            now: began,
            moves: Moves::No,
            waited: false,
            behind_since: None,
            needs_history: false,
            outcome: None,
            latest: false,
        }
    }
}

impl Must {
    /// Tells whether anything at all is asked of the nodes beyond being the one read last.
    pub(super) fn asks(&self) -> bool {
        self.token.is_some() || self.bounds.is_some()
    }

    /// Tells whether `view` may serve the read.
    pub(super) fn admits(
        &self,
        view: &NodeView,
        snapshot: &Snapshot,
        positions: &Positions,
        now: Instant,
    ) -> bool {
        let node = view.node.id;
        match self.home {
            Some(home) if home.node != node => false,
            Some(_) if self.is_shown() => true,
            _ => self.is_met_by(node, snapshot, positions, now),
        }
    }

    /// Tells whether the standby read last has shown all that must be seen. It does not go back.
    fn is_shown(&self) -> bool {
        let covers = |token: Token| {
            self.shown.is_some_and(|shown| shown.timeline == token.timeline && shown.lsn >= token.lsn)
        };
        self.home.is_some() && self.bounds.is_none() && self.token.is_none_or(covers)
    }

    /// The same, whatever was read elsewhere.
    pub(super) fn is_met_by(
        &self,
        node: NodeId,
        snapshot: &Snapshot,
        positions: &Positions,
        now: Instant,
    ) -> bool {
        let shows = |token| positions.latest(node).is_some_and(|sample| sample.shows(token));
        let within =
            |bounds| snapshot.primary.is_some_and(|primary| positions.allows(bounds, node, primary, now));
        self.token.is_none_or(shows) && self.bounds.as_ref().is_none_or(within)
    }

    /// Returns the standby read last, if that binds the session.
    pub(super) fn home(&self) -> Option<NodeId> {
        self.home.map(|home| home.node)
    }

    /// Tells whether what was found out about the node holds for this connection to it.
    pub(super) fn trusts(&self, server: &Server, positions: &Positions) -> bool {
        let sampled =
            || positions.latest(server.node).is_some_and(|sample| sample.holds_for(server.created_at));
        self.home.is_none_or(|home| server.created_at <= home.after)
            && (!self.asks() || self.is_shown() || sampled())
    }

    /// Returns the position that the read must see, if it is known.
    pub(super) fn token(&self) -> Option<Token> {
        self.token
    }

    /// Asks for what would tell whether `node` may serve the read; returns what is to be hoped for.
    pub(super) fn pursue(
        &self,
        node: NodeId,
        snapshot: &Snapshot,
        positions: &Positions,
        search: &Search,
    ) -> Hope {
        let Some(station) = positions.station(node) else { return Hope::None };
        let latest = positions.latest(node);
        if station.is_down() || latest.is_some_and(|sample| station.is_stalled(sample.at.lsn)) {
            // Its return is looked out for all the same.
            station.want(Demand::Soon);
            return Hope::None;
        }
        station.want(Demand::Now);
        if let (Some(_), Some(primary)) = (self.bounds, snapshot.primary) {
            positions.want(primary, Demand::Now);
        }
        match latest {
            Some(sample) if sample.asked_at > search.began => Hope::Behind,
            _ => Hope::Unknown,
        }
    }

    /// Sees to it that the next read like this finds what it needs to know.
    pub(super) fn keep_known(&self, node: NodeId, snapshot: &Snapshot, positions: &Positions) {
        if self.bounds.is_some() {
            snapshot.primary.into_iter().chain([node]).for_each(|node| positions.want(node, Demand::Later));
        }
    }

    /// Notes that `nodes` were waited for in vain.
    pub(super) fn note_stalled(
        &self,
        nodes: impl Iterator<Item = NodeId>,
        primary: Option<NodeId>,
        positions: &Positions,
    ) {
        if let Some(token) = self.token {
            nodes.for_each(|node| positions.note_stalled(node, token, primary));
        }
    }

    /// What a client is told whose read no standby is fresh enough for.
    pub(super) fn refusal(&self, waited: Duration) -> PgError {
        let needed = match (self.token, self.bounds) {
            (Some(token), _) => format!("It must show {token}."),
            _ => "It must be within bellwether.max_staleness_bytes and bellwether.max_staleness.".to_owned(),
        };
        PgError::error(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "no standby is fresh enough for this read")
            .detail(format!("{needed} Waited {} ms for one.", waited.as_millis()))
            .hint("Try again later, or set bellwether.on_stale to \"primary\" to have the primary serve such reads.")
    }
}

impl Reads {
    /// Tells whether nothing is asked of the node that serves the next read.
    pub(super) fn is_free(&self, wishes: &Wishes) -> bool {
        let seen = &self.seen;
        match wishes.consistency {
            Consistency::Eventual => true,
            Consistency::Session => {
                seen.token.is_none() && seen.wrote.is_none() && seen.read.is_none() && wishes.token.is_none()
            }
            Consistency::Bounded | Consistency::Strong => false,
        }
    }

    /// Finds out what a read must see, as far as the samples tell.
    pub(super) fn look(
        &mut self,
        search: &mut Search,
        wishes: &Wishes,
        wished: Option<Token>,
        snapshot: &Snapshot,
        positions: &Positions,
    ) -> Look {
        if let Consistency::Bounded = wishes.consistency {
            let bounds = Bounds { bytes: wishes.max_staleness_bytes, time: wishes.max_staleness };
            return Look::Ready(Must { token: wished, bounds: Some(bounds), ..Must::default() });
        }
        if wishes.consistency == Consistency::Strong && !search.latest {
            let Some(ticket) = ticket_of_primary(snapshot, search.began) else { return Look::Wait };
            self.seen.used_primary(ticket);
            search.latest = true;
        }
        match search.moves {
            Moves::No => {}
            Moves::IfItCan if self.cannot_learn_read(positions) => search.moves = Moves::No,
            moves => {
                // One that serves no more may never answer.
                if !self.learn_read(moves == Moves::IfItCan, snapshot, positions) {
                    return Look::Wait;
                }
            }
        }
        if !self.learn_written(positions) {
            return Look::Wait;
        }
        let token = later(self.seen.token, wished);
        Look::Ready(Must { token, home: self.seen.read, shown: self.shown, bounds: None })
    }

    /// Tells whether it is time to look at other standbys than the one read last.
    pub(super) fn reconsiders(&mut self, now: Instant) -> bool {
        let due = self.considered.is_none_or(|then| now.saturating_duration_since(then) >= RECONSIDER);
        if due {
            self.considered = Some(now);
        }
        due
    }

    /// Learns where the primary stood after the session used it; false when that is not known yet.
    pub(super) fn learn_written(&mut self, positions: &Positions) -> bool {
        let Some(ticket) = self.seen.wrote else { return true };
        match positions.written(&ticket) {
            Some(sample) => self.seen.learn_written(sample.at),
            None => positions.want(ticket.node, Demand::Now),
        }
        self.seen.wrote.is_none()
    }

    /// Learns where the standby stood after the session read there; false when that is not known yet. Of one that is not
    /// to be asked, cannot tell or has crashed since, all that is known is that the primary was no less far.
    pub(super) fn learn_read(&mut self, asks: bool, snapshot: &Snapshot, positions: &Positions) -> bool {
        let Some(ticket) = self.seen.read else { return true };
        if let Some(sample) = positions.read(&ticket) {
            self.seen.learn_read(sample.at);
            return true;
        }
        if (!asks || self.cannot_learn_read(positions))
            && let Some(ticket) = ticket_of_primary(snapshot, Instant::now())
        {
            self.seen.used_primary(ticket);
            return true;
        }
        positions.want(ticket.node, Demand::Now);
        false
    }

    /// Tells whether the standby read last does not answer, or has lived too short to know.
    fn cannot_learn_read(&self, positions: &Positions) -> bool {
        self.seen.read.is_some_and(|ticket| {
            let reborn =
                positions.latest(ticket.node).is_some_and(|sample| sample.alive_since > ticket.after);
            reborn || positions.station(ticket.node).is_none_or(|station| station.is_down())
        })
    }

    /// Carries what the session wrote and saw over to the timeline `present`; returns what the client is to be told.
    /// `None` when it is not known yet where the timelines before ended.
    pub(super) fn carry_over(
        &mut self,
        present: Timeline,
        snapshot: &Snapshot,
        positions: &Positions,
    ) -> Option<Option<PgError>> {
        let mut notice = None;
        if let Some(ticket) = self.seen.wrote.filter(|ticket| ticket.timeline.is_some_and(|on| on < present))
        {
            match positions.written(&ticket) {
                Some(sample) => self.seen.learn_written(sample.at),
                None => {
                    // The primary died before it told.
                    self.seen.wrote = ticket_of_primary(snapshot, Instant::now());
                    notice = Some(unproven(ticket.timeline.unwrap_or(present)));
                }
            }
        }
        let Some(token) = self.seen.token.filter(|token| token.timeline < present) else {
            return Some(notice);
        };
        let ancestry = match positions.ancestry(present) {
            Some(ancestry) => ancestry,
            None => {
                snapshot.primary.into_iter().for_each(|primary| positions.want(primary, Demand::Now));
                return None;
            }
        };
        match carry(token, present, ancestry.history.as_ref()) {
            Carried::Holds(token) => self.seen.token = Some(token),
            Carried::Lost { kept } => {
                self.seen.token = kept.map(|lsn| Token { timeline: present, lsn });
                notice = Some(lost(token, kept, present));
            }
            Carried::Unknown => {
                // Nothing is claimed of what was written: from here on the new primary is what was seen.
                self.seen.token = None;
                self.seen.wrote = self.seen.wrote.or(ticket_of_primary(snapshot, Instant::now()));
            }
            Carried::Ahead => {}
        }
        Some(notice)
    }
}

/// What a token that the client set comes to at present.
pub(super) enum Wished {
    /// This must be seen; `None` when there is none, or only the primary will do.
    See(Option<Token>),
    /// Only the primary is sure to show it.
    PrimaryOnly,
    /// It is not known yet where earlier timelines ended.
    Wait,
    /// It cannot be seen.
    Refused(PgError),
}

/// Judges the token that the client set.
pub(super) fn judge_wished(
    token: Option<Token>,
    present: Timeline,
    snapshot: &Snapshot,
    positions: &Positions,
) -> Wished {
    let Some(token) = token.filter(|token| token.timeline != present) else { return Wished::See(token) };
    let ancestry = positions.ancestry(present);
    match carry(token, present, ancestry.as_ref().and_then(|known| known.history.as_ref())) {
        Carried::Holds(token) => Wished::See(Some(token)),
        Carried::Lost { kept } => {
            Wished::Refused(PgError { severity: Severity::Error, ..lost(token, kept, present) })
        }
        Carried::Unknown if ancestry.is_some() => Wished::PrimaryOnly,
        Carried::Unknown => {
            snapshot.primary.into_iter().for_each(|primary| positions.want(primary, Demand::Now));
            Wished::Wait
        }
        Carried::Ahead => Wished::Refused(
            PgError::error(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("token {token} is of a timeline that is not known here"),
            )
            .detail(format!("The primary is on timeline {present}."))
            .hint("Try again later: whoever gave the token may have heard of a promotion first."),
        ),
    }
}

/// Returns a ticket for where the primary stands after `after`; `None` while there is no primary.
pub(super) fn ticket_of_primary(snapshot: &Snapshot, after: Instant) -> Option<Ticket> {
    let view = snapshot.primary()?;
    Some(Ticket { node: view.node.id, after, timeline: view.timeline })
}

/// Returns the timeline that positions are compared on: the primary's, else that of the standbys that serve reads.
pub(super) fn present(snapshot: &Snapshot) -> Option<Timeline> {
    let primary = snapshot.primary().and_then(|view| view.timeline);
    primary.or_else(|| snapshot.readable_standbys().filter_map(|view| view.timeline).max())
}

/// Names a lost write.
fn lost(token: Token, kept: Option<crate::pg::Lsn>, present: Timeline) -> PgError {
    let of = token.timeline;
    let kept = match kept {
        Some(kept) => {
            format!("Of timeline {of} everything up to {kept} was kept when timeline {present} began.")
        }
        None => format!("Timeline {present} did not grow out of timeline {of}."),
    };
    let error =
        PgError::error(SqlState::LOST_WRITE, format!("what was written up to {token} is lost in part"));
    PgError { severity: Severity::Warning, ..error }
        .detail(kept)
        .hint("A promotion left it behind. Check what you wrote last; a token set with bellwether.token can be RESET.")
}

/// Says that nothing can be said of a write.
fn unproven(timeline: Timeline) -> PgError {
    let message = format!("what this session last did on timeline {timeline} may be lost");
    PgError { severity: Severity::Warning, ..PgError::error(SqlState::LOST_WRITE, message) }
        .detail("The primary died right after, before it could be asked how far it had written.")
        .hint("Check what you wrote last.")
}
