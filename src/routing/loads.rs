//! How busy and how quick each node is: counted by all workers without a lock, read at every choice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::topology::NodeId;

/// What is known of one node's load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests of ours that it was chosen for and that have not ended.
    pub in_flight: u32,
    /// Smoothed time of its reads in seconds; `None` while too few ended of late to tell.
    pub latency: Option<f32>,
}

/// The loads of all nodes. Any thread may count; figures of different nodes never share a cache line.
#[derive(Debug)]
pub struct Loads {
    nodes: Box<[Figures]>,
    /// Where the clock of the samples begins.
    base: Instant,
}

/// Two lines of 64 bytes: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Figures {
    in_flight: AtomicU32,
    /// A [`Smoothed`] in one word, so that no reader sees half of one. Two workers that sample at the same time may
    /// lose a sample, which nobody misses.
    sampled: AtomicU64,
}

/// What the reads of late took.
#[derive(Clone, Copy, Debug, Default)]
struct Smoothed {
    /// When the last one ended; 32 bits.
    tick: u64,
    /// How many there were, up to [`SAMPLES`].
    count: u64,
    /// Mean of the binary logarithms of their times in nanoseconds. 24 bits keep 16 behind the point.
    logarithm: f32,
}

/// A request under way; the node counts it until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    loads: Arc<Loads>,
    node: NodeId,
}

/// Unit of the time of samples: 32 bits of it last for years.
const TICK: Duration = Duration::from_millis(100);

/// Samples older than this say nothing any more: a node shunned for being slow is tried again after it.
const STALE_TICKS: u64 = 100;

/// How many samples it takes to tell, and over how many the mean goes: a single one may have met a cold cache.
const SAMPLES: u64 = 32;

const FRACTION: f32 = 65_536.0;

impl Loads {
    /// Begins at rest, for nodes with ids below `nodes`.
    pub fn new(nodes: usize, now: Instant) -> Arc<Self> {
        Arc::new(Loads { nodes: (0..nodes).map(|_| Figures::default()).collect(), base: now })
    }

    /// Counts a request for `node` until what is returned is dropped.
    pub fn begin(self: &Arc<Self>, node: NodeId) -> InFlight {
        if let Some(figures) = self.figures(node) {
            figures.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        InFlight { loads: self.clone(), node }
    }

    /// Takes note that a read on `node` took so long.
    ///
    /// What is smoothed is the logarithm: statements differ by orders of magnitude, and one that takes seconds
    /// must not make a node look slow to a thousand that take microseconds.
    pub fn sample(&self, node: NodeId, took: Duration, now: Instant) {
        let Some(figures) = self.figures(node) else { return };
        let (tick, old) = (self.tick(now), Smoothed::read(&figures.sampled));
        let old = if old.is_stale(tick) { Smoothed::default() } else { old };
        let count = (old.count + 1).min(SAMPLES);
        let new = (took.as_nanos().max(1) as f32).log2();
        let logarithm = old.logarithm + (new - old.logarithm) / count as f32;
        Smoothed { tick, count, logarithm }.write(&figures.sampled);
    }

    /// Returns what is known of `node`; nothing for an id of no node.
    pub fn load(&self, node: NodeId, now: Instant) -> Load {
        let Some(figures) = self.figures(node) else { return Load::default() };
        let smoothed = Smoothed::read(&figures.sampled);
        let tells = smoothed.count == SAMPLES && !smoothed.is_stale(self.tick(now));
        Load {
            in_flight: figures.in_flight.load(Ordering::Relaxed),
            latency: tells.then(|| smoothed.logarithm.exp2() / 1e9),
        }
    }

    fn figures(&self, node: NodeId) -> Option<&Figures> {
        self.nodes.get(usize::from(node.0))
    }

    fn tick(&self, now: Instant) -> u64 {
        let ticks = now.saturating_duration_since(self.base).as_millis() / TICK.as_millis();
        u32::try_from(ticks).unwrap_or(u32::MAX).into()
    }
}

impl Smoothed {
    fn read(word: &AtomicU64) -> Self {
        let word = word.load(Ordering::Relaxed);
        let fraction = (word & 0xff_ffff) as f32;
        Smoothed { tick: word >> 32, count: word >> 24 & 0xff, logarithm: fraction / FRACTION }
    }

    fn write(self, word: &AtomicU64) {
        let fraction = ((self.logarithm * FRACTION) as u64).min(0xff_ffff);
        word.store(self.tick << 32 | self.count << 24 | fraction, Ordering::Relaxed);
    }

    fn is_stale(self, tick: u64) -> bool {
        tick.saturating_sub(self.tick) > STALE_TICKS
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(figures) = self.loads.figures(self.node) {
            figures.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    // An Instant cannot be made otherwise; from the first one on the clock is driven by hand.
    #![allow(clippy::disallowed_methods)]

    use super::*;

    const A: NodeId = NodeId(0);

    #[test]
    fn requests_count_until_they_are_dropped() {
        let now = Instant::now();
        let loads = Loads::new(1, now);
        let two = [loads.begin(A), loads.begin(A)];
        let _of_no_node = loads.begin(NodeId(7));
        assert_eq!(loads.load(A, now), Load { in_flight: 2, latency: None });
        assert_eq!(loads.load(NodeId(7), now), Load::default());
        drop(two);
        assert_eq!(loads.load(A, now).in_flight, 0);
    }

    #[test]
    fn latency_follows_what_is_usual_and_forgets() {
        let mut now = Instant::now();
        let loads = Loads::new(1, now);
        let latency = |now| loads.load(A, now).latency.map(|seconds| (seconds * 1000.0).round());
        let mut reads = |ms, count| {
            for _ in 0..count {
                now += Duration::from_millis(20);
                loads.sample(A, Duration::from_millis(ms), now);
            }
            now
        };
        assert_eq!(latency(reads(2, 31)), None, "too few to tell");
        assert_eq!(latency(reads(2, 1)), Some(2.0));
        let outlier = latency(reads(10_000, 1));
        assert!(outlier < Some(4.0), "{outlier:?}");
        assert_eq!(latency(reads(50, 200)), Some(50.0));
        let later = reads(50, 1) + Duration::from_secs(11);
        assert_eq!(latency(later), None);
        loads.sample(A, Duration::from_millis(1), later);
        assert_eq!(latency(later), None, "what was before is forgotten");
    }
}
