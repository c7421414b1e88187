//! What a coordinator knows of each node, and how old that is.

use std::collections::BTreeMap;

use super::facts::{Facts, Report};
use super::lineage::Lineage;
use super::moment::Moment;
use super::order::{Command, Done};
use super::records::Opinion;
use super::settings::Timings;
use super::sync_names::SyncNames;
use super::transaction::CallId;
use crate::topology::NodeName;

/// One node, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Where it listens.
    pub(super) address: String,
    /// Whether no coordinator of an earlier epoch can act on it any more (rule C3). Once true it stays so for the
    /// whole epoch: whoever takes the lock reads the epoch first.
    pub(super) owned: bool,
    /// The last moment at which it had everything the leader had flushed by then.
    pub(super) level_at: Option<Moment>,
    /// Why the last order failed; `None` when it did not.
    pub(super) trouble: Option<String>,
    asking: Option<(CallId, Moment)>,
    probed_at: Option<Moment>,
    last: Option<(Report, Moment)>,
    heard_at: Option<Moment>,
    silences: u32,
    not_ready_since: Option<Moment>,
    order: Option<Pending>,
    /// When its names for synchronous commit were last ordered to change.
    names_touched: Option<Moment>,
    /// What was asked before may be out of date: an order ended then.
    valid_from: Moment,
    /// The last order that was done, and when.
    last_done: Option<(Command, Moment)>,
    retry_at: Moment,
    done: BTreeMap<Sort, Context>,
}

/// An order under way.
#[derive(Debug)]
struct Pending {
    call: CallId,
    command: Command,
    context: Context,
}

/// What was the case when an order was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// The moment.
    pub(super) at: Moment,
    /// The term.
    pub(super) term: u64,
    /// The node's run.
    pub(super) run: Option<u64>,
    /// Its names for synchronous commit in force.
    pub(super) names: Option<SyncNames>,
}

/// Sorts of commands of which it matters when they were last done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Promote,
    ProbeCommit,
    Terminate,
    Checkpoint,
    Heartbeat,
    SyncNames,
    Slots,
    Follow,
}

impl Known {
    /// Takes note that a probe was sent.
    pub(super) fn asked(&mut self, now: Moment, call: CallId) {
        (self.asking, self.probed_at) = (Some((call, now)), Some(now));
    }

    /// Takes a probe's report if it answers the question under way; says whether it did.
    pub(super) fn reported(&mut self, now: Moment, call: CallId, report: Report) -> bool {
        let Some((_, asked)) = self.asking.take_if(|(id, _)| *id == call) else { return false };
        self.silences = if report == Report::Silent { self.silences.saturating_add(1) } else { 0 };
        match report {
            Report::NotReady => self.not_ready_since = self.not_ready_since.or(Some(now)),
            // A server that is being restarted refuses for a moment, too.
            Report::Gone | Report::Silent => {}
            Report::Answered(_) | Report::Refused(_) => self.not_ready_since = None,
        }
        if matches!(report, Report::Answered(_)) {
            self.heard_at = Some(now);
        }
        self.last = Some((report, asked));
        true
    }

    /// Whether the next probe may be sent when they are to be `apart`.
    pub(super) fn probe_due(&self, apart: std::time::Duration) -> Option<Moment> {
        self.asking.is_none().then(|| self.probed_at.map_or(Moment(0), |at| at + apart))
    }

    /// Takes note of an order given.
    pub(super) fn ordered(&mut self, call: CallId, command: Command, context: Context) {
        if matches!(command, Command::SetSyncNames(_)) {
            self.names_touched = Some(context.at);
        }
        self.order = Some(Pending { call, command, context });
    }

    /// Takes the end of an order if it is the one under way; says whether it was.
    pub(super) fn finished(
        &mut self,
        now: Moment,
        call: CallId,
        done: Done,
        retry: std::time::Duration,
    ) -> bool {
        let Some(Pending { command, context, .. }) = self.order.take_if(|order| order.call == call) else {
            return false;
        };
        if command != Command::Heartbeat {
            self.valid_from = now;
            // What was just done shows in the next probe, so that one should not wait.
            self.probed_at = None;
        }
        // A checkpoint goes on whether or not somebody waits for it.
        let done = match done {
            Done::Unknown if command == Command::Checkpoint => Done::Well,
            done => done,
        };
        match done {
            Done::Well => {
                self.trouble = None;
                self.owned |= command == Command::Own;
                if let Some(sort) = Sort::of(&command) {
                    self.done.insert(sort, context);
                }
                self.last_done = Some((command, now));
            }
            Done::Failed(why) => {
                self.trouble = Some(why);
                self.retry_at = now + retry;
            }
            Done::Unknown | Done::Deposed => self.retry_at = now + retry,
        }
        true
    }

    /// Forgets what only holds for one epoch.
    pub(super) fn deposed(&mut self) {
        (self.owned, self.order) = (false, None);
        self.done.clear();
        (self.names_touched, self.last_done) = (None, None);
    }

