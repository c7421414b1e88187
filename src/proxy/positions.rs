//! Where the nodes stand in WAL, as last asked; and who wants to know more.
//!
//! One [`Station`] a node. Sessions read its samples, and raise the demand for a newer one; the task in
//! [`station`](super::station) asks. However many want to know, at most one question is under way at each node.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::pg::{History, Lsn, Timeline};
use crate::routing::{Bounds, Sample, Ticket, Token};
use crate::topology::NodeId;

/// How soon a newer sample is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Demand {
    /// Nobody asks.
    None,
    /// For the record: nobody is known to read by it.
    Later,
    /// A session is likely to read by it.
    Soon,
    /// A session waits for it.
    Now,
}

impl Demand {
    fn of(number: u8) -> Self {
        match number {
            0 => Demand::None,
            1 => Demand::Later,
            2 => Demand::Soon,
            _ => Demand::Now,
        }
    }
}

/// What is known of the positions of all nodes.
pub(super) struct Positions {
    stations: Vec<Station>,
    /// The furthest position that sessions who read on standbys must see: standbys are asked until they show it.
    frontier: AtomicU64,
    /// Told after each sample.
    changed: Notify,
    history: ArcSwapOption<Ancestry>,
}

/// What is known of the timelines before the present one.
pub(super) struct Ancestry {
    pub timeline: Timeline,
    /// `None` when the server would not show it.
    pub history: Option<History>,
}

/// One node's samples, and the demand for more.
pub(super) struct Station {
    demand: AtomicU8,
    wake: Notify,
    /// Whether the last question had no answer.
    is_down: AtomicBool,
    /// A session waited in vain for the node to show this position.
    stalled: AtomicU64,
    samples: Mutex<Samples>,
}

/// What one node answered.
#[derive(Default)]
struct Samples {
    /// The last [`KEPT`].
    recent: VecDeque<Sample>,
    /// Of a primary, those before: the longer ago, the further apart. Each one reaches twice as far back as the one before.
    trail: [VecDeque<Sample>; STRETCHES],
}

/// Samples kept of a node: about a second of them under the greatest demand. Who comes later takes the oldest one, which
/// a healthy standby shows.
const KEPT: usize = 1024;

/// How far a trail goes back: 64 places in steps of 64 ms, which is 4 s, and so on to 4 h. What is known of how old
/// something is, is too much by a step at most.
const STRETCHES: usize = 13;
const PLACES: usize = 64;
const FIRST_STEP: Duration = Duration::from_millis(64);

impl Positions {
    /// Makes room for so many nodes.
    pub fn new(nodes: usize) -> Self {
        let station = || Station {
            demand: AtomicU8::new(Demand::None as u8),
            wake: Notify::new(),
            is_down: AtomicBool::new(false),
            stalled: AtomicU64::new(0),
            samples: Mutex::default(),
        };
        Positions {
            stations: std::iter::repeat_with(station).take(nodes).collect(),
            frontier: AtomicU64::new(0),
            changed: Notify::new(),
            history: ArcSwapOption::empty(),
        }
    }

    /// Returns the station of `node`; `None` for an id of no node.
    pub fn station(&self, node: NodeId) -> Option<&Station> {
        self.stations.get(usize::from(node.0))
    }

    /// Returns for how many nodes there is room.
    pub fn seats(&self) -> usize {
        self.stations.len()
    }

    /// Asks for a newer sample of `node`. Never blocks; costs a load while the demand is raised already.
    pub fn want(&self, node: NodeId, demand: Demand) {
        if let Some(station) = self.station(node) {
            station.want(demand);
        }
    }

    /// Has `standbys` asked until they show `lsn`.
    pub fn pursue(&self, lsn: Lsn, standbys: impl Iterator<Item = NodeId>) {
        self.frontier.fetch_max(lsn.0, Ordering::Relaxed);
        standbys.for_each(|node| self.want(node, Demand::Soon));
    }

    /// Returns how far standbys are pursued.
    pub fn frontier(&self) -> Lsn {
        Lsn(self.frontier.load(Ordering::Relaxed))
    }

    /// Returns the newest sample of `node`.
    pub fn latest(&self, node: NodeId) -> Option<Sample> {
        self.station(node)?.samples().recent.back().copied()
    }

    /// Returns where the primary stood after the session used it, if that is known.
    pub fn written(&self, ticket: &Ticket) -> Option<Sample> {
        self.station(ticket.node)?.first(ticket, Ticket::is_written_by)
    }

