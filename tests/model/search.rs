//! Breadth first through all states, each once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use super::world::{Choices, Step, World};

/// What came of a search.
pub enum Found {
    /// Every state that can be reached keeps the promises.
    Nothing {
        states: usize,
        /// In how many of them the new term is open.
        opened: usize,
    },
    /// One does not, and no way to such a state is shorter.
    Broken { text: String, states: usize, steps: Vec<String> },
}

/// Goes through all states that can be reached. Panics beyond `most` of them.
pub fn search(choices: &Choices, most: usize) -> Found {
    let first = World::new(choices);
    let mut seen = HashSet::from([fingerprint(&first)]);
    // How each state was come to: the state before, and the step.
    let mut ways: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut queue = VecDeque::from([(0, first)]);
    let mut opened = 0;
    while let Some((at, world)) = queue.pop_front() {
        opened += usize::from(world.has_opened());
        for step in world.steps() {
            let mut next = world.clone();
            next.take(choices, step);
            if let Some(text) = next.broken() {
                let mut steps = told(&ways, at);
                steps.push(format!("{step:?}"));
                return Found::Broken { text, states: seen.len(), steps };
            }
            if seen.insert(fingerprint(&next)) {
                assert!(seen.len() <= most, "more than {most} states");
                ways.push((at, Some(step)));
                queue.push_back((ways.len() - 1, next));
            }
        }
    }
    Found::Nothing { states: seen.len(), opened }
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn told(ways: &[(usize, Option<Step>)], mut at: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while let (before, Some(step)) = &ways[at] {
        steps.push(format!("{step:?}"));
        at = *before;
    }
    steps.reverse();
    steps
}