    /// Whether it said last that it takes no connections yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.last, Some((Report::NotReady, _)))
    }

    /// Whether an order can be given now. One that was just done and does not show yet (a setting takes effect when
    /// the process it is for gets to it) is not repeated at once. Names for synchronous commit show after a
    /// checkpoint, and to set them again meanwhile would only make what is known of the node out of date.
    pub(super) fn is_ready(&self, now: Moment, command: &Command, repeat: std::time::Duration) -> bool {
        let repeat = if matches!(command, Command::SetSyncNames(_)) { repeat * 10 } else { repeat };
        let repeated =
            self.last_done.as_ref().is_some_and(|(last, at)| last == command && now < *at + repeat);
        self.order.is_none() && now >= self.retry_at && !repeated
    }

    /// When an order that failed may be tried again.
    pub(super) fn retry_at(&self) -> Moment {
        self.retry_at
    }

    /// Returns what it said when it was last asked. `None` when it did not answer then, or when an order may have
    /// changed something since.
    pub(super) fn facts(&self) -> Option<&Facts> {
        match &self.last {
            Some((Report::Answered(facts), asked)) if self.is_undisturbed() && *asked >= self.valid_from => {
                Some(facts)
            }
            _ => None,
        }
    }

    fn is_undisturbed(&self) -> bool {
        self.order.as_ref().is_none_or(|order| order.command == Command::Heartbeat)
    }

    /// Like [`facts`](Self::facts), but asked at `after` or later.
    pub(super) fn facts_after(&self, after: Moment) -> Option<&Facts> {
        self.facts().filter(|_| self.asked_at() >= Some(after))
    }

    /// Returns what it said last, be it out of date.
    pub(super) fn last_facts(&self) -> Option<&Facts> {
        match &self.last {
            Some((Report::Answered(facts), _)) => Some(facts),
            _ => None,
        }
    }

    /// Returns when the last answered question was asked, whatever came back.
    pub(super) fn asked_at(&self) -> Option<Moment> {
        self.last.as_ref().map(|(_, asked)| *asked)
    }

    /// Returns when it last answered.
    pub(super) fn heard_at(&self) -> Option<Moment> {
        self.heard_at
    }

    /// Returns the circumstances of the last commit that went through, unless the names changed since.
    pub(super) fn proof(&self) -> Option<&Context> {
        self.done(Sort::ProbeCommit)
            .filter(|proof| self.names_touched.is_none_or(|touched| proof.at > touched))
    }

    /// Returns in which circumstances an order of this sort was last done.
    pub(super) fn done(&self, sort: Sort) -> Option<&Context> {
        self.done.get(&sort)
    }

    /// Whether it answers with facts; those of a node that is given an order count.
    pub(super) fn answers(&self) -> bool {
        matches!(self.last, Some((Report::Answered(_), _))) && self.silences == 0
    }

    /// Whether the last probe raises a doubt, be it too early for an opinion.
    pub(super) fn is_doubtful(&self) -> bool {
        !matches!(self.last, Some((Report::Answered(_) | Report::Refused(_), _)))
    }

    /// Returns whether it lives; `None` while nobody knows.
    pub(super) fn opinion(&self, now: Moment, timings: &Timings) -> Option<Opinion> {
        let (report, _) = self.last.as_ref()?;
        Some(match report {
            Report::Answered(_) | Report::Refused(_) => Opinion::Alive,
            Report::NotReady => {
                let since = self.not_ready_since.unwrap_or(now);
                if now.since(since) < timings.restart_grace { Opinion::Alive } else { Opinion::Silent }
            }
            Report::Gone => Opinion::Gone,
            Report::Silent if self.silences < timings.probe_misses => Opinion::Alive,
            Report::Silent => Opinion::Silent,
        })
    }

    /// Returns whether the leader lives **as the leader** of this history: a server that answers as a standby, or
    /// with other data, is not it. `since` is when the term that made it leader was first seen: what it was
    /// before says nothing.
    pub(super) fn leads(
        &self,
        now: Moment,
        timings: &Timings,
        lineage: &Lineage,
        since: Option<Moment>,
    ) -> Option<Opinion> {
        match self.last_facts() {
            Some(_) if since.is_some_and(|since| self.asked_at() < Some(since)) => None,
            Some(facts) if !facts.is_primary() || facts.lineage != *lineage => Some(Opinion::Gone),
            _ => self.opinion(now, timings),
        }
    }
}

impl Sort {
    fn of(command: &Command) -> Option<Sort> {
        Some(match command {
            Command::Promote { .. } => Sort::Promote,
            Command::ProbeCommit => Sort::ProbeCommit,
            Command::TerminateSessions => Sort::Terminate,
            Command::Checkpoint => Sort::Checkpoint,
            Command::Heartbeat => Sort::Heartbeat,
            Command::SetSyncNames(_) => Sort::SyncNames,
            Command::SetSlots(_) => Sort::Slots,
            Command::Follow { .. } => Sort::Follow,
            Command::Own | Command::Recruit { .. } => return None,
        })
    }
}

/// All nodes by name.
pub(super) type Nodes = BTreeMap<NodeName, Known>;