    /// Returns where the standby stood after the session read there, if that is known.
    pub fn read(&self, ticket: &Ticket) -> Option<Sample> {
        self.station(ticket.node)?.first(ticket, Ticket::is_read_by)
    }

    /// Tells whether `standby` is within `bounds` of `primary`.
    pub fn allows(&self, bounds: &Bounds, standby: NodeId, primary: NodeId, now: Instant) -> bool {
        let (Some(sample), Some(primary)) = (self.latest(standby), self.station(primary)) else {
            return false;
        };
        bounds.allow(&sample, primary.samples().newest_first().filter(|sample| sample.is_primary), now)
    }

    /// Takes a sample in, and tells who waits.
    pub fn add(&self, node: NodeId, sample: Sample) {
        if let Some(station) = self.station(node) {
            station.is_down.store(false, Ordering::Relaxed);
            station.samples().add(sample);
        }
        self.changed.notify_waiters();
    }

    /// Notes that `node` does not answer, and tells who waits.
    pub fn failed(&self, node: NodeId) {
        if let Some(station) = self.station(node) {
            station.is_down.store(true, Ordering::Relaxed);
        }
        self.changed.notify_waiters();
    }

    /// Returns what is told after each sample. What happens after `enable` of a future of it is not missed.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Returns what is known of the ancestors of `timeline`; `None` while it has not been asked for.
    pub fn ancestry(&self, timeline: Timeline) -> Option<std::sync::Arc<Ancestry>> {
        self.history.load_full().filter(|known| known.timeline == timeline)
    }

    /// Takes in what is known of the ancestors of a timeline.
    pub fn set_ancestry(&self, ancestry: Ancestry) {
        self.history.store(Some(std::sync::Arc::new(ancestry)));
    }

    /// Notes that sessions waited in vain for `node` to show `token`: until it does, nobody waits for it. A token that
    /// the primary has not come to either says nothing of the standby.
    pub fn note_stalled(&self, node: NodeId, token: Token, primary: Option<NodeId>) {
        let reached =
            primary.and_then(|primary| self.latest(primary)).is_some_and(|sample| sample.shows(token));
        if let (true, Some(station)) = (reached, self.station(node)) {
            station.stalled.fetch_max(token.lsn.0, Ordering::Relaxed);
        }
    }
}

impl Station {
    /// Waits until somebody wants a newer sample than the last one; returns how soon.
    pub async fn wanted(&self) -> Demand {
        loop {
            let demand = self.demand();
            if demand > Demand::None {
                return demand;
            }
            self.wake.notified().await;
        }
    }

    /// Waits until the demand is greater than `demand`.
    pub async fn wanted_more_than(&self, demand: Demand) {
        while self.demand() <= demand {
            self.wake.notified().await;
        }
    }

    /// Takes the demand up to now: a question asked after this answers all who wanted one before.
    pub fn begin(&self) -> Demand {
        Demand::of(self.demand.swap(Demand::None as u8, Ordering::SeqCst))
    }

    /// Asks for a newer sample.
    pub fn want(&self, demand: Demand) {
        if self.demand.load(Ordering::SeqCst) < demand as u8
            && self.demand.fetch_max(demand as u8, Ordering::SeqCst) < demand as u8
        {
            self.wake.notify_one();
        }
    }

    /// Tells whether the last question had no answer.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Tells whether the node, last seen at `at`, is still behind what was awaited in vain.
    pub fn is_stalled(&self, at: Lsn) -> bool {
        at.0 < self.stalled.load(Ordering::Relaxed)
    }

    fn demand(&self) -> Demand {
        Demand::of(self.demand.load(Ordering::SeqCst))
    }

    fn first(&self, ticket: &Ticket, answers: impl Fn(&Ticket, &Sample) -> bool) -> Option<Sample> {
        let samples = self.samples();
        let from = samples.recent.partition_point(|sample| sample.asked_at <= ticket.after);
        samples.recent.range(from..).find(|sample| answers(ticket, sample)).copied()
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().expect("no panic happens under this lock")
    }
}

impl Samples {
    fn add(&mut self, sample: Sample) {
        push(&mut self.recent, KEPT, sample);
        let mut step = FIRST_STEP;
        for stretch in self.trail.iter_mut().filter(|_| sample.is_primary) {
            let since = |last: &Sample| sample.asked_at.saturating_duration_since(last.asked_at);
            if stretch.back().is_none_or(|last| since(last) >= step) {
                push(stretch, PLACES, sample);
            }
            step *= 2;
        }
    }

