//! What a session must see, and whether a node shows it.
//!
//! PostgreSQL tells nobody where a commit stands in WAL, so positions are asked for on the side. Each rule here errs to
//! the safe side: a position is asked for *after* what it stands for, and so is never less than that.
//!
//! | What the session did | What it must see |
//! |---|---|
//! | it used the primary (wrote, or read there) | where the primary stood at any time after |
//! | it read on a standby | the same node, or whatever shows where that node stood at any time after |
//! | the client set a token | that position |
//!
//! Positions compare within one timeline only. [`carry`] takes a token of an older one over to the present: up to the
//! point where the older one ended it means the same; what it names beyond that point is lost.

use std::time::{Duration, Instant};

use super::Token;
use crate::pg::{History, Lsn, Timeline};
use crate::topology::NodeId;

/// Where a node stood when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Before the question was sent: whatever happened earlier is in the answer.
    pub asked_at: Instant,
    /// Since when the node has lived without a crash, as far as the one who asks knows: since then it has not gone back.
    pub alive_since: Instant,
    /// Whether it took writes; a standby otherwise.
    pub is_primary: bool,
    /// The position it wrote up to, or replayed.
    pub at: Token,
}

impl Sample {
    /// Tells whether the node shows what `token` names.
    pub fn shows(&self, token: Token) -> bool {
        self.at.timeline == token.timeline && self.at.lsn >= token.lsn
    }

    /// Tells whether it holds for a server connection opened at `opened`. A standby that crashes may come back behind
    /// where it was; a connection that was there when the node was asked has not outlived a crash since.
    pub fn holds_for(&self, opened: Instant) -> bool {
        self.asked_at > opened
    }
}

/// A position that is not known yet: where `node` stood at some time after `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The node.
    pub node: NodeId,
    /// When the session was done there.
    pub after: Instant,
    /// The timeline it was on, as far as known.
    pub timeline: Option<Timeline>,
}

impl Ticket {
    /// Tells whether `sample`, of the same node as a primary, answers it. One that leads again on another timeline does
    /// not know what became of the one before.
    pub fn is_written_by(&self, sample: &Sample) -> bool {
        let same = self.timeline.is_none_or(|timeline| timeline == sample.at.timeline);
        sample.is_primary && same && sample.asked_at > self.after
    }

    /// Tells whether `sample`, of the same node, is no earlier than what was read there.
    pub fn is_read_by(&self, sample: &Sample) -> bool {
        sample.asked_at > self.after && sample.alive_since <= self.after
    }
}

/// What one session wrote and saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What is known of it.
    pub token: Option<Token>,
    /// It used the primary after that.
    pub wrote: Option<Ticket>,
    /// It read on a standby after all that.
    pub read: Option<Ticket>,
}

impl Seen {
    /// Notes that it used the primary, which shows all that any standby did.
    pub fn used_primary(&mut self, ticket: Ticket) {
        (self.wrote, self.read) = (Some(ticket), None);
    }

    /// Notes that it read on a standby.
    pub fn read_on(&mut self, ticket: Ticket) {
        self.read = Some(ticket);
    }

    /// Takes in that the position of its use of the primary is `at`.
    pub fn learn_written(&mut self, at: Token) {
        (self.token, self.wrote) = (later(self.token, Some(at)), None);
    }

    /// Takes in that what it read is no later than `at`.
    pub fn learn_read(&mut self, at: Token) {
        (self.token, self.read) = (later(self.token, Some(at)), None);
    }
}

/// Returns the later one. Of two timelines the younger counts; tokens are carried over to one before they are compared.
pub fn later(one: Option<Token>, other: Option<Token>) -> Option<Token> {
    one.into_iter().chain(other).max_by_key(|token| (token.timeline, token.lsn))
}

/// What a token means on the present timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// This.
    Holds(Token),
    /// Nothing: what it names was left behind when its timeline ended.
    Lost {
        /// The last position of its timeline that was kept; `None` when nothing of that timeline was.
        kept: Option<Lsn>,
    },
    /// Where its timeline ended is not known.
    Unknown,
    /// Its timeline is younger than the present one.
    Ahead,
}

/// Carries `token` over to the timeline `present`, by `history` if that is known.
pub fn carry(token: Token, present: Timeline, history: Option<&History>) -> Carried {
    if token.timeline == present {
        return Carried::Holds(token);
    }
    if token.timeline > present {
        return Carried::Ahead;
    }
    let Some(history) = history.filter(|history| history.timeline() == present) else {
        return Carried::Unknown;
    };
    match history.end_of(token.timeline) {
        Some(end) if token.lsn <= end => Carried::Holds(Token { timeline: present, ..token }),
        kept => Carried::Lost { kept },
    }
}

/// How stale a read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In bytes of WAL.
    pub bytes: u64,
    /// In time.
    pub time: Duration,
}

/// The primary's position is compared with while it is no older than this.
const BYTES_KNOWN_FOR: Duration = Duration::from_secs(1);

impl Bounds {
    /// Tells whether a standby that was at `standby` shows, at `now`, nothing staler than this. `primary` are samples of
    /// the primary, newest first.
    ///
    /// What a standby shows is as old as the primary's oldest write that it lacks, and younger than the newest sample of
    /// the primary that it has come up to.
    pub fn allow<'a>(
        &self,
        standby: &Sample,
        mut primary: impl Iterator<Item = &'a Sample>,
        now: Instant,
    ) -> bool {
        let age = |sample: &Sample| now.saturating_duration_since(sample.asked_at);
        let Some(newest) = primary.next().filter(|newest| newest.at.timeline == standby.at.timeline) else {
            return false;
        };
        if age(newest) > BYTES_KNOWN_FOR || newest.at.lsn.bytes_since(standby.at.lsn) > self.bytes {
            return false;
        }
        let reached = std::iter::once(newest).chain(primary).find(|sample| standby.shows(sample.at));
        reached.is_some_and(|reached| age(reached) <= self.time)
    }
}

