//! What will happen, in the order of time; what is due at the same time happens in the order it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clock::Time;
use super::happening::Happening;

/// Everything planned.
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Planned>>,
    count: u64,
}

struct Planned {
    at: Time,
    order: u64,
    what: Happening,
}

impl Queue {
    /// Plans something.
    pub fn plan(&mut self, at: Time, what: Happening) {
        self.count += 1;
        self.heap.push(Reverse(Planned { at, order: self.count, what }));
    }

    /// Takes the next thing due no later than `until`.
    pub fn next(&mut self, until: Time) -> Option<(Time, Happening)> {
        if self.heap.peek().is_none_or(|Reverse(next)| next.at > until) {
            return None;
        }
        self.heap.pop().map(|Reverse(next)| (next.at, next.what))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
