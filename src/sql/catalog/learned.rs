//! Remembers which statements standbys have refused although the catalog took them for plain reads.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Stands for all statements that use the same names, whatever their literals. Two different ones may be taken for
/// one another, which costs no more than reads on the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape(NonZeroU64);

impl Shape {
    /// Returns the shape of what uses these names.
    pub(in crate::sql) fn of(names: &impl Hash) -> Shape {
        let mut hasher = DefaultHasher::new();
        names.hash(&mut hasher);
        Shape(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
    }
}

/// The shapes learned of one catalog; gone with it. Shared by all workers without a lock.
#[derive(Debug)]
pub(super) struct Learned {
    /// Whether there is anything: mostly there is not, and this alone is looked at.
    any: AtomicBool,
    /// Sets of [`WAYS`]; 0 is free.
    slots: Box<[AtomicU64]>,
}

/// An application has few functions that lie, so this is plenty; it takes 8 KiB.
const SETS: usize = 256;

const WAYS: usize = 4;

impl Learned {
    /// Remembers a shape. In a set that is full it takes the place of another, which will be learned again.
    pub fn add(&self, shape: Shape) {
        let set = self.set(shape);
        if set.iter().any(|slot| slot.load(Ordering::Relaxed) == shape.0.get()) {
            return;
        }
        let free = set.iter().find(|slot| slot.load(Ordering::Relaxed) == 0);
        // Bits that did not choose the set.
        let slot = free.or(set.get(shape.0.get() as usize / SETS % WAYS));
        if let Some(slot) = slot {
            slot.store(shape.0.get(), Ordering::Relaxed);
        }
        self.any.store(true, Ordering::Release);
    }

    /// Tells whether the shape was learned.
    pub fn has(&self, shape: Shape) -> bool {
        self.any.load(Ordering::Acquire)
            && self.set(shape).iter().any(|slot| slot.load(Ordering::Relaxed) == shape.0.get())
    }

    fn set(&self, shape: Shape) -> &[AtomicU64] {
        let first = shape.0.get() as usize % SETS * WAYS;
        self.slots.get(first..first + WAYS).unwrap_or_default()
    }
}

impl Default for Learned {
    fn default() -> Learned {
        let slots = std::iter::repeat_with(AtomicU64::default).take(SETS * WAYS).collect();
        Learned { any: AtomicBool::new(false), slots }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_known_and_memory_is_bounded() {
        let learned = Learned::default();
        let shape = |n: u32| Shape::of(&n);
        assert!(!learned.has(shape(1)));
        learned.add(shape(1));
        learned.add(shape(1));
        assert!(learned.has(shape(1)) && !learned.has(shape(2)));
        for n in 0..100_000 {
            learned.add(shape(n));
            assert!(learned.has(shape(n)), "the newest is always known");
        }
        let known = (0..100_000).filter(|n| learned.has(shape(*n))).count();
        assert!((SETS..=SETS * WAYS).contains(&known), "{known}");
    }
}
