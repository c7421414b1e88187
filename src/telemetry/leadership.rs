//! What is counted about leading: permission, failovers, the agreement store, held statements.
//!
//! Everything is there from the start, at 0, also in a proxy that only observes. Whoever takes part in leading
//! calls the methods; each is one or two relaxed stores.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cells::{Buckets, Cells};
use super::table::{Label, Shape, Table};

/// Who promotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Somebody else.
    Observe,
    /// Bellwether, when an operator asks.
    Manual,
    /// Bellwether, by itself.
    Automatic,
}

/// Why the lead went to another node, or was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The primary was judged dead.
    Failover,
    /// An operator moved it away from a primary that was well.
    Switchover,
    /// An operator wanted another primary, whatever the verdict was.
    Forced,
}

/// How such an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another node leads.
    Done,
    /// The old primary leads on.
    Aborted,
    /// Nobody could be promoted.
    Failed,
}

/// The parts of such an attempt that take time, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The proxies finish what is under way (switchover only).
    Hold,
    /// Until no proxy may talk to the old primary.
    Freeze,
    /// The followers stop following it, and the best one is chosen.
    Choose,
    /// It is promoted, proven to be the one, and the term is opened.
    Promote,
    /// The other followers are pointed at it.
    Follow,
    /// From the beginning until the term was open: how long no write was possible.
    Unwritable,
}

/// What the agreement store was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// Some keys, read together.
    Read,
    /// A transaction.
    Commit,
}

/// Why it gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// No member could be reached, or none answered in time; the call did nothing.
    Unavailable,
    /// A transaction was sent and its answer never came.
    Unknown,
    /// It answered that it will not.
    Refused,
}

/// How the wait of a held statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It went on to a primary.
    Released,
    /// It was refused because it had waited too long.
    Expired,
    /// Its client left.
    Left,
}

const MODES: [&str; 3] = ["observe", "manual", "automatic"];
const KINDS: [&str; 3] = ["failover", "switchover", "forced"];
const OUTCOMES: [&str; 3] = ["done", "aborted", "failed"];
const STEPS: [&str; 6] = ["hold", "freeze", "choose", "promote", "follow", "unwritable"];
const CALLS: [&str; 2] = ["read", "commit"];
const FAILURES: [&str; 3] = ["unavailable", "unknown", "refused"];
const HOLD_ENDS: [&str; 3] = ["released", "expired", "left"];

/// The counters of one process. Any thread may call any method.
#[derive(Debug)]
pub struct Leadership {
    pub(super) table: Table,
    slots: Slots,
    cells: Cells,
    /// What the end of the permission is counted from.
    start: Instant,
}

#[derive(Debug)]
struct Slots {
    mode: usize,
    coordinator: usize,
    permission: usize,
    paused: usize,
    candidates: usize,
    failovers: usize,
    last_failover: usize,
    step_seconds: usize,
    last_step: usize,
    store_up: usize,
    store_members: usize,
    store_members_up: usize,
    store_seconds: usize,
    store_failures: usize,
    held: usize,
    holds: usize,
    hold_seconds: usize,
    in_doubt: usize,
}

impl Leadership {
    pub(super) fn new() -> Self {
        let (table, slots) = lay_out();
        let cells = Cells::new(table.end);
        let leadership = Leadership { table, slots, cells, start: Instant::now() };
        leadership.set_mode(Mode::Observe);
        leadership
    }

    /// Who promotes in this cluster.
    pub fn set_mode(&self, mode: Mode) {
        for place in 0..MODES.len() {
            self.cells.set(self.slots.mode + place, u64::from(place == mode as usize));
        }
    }

    /// Whether this process is the active coordinator.
    pub fn set_coordinator(&self, active: bool) {
        self.cells.set(self.slots.coordinator, u64::from(active));
    }

    /// Until when this proxy may talk to the primary; `None` when it may not.
    pub fn set_permission(&self, until: Option<Instant>) {
        let left = until.map_or(0, |until| millis(until.saturating_duration_since(self.start)));
        self.cells.set(self.slots.permission, left);
    }

    /// Whether an operator has paused what Bellwether does by itself.
    pub fn set_paused(&self, paused: bool) {
        self.cells.set(self.slots.paused, u64::from(paused));
    }

