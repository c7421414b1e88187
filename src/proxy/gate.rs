//! The gate to the primary: whether something may be sent there, or delivered from there, at this moment.
//!
//! A proxy without an agreement store has a gate that always stands open and costs nothing. With one, the task in
//! [`permission`](super::permission) turns the gate as `cluster::Permission` says; clients' tasks look at a few
//! numbers, without a lock.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use crate::cluster::permission::{Lead, Pass};
use crate::store::moment as now;
use crate::topology::NodeId;

/// What all clients look at.
#[derive(Debug)]
pub struct Gate {
    guarded: bool,
    /// End of the permission, as a [`Moment`](crate::cluster::Moment); 0 without one.
    until: AtomicU64,
    /// The term of it. Written while there is no permission.
    term: AtomicU64,
    /// Something new may begin.
    open: AtomicBool,
    lead: ArcSwapOption<Leader>,
    /// Sessions at work on the primary, by worker; the last is for those beyond.
    underway: Box<[Counter]>,
    emptied: Notify,
    turned: watch::Sender<u64>,
}

/// Whom to talk to, and what a connection to it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The primary.
    pub node: NodeId,
    /// What the term says of it.
    pub lead: Lead,
    /// The `system_identifier` of its cluster; `None` while that is not known.
    pub system_identifier: Option<u64>,
}

/// On a cache line of its own, as each worker counts for itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

/// Workers that count without meeting others.
const COUNTERS: usize = 64;

impl Gate {
    /// A gate that always stands open.
    pub fn unguarded() -> Arc<Self> {
        Self::new(false)
    }

    /// A gate that is closed until it is turned.
    pub fn guarded() -> Arc<Self> {
        Self::new(true)
    }

    fn new(guarded: bool) -> Arc<Self> {
        let counters = if guarded { COUNTERS } else { 0 };
        Arc::new(Gate {
            guarded,
            until: AtomicU64::new(0),
            term: AtomicU64::new(0),
            open: AtomicBool::new(false),
            lead: ArcSwapOption::empty(),
            underway: (0..counters).map(|_| Counter::default()).collect(),
            emptied: Notify::new(),
            turned: watch::Sender::new(0),
        })
    }

    /// Whether there is anything to ask.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Takes over what the permission is now; `leader` is where it leads.
    pub(super) fn turn(&self, pass: Option<Pass>, leader: Option<Leader>) {
        let term = pass.map_or(0, |pass| pass.term);
        let (until, open) = pass.map_or((0, false), |pass| (pass.until.0, pass.open));
        let changed = self.term.load(SeqCst) != term
            || self.open.load(SeqCst) != open
            || (self.until.load(SeqCst) == 0) != (until == 0);
        if self.term.load(SeqCst) != term {
            // Nobody may take the new end for that of the old term.
            self.until.store(0, SeqCst);
            self.open.store(false, SeqCst);
            self.lead.store(leader.map(Arc::new));
            self.term.store(term, SeqCst);
        }
        self.until.store(until, SeqCst);
        self.open.store(open, SeqCst);
        if changed {
            self.turned.send_modify(|count| *count += 1);
        }
    }

    /// Returns what tells of every turn of the gate, permission that is only renewed excepted.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.turned.subscribe()
    }

    /// Returns the primary that something new may go to now.
    pub(super) fn leader(&self) -> Option<Arc<Leader>> {
        (self.open.load(SeqCst) && now().0 < self.until.load(SeqCst)).then(|| self.lead.load_full()).flatten()
    }

    /// Whether a message may go to the primary, or one from there to a client, over a connection verified under `term`
    /// (rules P2 and P3).
    pub(super) fn passes(&self, term: u64) -> bool {
        // In this order: an end that belongs to a later term is seen only with that term.
        let until = self.until.load(SeqCst);
        self.term.load(SeqCst) == term && now().0 < until
    }

    /// Waits until no session is at work on the primary. Meant for a gate through which nothing new goes.
    pub(super) async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            if self.underway.iter().all(|counter| counter.0.load(SeqCst) == 0) {
                return;
            }
            notified.await;
        }
    }
}

/// One session's part in what is under way on the primary. Ends when dropped.
#[derive(Debug)]
pub(super) struct Underway {
    gate: Arc<Gate>,
    counter: usize,
    /// Counted, in this term.
    term: Option<u64>,
}

impl Underway {
    pub fn new(gate: Arc<Gate>, worker: usize) -> Self {
        let counter = worker.min(gate.underway.len().saturating_sub(1));
        Underway { gate, counter, term: None }
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Begins something new in `term`; false when nothing may begin.
    pub fn begin(&mut self, term: u64) -> bool {
        if self.term.is_none() {
            // Counted first: whoever has closed the gate sees it, or it sees the gate closed.
            self.gate.underway[self.counter].0.fetch_add(1, SeqCst);
            self.term = Some(term);
            if !self.gate.open.load(SeqCst) || !self.gate.passes(term) {
                self.end();
            }
        }
        self.term == Some(term)
    }

    /// It is done.
    pub fn end(&mut self) {
        if self.term.take().is_some() {
            self.gate.underway[self.counter].0.fetch_sub(1, SeqCst);
            if !self.gate.open.load(SeqCst) {
                self.gate.emptied.notify_waiters();
            }
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pass(term: u64, millis: u64, open: bool) -> Option<Pass> {
        Some(Pass { term, until: now() + Duration::from_millis(millis), open })
    }

    #[test]
    fn nothing_passes_without_permission_or_in_another_term() {
        let gate = Gate::guarded();
        assert!(!gate.passes(0) && !gate.passes(1) && gate.leader().is_none());
        gate.turn(pass(1, 60_000, true), None);
        assert!(gate.passes(1) && !gate.passes(2));
        gate.turn(pass(2, 60_000, true), None);
        assert!(!gate.passes(1) && gate.passes(2));
        gate.turn(pass(2, 0, true), None);
        assert!(!gate.passes(2), "it has run out");
        gate.turn(None, None);
        assert!(!gate.passes(2) && !gate.passes(0));
    }

    #[tokio::test]
    async fn a_hold_lets_go_on_what_is_under_way_and_begins_nothing() {
        let gate = Gate::guarded();
        gate.turn(pass(1, 60_000, true), None);
        let (mut first, mut second) = (Underway::new(gate.clone(), 0), Underway::new(gate.clone(), 99));
        assert!(first.begin(1) && first.begin(1));
        gate.turn(pass(1, 60_000, false), None);
        assert!(!second.begin(1) && first.begin(1) && gate.passes(1));
        let emptied = tokio::spawn({
            let gate = gate.clone();
            async move { gate.emptied().await }
        });
        tokio::task::yield_now().await;
        assert!(!emptied.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), emptied).await.expect("told").expect("no panic");
    }
}