    /// Those of a stretch that reach into the one before come again, which does no harm to who looks for the first.
    fn newest_first(&self) -> impl Iterator<Item = &Sample> {
        let trail = self.trail.iter().flat_map(|stretch| stretch.iter().rev());
        self.recent.iter().rev().chain(trail)
    }
}

fn push(samples: &mut VecDeque<Sample>, most: usize, sample: Sample) {
    if samples.len() == most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn token(lsn: u64) -> Token {
        Token { timeline: Timeline(1), lsn: Lsn(lsn) }
    }

    fn sample(asked_at: Instant, is_primary: bool, lsn: u64) -> Sample {
        Sample { asked_at, alive_since: asked_at - MS * 10_000, is_primary, at: token(lsn) }
    }

    #[test]
    fn a_ticket_gets_the_first_position_after_it_however_late_it_asks() {
        let (positions, base) = (Positions::new(2), Instant::now());
        for n in 0..2000u32 {
            positions.add(A, sample(base + MS * n, true, u64::from(n)));
        }
        let at = |n: u32| {
            let ticket = Ticket { node: A, after: base + MS * n, timeline: Some(Timeline(1)) };
            positions.written(&ticket).map(|sample| sample.at.lsn.0)
        };
        assert_eq!((at(1500), at(1998), at(1999)), (Some(1501), Some(1999), None));
        assert_eq!(at(0), Some(2000 - KEPT as u64), "the oldest that is left is not too low");
        assert_eq!(positions.latest(A).map(|sample| sample.at), Some(token(1999)));
        assert_eq!((positions.latest(B), positions.latest(NodeId(2))), (None, None));
    }

    #[test]
    fn what_a_standby_lacks_is_dated_however_often_the_primary_is_asked() {
        let (positions, base) = (Positions::new(2), Instant::now());
        // For an hour, every 4 ms.
        let hour = 900_000u32;
        for n in 0..=hour {
            positions.add(A, sample(base + MS * 4 * n, true, u64::from(n)));
        }
        let now = base + MS * 4 * hour;
        let allows = |behind: u32, ms: u32| {
            positions.add(B, sample(now, false, u64::from(hour - behind)));
            positions.allows(&Bounds { bytes: u64::MAX, time: MS * ms }, B, A, now)
        };
        // Behind by 2, 10, 60 and 1800 seconds, known to a sixty-fourth and more of that.
        for seconds in [2, 10, 60, 1800] {
            let (behind, ms) = (seconds * 250, seconds * 1000);
            assert!(!allows(behind, ms - 1) && allows(behind, ms + ms / 16 + 64), "{seconds}");
        }
    }

    #[tokio::test]
    async fn demand_is_met_once_and_only_grows() {
        let positions = Positions::new(1);
        let station = positions.station(A).expect("there is one");
        positions.want(A, Demand::Soon);
        positions.want(A, Demand::Later);
        assert_eq!(station.wanted().await, Demand::Soon);
        positions.want(A, Demand::Now);
        station.wanted_more_than(Demand::Soon).await;
        assert_eq!((station.begin(), station.demand()), (Demand::Now, Demand::None));
        positions.pursue(Lsn(7), [A].into_iter());
        assert_eq!((station.begin(), positions.frontier()), (Demand::Soon, Lsn(7)));
        positions.pursue(Lsn(3), [].into_iter());
        assert_eq!((station.begin(), positions.frontier()), (Demand::None, Lsn(7)));
    }

    #[test]
    fn a_standby_is_held_against_only_what_the_primary_has_written() {
        let (positions, base) = (Positions::new(2), Instant::now());
        positions.add(A, sample(base, true, 100));
        positions.note_stalled(B, token(101), Some(A));
        let stalled = |at| positions.station(B).is_some_and(|station| station.is_stalled(Lsn(at)));
        assert!(!stalled(0), "a token from nowhere says nothing of the standby");
        positions.note_stalled(B, token(90), Some(A));
        assert!(stalled(89) && !stalled(90));
        positions.failed(B);
        assert!(positions.station(B).is_some_and(Station::is_down));
        positions.add(B, sample(base, false, 95));
        assert!(!positions.station(B).is_some_and(Station::is_down));
    }
}
