//! What is known of one node: its last answer, how often it missed since, and whether it is being fed.

use std::sync::Arc;
use std::time::Instant;

use super::Thresholds;
use super::lag::{LagLimits, Trail};
use crate::pg::{Address, Lsn, Timeline};
use crate::topology::{Facts, Node, Report, Standing};

/// One node as the observer remembers it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) node: Arc<Node>,
    /// Whether any report came yet.
    pub(super) asked: bool,
    /// The last answer and when it was asked for; `None` while the role is unknown.
    pub(super) answer: Option<Answer>,
    /// Why the role is unknown; says something only while `answer` is `None`.
    pub(super) reason: String,
    /// Reports in a row without an answer, whatever the cause.
    pub(super) missed: u32,
    /// Reports in a row that say it is dead.
    failed: u32,
    /// Answers in a row.
    answered: u32,
    /// Whether it was given up, and must answer several times in a row to count again.
    given_up: bool,
    pub(super) feed: Feed,
    /// Whether an operator wants no new work on it.
    pub(super) drained: bool,
    /// Whether it is too far behind to take reads.
    pub(super) lags: bool,
    /// Whether it is no member of the cluster.
    pub(super) gone: bool,
}

/// An answer and when its probe began.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) facts: Facts,
    pub(super) asked_at: Instant,
}

/// Whether a standby receives WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// A walreceiver streams.
    Streaming,
    /// It stopped at this moment, and the primary has not been heard of since: perhaps it is the primary
    /// that is gone, and then its standbys go on serving what they have.
    Lost { at: Instant },
    /// It stopped while the primary lives, or never streamed under our eyes.
    Cut,
}

impl Member {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Member {
            node,
            asked: false,
            answer: None,
            reason: "not asked yet".to_owned(),
            missed: 0,
            failed: 0,
            answered: 0,
            given_up: false,
            feed: Feed::Cut,
            drained: false,
            lags: false,
            gone: false,
        }
    }

    /// Takes it out of the cluster.
    pub(super) fn leave(&mut self) {
        *self = Member::new(self.node.clone());
        (self.gone, self.reason) = (true, "it is no member of the cluster".to_owned());
    }

    /// Takes it in at another address, or after it was gone: it must be asked before anything is believed of it.
    pub(super) fn settle_at(&mut self, address: &Address) {
        let (drained, node) = (self.drained, Node { address: address.clone(), ..Node::clone(&self.node) });
        *self = Member::new(Arc::new(node));
        self.drained = drained;
    }

    /// Takes a report whose probe began at `asked_at` and ended at `now`.
    pub(super) fn take(&mut self, report: Report, asked_at: Instant, now: Instant, limits: &Thresholds) {
        let first = !std::mem::replace(&mut self.asked, true);
        match report {
            Report::Answered(facts) => self.answered(facts, asked_at, now, limits),
            Report::Refused { reason } => {
                self.miss(reason);
                self.failed = 0;
            }
            Report::NotReady { reason } => {
                self.miss(reason);
                // It lives, so one answer is enough to believe it again.
                (self.failed, self.given_up) = (0, false);
                self.forget();
            }
            Report::Failed { reason } => {
                self.miss(reason);
                self.failed = self.failed.saturating_add(1);
                if first || self.failed >= limits.fall {
                    // The first report ever has nothing to defend, and nothing to make up for either.
                    self.given_up = !first || self.given_up;
                    self.forget();
                }
            }
        }
    }

    /// Called when the primary was heard of at `heard` (the moment its probe began): a standby which had
    /// stopped streaming before that was cut off from a living primary.
    pub(super) fn primary_lives(&mut self, heard: Instant) {
        if matches!(self.feed, Feed::Lost { at } if heard > at) {
            self.feed = Feed::Cut;
        }
    }

    /// Finds out from its last answer whether it lags too far behind.
    pub(super) fn measure(&mut self, trail: &Trail, limits: &LagLimits) {
        let Some(answer) = &self.answer else { return };
        if let Standing::Standby { replayed: Some(replayed), replay_age, .. } = answer.facts.standing
            && let Some(lag) = trail.lag(answer.asked_at, replayed, replay_age)
        {
            self.lags = limits.exceeded(lag, self.lags);
        }
    }

    /// Whether the last report was a miss although the node still counts.
    pub(super) fn is_suspect(&self) -> bool {
        self.answer.is_some() && self.missed > 0
    }

    /// Returns its insert position and when it was asked, if it is a primary.
    pub(super) fn stood(&self) -> Option<(Instant, Lsn)> {
        Some((self.answer.as_ref()?.asked_at, self.writable()?.1))
    }

    /// Returns the timeline and insert position if it is a primary.
    pub(super) fn writable(&self) -> Option<(Timeline, Lsn)> {
        match self.answer.as_ref()?.facts.standing {
            Standing::Primary { timeline, position } => Some((timeline, position)),
            Standing::Standby { .. } => None,
        }
    }

    /// Returns the timeline it stands on, whatever its role.
    pub(super) fn timeline(&self) -> Option<Timeline> {
        match self.answer.as_ref()?.facts.standing {
            Standing::Primary { timeline, .. } => Some(timeline),
            Standing::Standby { timeline, .. } => timeline,
        }
    }

    /// Returns the identifier of the cluster it belongs to.
    pub(super) fn system_identifier(&self) -> Option<u64> {
        self.answer.as_ref().map(|answer| answer.facts.system_identifier)
    }

    fn answered(&mut self, facts: Facts, asked_at: Instant, now: Instant, limits: &Thresholds) {
        (self.missed, self.failed) = (0, 0);
        self.answered = self.answered.saturating_add(1);
        if self.given_up && self.answered < limits.rise {
            self.reason = "answers again, not yet often enough".to_owned();
            return;
        }
        self.given_up = false;
        self.feed = match (&facts.standing, self.feed) {
            (Standing::Primary { .. }, _) => Feed::Cut,
            (Standing::Standby { streaming: true, .. }, _) => Feed::Streaming,
            (Standing::Standby { .. }, Feed::Streaming) => Feed::Lost { at: now },
            (Standing::Standby { .. }, unchanged) => unchanged,
        };
        self.answer = Some(Answer { facts, asked_at });
    }

    fn miss(&mut self, reason: String) {
        self.answered = 0;
        self.missed = self.missed.saturating_add(1);
        self.reason = reason;
    }

    fn forget(&mut self) {
        self.answer = None;
        self.feed = Feed::Cut;
    }
}