    /// How many followers could be promoted now. Known to the active coordinator only.
    pub fn set_candidates(&self, count: usize) {
        self.cells.set(self.slots.candidates, count as u64);
    }

    /// One step of moving the lead took so long.
    pub fn step_took(&self, step: Step, took: Duration) {
        let start = self.slots.step_seconds + step as usize * Buckets::Waits.cells();
        self.cells.observe(start, Buckets::Waits, took);
        self.cells.set(self.slots.last_step + step as usize, millis(took));
    }

    /// An attempt to move the lead ended so, at this time on the wall.
    pub fn failover_ended(&self, kind: Kind, outcome: Outcome, at: SystemTime) {
        self.cells.add(self.slots.failovers + kind as usize * OUTCOMES.len() + outcome as usize, 1);
        if outcome == Outcome::Done {
            self.cells
                .set(self.slots.last_failover, millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()));
        }
    }

    /// So many members of the store answer, of so many there are.
    pub fn set_store_members(&self, answering: usize, members: usize) {
        self.cells.set(self.slots.store_members_up, answering as u64);
        self.cells.set(self.slots.store_members, members as u64);
    }

    /// The store answered a call after so long.
    pub fn store_answered(&self, call: StoreCall, took: Duration) {
        let start = self.slots.store_seconds + call as usize * Buckets::Statements.cells();
        self.cells.observe(start, Buckets::Statements, took);
        self.cells.set(self.slots.store_up, 1);
    }

    /// It did not.
    pub fn store_failed(&self, call: StoreCall, why: StoreFailure) {
        self.cells.add(self.slots.store_failures + call as usize * FAILURES.len() + why as usize, 1);
        self.cells.set(self.slots.store_up, u64::from(why == StoreFailure::Refused));
    }

    /// A statement begins to wait for a primary.
    pub fn hold(self: Arc<Self>) -> Hold {
        self.cells.add(self.slots.held, 1);
        Hold { leadership: self, began: Instant::now(), end: HoldEnd::Left }
    }

    /// A client was told that the outcome of its COMMIT is not known (SQLSTATE 08007).
    pub fn commit_in_doubt(&self) {
        self.cells.add(self.slots.in_doubt, 1);
    }

    /// Returns all cells as they are at `now`.
    pub(super) fn read(&self, now: Instant) -> Vec<u64> {
        let mut cells = self.cells.read();
        let elapsed = millis(now.saturating_duration_since(self.start));
        let until = &mut cells[self.slots.permission];
        *until = until.saturating_sub(elapsed);
        cells
    }
}

/// A statement that waits for a primary. Dropping it means that its client left.
#[derive(Debug)]
pub struct Hold {
    leadership: Arc<Leadership>,
    began: Instant,
    end: HoldEnd,
}

