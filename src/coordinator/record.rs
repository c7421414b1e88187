//! What observing leaves behind besides the snapshot: when nodes were asked, why they take no reads, who led.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::pg::Timeline;
use crate::topology::{Change, NodeId, NodeName};

/// What is known of one node beyond the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When the last probe of it ended; `None` before the first.
    pub checked_at: Option<Instant>,
    /// Why it takes no reads; `None` when it does.
    pub no_reads: Option<&'static str>,
    /// Whether an operator has drained it.
    pub drained: bool,
}

/// A change of the primary that somebody else made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// When the new primary was seen.
    pub at: SystemTime,
    /// Who led before.
    pub from: Option<NodeName>,
    /// Who has led since.
    pub to: NodeName,
    /// Its timeline.
    pub timeline: Option<Timeline>,
    /// The term from then on.
    pub term: u64,
    /// How long there was no primary.
    pub down: Duration,
    /// Why the new one is followed.
    pub reason: String,
}

/// The record of one driver. Written by the driver only.
#[derive(Debug)]
pub(super) struct Record {
    nodes: Mutex<Vec<Seen>>,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Newest first, at most [`KEPT`].
    changes: VecDeque<Led>,
    /// How many there were, the forgotten ones included.
    count: u64,
    /// When the present term was first seen, and its number.
    since: Option<(SystemTime, u64)>,
    /// The last primary and when it was lost, while there is none.
    lost: Option<(Instant, Option<NodeName>)>,
}

/// Changes remembered. A cluster that changes its primary once a day shows three months.
const KEPT: usize = 100;

impl Record {
    pub(super) fn new(nodes: usize) -> Self {
        Record { nodes: Mutex::new(vec![Seen::default(); nodes]), past: Mutex::default() }
    }

    pub(super) fn set_nodes(&self, seen: impl Fn(NodeId, &mut Seen)) {
        let mut nodes = lock(&self.nodes);
        for (index, node) in nodes.iter_mut().enumerate() {
            seen(NodeId(index as u16), node);
        }
    }

    pub(super) fn node(&self, id: NodeId) -> Seen {
        lock(&self.nodes).get(usize::from(id.0)).copied().unwrap_or_default()
    }

    /// Takes note of a change at `now`, which is `at` on the wall.
    pub(super) fn changed(&self, change: &Change, now: Instant, at: SystemTime) {
        let Change::Primary { from, to, timeline, term, reason } = change else { return };
        let mut past = lock(&self.past);
        let Some(to) = to else {
            past.lost = Some((now, from.clone()));
            return;
        };
        let (from, down) = match past.lost.take() {
            Some((lost_at, before)) => (before, now.saturating_duration_since(lost_at)),
            None => (from.clone(), Duration::ZERO),
        };
        if past.since.is_none_or(|(_, known)| known != *term) {
            past.since = Some((at, *term));
        }
        // The first primary ever seen is no change.
        if from.is_some() {
            let led = Led {
                at,
                from,
                to: to.clone(),
                timeline: *timeline,
                term: *term,
                down,
                reason: reason.clone(),
            };
            past.changes.push_front(led);
            past.count += 1;
            past.changes.truncate(KEPT);
        }
    }

    pub(super) fn count(&self) -> u64 {
        lock(&self.past).count
    }

    pub(super) fn since(&self) -> Option<SystemTime> {
        lock(&self.past).since.map(|(since, _)| since)
    }

    pub(super) fn changes(&self) -> Vec<Led> {
        lock(&self.past).changes.iter().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic happens under this lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_and_what_follows_are_one_change() {
        let record = Record::new(1);
        let (begin, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let second = Duration::from_secs(1);
        let change = |from: Option<&str>, to: Option<&str>, term| Change::Primary {
            from: from.map(NodeName::new),
            to: to.map(NodeName::new),
            timeline: None,
            term,
            reason: String::new(),
        };
        record.changed(&change(None, Some("a"), 1), begin, wall);
        assert_eq!((record.changes(), record.since()), (Vec::new(), Some(wall)));

        record.changed(&change(Some("a"), None, 1), begin + second, wall + second);
        record.changed(&change(None, Some("b"), 2), begin + 3 * second, wall + 3 * second);
        let [led] = &record.changes()[..] else { panic!("one change") };
        assert_eq!((led.from.as_ref(), &led.to), (Some(&NodeName::new("a")), &NodeName::new("b")));
        assert_eq!((led.down, record.since()), (2 * second, Some(wall + 3 * second)));

        // The same one again in the same term was away, and leads as long as before.
        record.changed(&change(Some("b"), None, 2), begin + 4 * second, wall + 4 * second);
        record.changed(&change(None, Some("b"), 2), begin + 5 * second, wall + 5 * second);
        assert_eq!((record.changes().len(), record.since()), (2, Some(wall + 3 * second)));
    }
}