#[cfg(test)]
mod tests {
    // An Instant cannot be made otherwise; from the first one on the clock is driven by hand.
    #![allow(clippy::disallowed_methods)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn token(timeline: u32, lsn: u64) -> Token {
        Token { timeline: Timeline(timeline), lsn: Lsn(lsn) }
    }

    fn sample(asked_at: Instant, is_primary: bool, at: Token) -> Sample {
        Sample { asked_at, alive_since: asked_at - MS * 1000, is_primary, at }
    }

    #[test]
    fn a_position_counts_only_if_asked_for_afterwards() {
        let now = Instant::now() + MS * 5000;
        let ticket = Ticket { node: NodeId(0), after: now, timeline: None };
        let at = |asked_at, is_primary| sample(asked_at, is_primary, token(1, 10));
        assert!(!ticket.is_written_by(&at(now, true)), "at the same tick it may have been before");
        assert!(ticket.is_written_by(&at(now + MS, true)));
        assert!(!ticket.is_written_by(&at(now + MS, false)), "a former primary tells what it replayed");
        let elsewhere = Ticket { timeline: Some(Timeline(2)), ..ticket };
        assert!(!elsewhere.is_written_by(&at(now + MS, true)), "of another timeline");
        assert!(!ticket.is_read_by(&at(now - MS, false)));
        assert!(ticket.is_read_by(&at(now + MS, false)));
        let crashed = Sample { alive_since: now + MS, ..at(now + MS * 2, false) };
        assert!(!ticket.is_read_by(&crashed), "after a crash it may be behind what was read");
        assert!(!at(now, false).holds_for(now) && at(now + MS, false).holds_for(now));
    }

    #[test]
    fn positions_compare_within_a_timeline() {
        let now = Instant::now() + MS * 5000;
        let shows = |at, wanted| sample(now, false, at).shows(wanted);
        assert!(shows(token(1, 10), token(1, 10)) && shows(token(1, 11), token(1, 10)));
        assert!(!shows(token(1, 9), token(1, 10)));
        assert!(!shows(token(2, 90), token(1, 10)) && !shows(token(1, 90), token(2, 10)));
    }

    #[test]
    fn what_was_seen_grows() {
        let ticket = |node, after| Ticket { node: NodeId(node), after, timeline: Some(Timeline(1)) };
        let now = Instant::now();
        let mut seen = Seen::default();
        seen.read_on(ticket(1, now));
        seen.learn_read(token(1, 20));
        seen.used_primary(ticket(0, now));
        seen.learn_written(token(1, 10));
        assert_eq!(seen, Seen { token: Some(token(1, 20)), ..Seen::default() });
        seen.read_on(ticket(1, now));
        seen.used_primary(ticket(0, now));
        assert_eq!((seen.read, seen.wrote), (None, Some(ticket(0, now))), "the primary shows it all");
        assert_eq!(later(None, None), None);
        assert_eq!(later(Some(token(2, 5)), Some(token(1, 50))), Some(token(2, 5)));
    }

    #[test]
    fn a_token_holds_up_to_the_end_of_its_timeline() {
        let history = History::read(Timeline(4), "1 0/64\n2 0/C8\n").expect("a history");
        let check =
            |given, expected| assert_eq!(carry(given, Timeline(4), Some(&history)), expected, "{given}");
        check(token(4, 1), Carried::Holds(token(4, 1)));
        check(token(1, 100), Carried::Holds(token(4, 100)));
        check(token(1, 101), Carried::Lost { kept: Some(Lsn(100)) });
        check(token(2, 200), Carried::Holds(token(4, 200)));
        check(token(2, 201), Carried::Lost { kept: Some(Lsn(200)) });
        check(token(3, 1), Carried::Lost { kept: None });
        check(token(5, 1), Carried::Ahead);
        assert_eq!(carry(token(1, 1), Timeline(4), None), Carried::Unknown);
        let stale = History::first(Timeline(3));
        assert_eq!(carry(token(1, 1), Timeline(4), Some(&stale)), Carried::Unknown);
    }

    #[test]
    fn staleness_counts_from_the_newest_position_reached() {
        let now = Instant::now() + MS * 60_000;
        let primary = [(0, 500), (100, 400), (5000, 300), (20_000, 100)];
        let primary = primary.map(|(age, lsn)| sample(now - MS * age, true, token(1, lsn)));
        let allows = |replayed, bytes, ms: u32| {
            let bounds = Bounds { bytes, time: MS * ms };
            bounds.allow(&sample(now, false, token(1, replayed)), primary.iter(), now)
        };
        assert!(allows(500, 0, 0));
        assert!(allows(450, 50, 100) && !allows(450, 49, 100) && !allows(450, 50, 99));
        assert!(allows(399, 1000, 5000) && !allows(399, 1000, 4999));
        assert!(!allows(50, 1000, 60_000), "nothing tells how old that is");
        let bounds = Bounds { bytes: 1000, time: MS * 60_000 };
        let standby = sample(now, false, token(1, 450));
        assert!(!bounds.allow(&standby, primary[2..].iter(), now), "where the primary is now is not known");
        assert!(!bounds.allow(&standby, [].iter(), now));
        let other = sample(now, false, token(2, 450));
        assert!(!bounds.allow(&other, primary.iter(), now));
    }
}