impl Hold {
    /// It waits no longer.
    pub fn end(mut self, end: HoldEnd) {
        self.end = end;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Leadership { cells, slots, .. } = &*self.leadership;
        cells.sub(slots.held, 1);
        cells.add(slots.holds + self.end as usize, 1);
        cells.observe(slots.hold_seconds, Buckets::Waits, self.began.elapsed());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lay_out() -> (Table, Slots) {
    let mut table = Table::default();
    let statements = Shape::Histogram(Buckets::Statements);
    let waits = Shape::Histogram(Buckets::Waits);
    let call = || ("call", Label::Fixed(&CALLS));
    let step = || vec![("step", Label::Fixed(&STEPS))];
    let slots = Slots {
        mode: table.gauge(
            "failover_mode",
            "1 for the mode that is set (who promotes), 0 for the others.",
            vec![("mode", Label::Fixed(&MODES))],
        ),
        coordinator: table.gauge(
            "coordinator_active",
            "Whether this process is the one that decides about the lead.",
            vec![],
        ),
        permission: table.add(
            "permission_remaining_seconds",
            "How long this proxy may still talk to the primary without hearing from the store; 0 when it may not, or only observes.",
            Shape::Seconds,
            vec![],
        ),
        paused: table.gauge("paused", "Whether an operator has paused automatic failover.", vec![]),
        candidates: table.gauge(
            "failover_candidates",
            "Followers that could be promoted now; 0 except at the active coordinator.",
            vec![],
        ),
        failovers: table.counter(
            "failovers",
            "Attempts to move the lead, by why and how they ended; counted by the coordinator that made them.",
            vec![("kind", Label::Fixed(&KINDS)), ("result", Label::Fixed(&OUTCOMES))],
        ),
        last_failover: table.add(
            "last_failover_timestamp_seconds",
            "When this coordinator last moved the lead to another node; 0 for never.",
            Shape::Seconds,
            vec![],
        ),
        step_seconds: table.add(
            "failover_step_seconds",
            "Time each step of moving the lead took.",
            waits,
            step(),
        ),
        last_step: table.add(
            "last_failover_step_seconds",
            "Time each step took when the lead was moved last.",
            Shape::Seconds,
            step(),
        ),
        store_up: table.gauge("etcd_up", "Whether etcd answered the last call.", vec![]),
        store_members: table.gauge("etcd_members", "Members of etcd that this proxy is told of.", vec![]),
        store_members_up: table.gauge("etcd_members_up", "Members of etcd that answer this proxy.", vec![]),
        store_seconds: table.add(
            "etcd_request_seconds",
            "Time etcd took to answer a call.",
            statements,
            vec![call()],
        ),
        store_failures: table.counter(
            "etcd_request_failures",
            "Calls that etcd did not answer, or refused.",
            vec![call(), ("reason", Label::Fixed(&FAILURES))],
        ),
        held: table.gauge("held_statements", "Statements that wait for a primary now.", vec![]),
        holds: table.counter(
            "holds",
            "Statements that waited for a primary, by how the wait ended.",
            vec![("result", Label::Fixed(&HOLD_ENDS))],
        ),
        hold_seconds: table.add("hold_seconds", "Time a statement waited for a primary.", waits, vec![]),
        in_doubt: table.counter(
            "commits_in_doubt",
            "COMMITs whose outcome the client was told is not known.",
            vec![],
        ),
    };
    (table, slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn permission_runs_out_by_itself() {
        let leadership = Leadership::new();
        let (slot, start) = (leadership.slots.permission, leadership.start);
        assert_eq!(leadership.read(start)[slot], 0, "nobody gave one");
        leadership.set_permission(Some(start + 4 * SECOND));
        assert_eq!(leadership.read(start + SECOND)[slot], 3000);
        assert_eq!(leadership.read(start + 5 * SECOND)[slot], 0);
        leadership.set_permission(None);
        assert_eq!(leadership.read(start)[slot], 0);
    }

    #[test]
    fn an_attempt_that_moved_nothing_is_no_last_failover() {
        let leadership = Leadership::new();
        let at = UNIX_EPOCH + 7 * SECOND;
        leadership.failover_ended(Kind::Failover, Outcome::Aborted, at);
        assert_eq!(leadership.read(leadership.start)[leadership.slots.last_failover], 0);
        leadership.failover_ended(Kind::Switchover, Outcome::Done, at);
        let cells = leadership.read(leadership.start);
        assert_eq!(cells[leadership.slots.last_failover], 7000);
        assert_eq!(cells[leadership.slots.failovers..][..9], [0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_store_that_refuses_is_up() {
        let leadership = Leadership::new();
        let up = || leadership.read(leadership.start)[leadership.slots.store_up];
        assert_eq!(up(), 0);
        leadership.store_answered(StoreCall::Read, SECOND);
        assert_eq!(up(), 1);
        leadership.store_failed(StoreCall::Commit, StoreFailure::Unavailable);
        assert_eq!(up(), 0);
        leadership.store_failed(StoreCall::Commit, StoreFailure::Refused);
        assert_eq!(up(), 1);
    }

    #[test]
    fn holds_come_and_go() {
        let leadership = Arc::new(Leadership::new());
        let (one, other) = (leadership.clone().hold(), leadership.clone().hold());
        let held = || leadership.read(leadership.start)[leadership.slots.held];
        assert_eq!(held(), 2);
        one.end(HoldEnd::Released);
        assert_eq!(held(), 1);
        drop(other);
        let cells = leadership.read(leadership.start);
        assert_eq!(cells[leadership.slots.holds..][..3], [1, 0, 1]);
        assert_eq!(held(), 0);
    }
}
