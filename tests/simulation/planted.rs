//! Bugs planted in the protocol, one at a time: the simulator must find every one, or it proves nothing.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether::cluster::{Mutated, Mutation};

use super::run::run;
use super::world::Options;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In the machines.
    Machine(Mutation),
    /// In the shell: clocks stand still while a machine is suspended, as CLOCK_MONOTONIC does.
    LazyClocks,
}

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub bug: Bug,
    /// The seed that broke a promise, and which; `None` when no seed tried did.
    pub by: Option<(u64, &'static str)>,
    /// How many seeds were tried.
    pub tried: u64,
}

impl Bug {
    /// All of them.
    pub fn all() -> Vec<Bug> {
        Mutation::ALL.iter().map(|mutation| Bug::Machine(*mutation)).chain([Bug::LazyClocks]).collect()
    }

    /// A run with the bug in it.
    pub fn options(self) -> Options {
        match self {
            Bug::Machine(mutation) => Options { mutated: Mutated::by(mutation), ..Options::default() },
            Bug::LazyClocks => Options { lazy_clocks: true, ..Options::default() },
        }
    }

    /// Runs seeds from 0 on until one finds the bug, `most` at most. The bug's `hint` is tried first: a seed that
    /// found it before.
    fn search(self, most: u64, hint: Option<u64>) -> Found {
        let options = self.options();
        let mut tried = 0;
        for seed in hint.into_iter().chain(0..most) {
            tried += 1;
            if let Some(violation) = run(seed, &options).violation {
                return Found { bug: self, by: Some((seed, violation.promise)), tried };
            }
        }
        Found { bug: self, by: None, tried }
    }
}

/// Searches for several bugs at once.
pub fn search(
    bugs: &[Bug],
    most: u64,
    hints: impl Fn(Bug) -> Option<u64> + Sync,
    threads: usize,
) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = bug.search(most, hints(*bug));
                    found.lock().expect("runs guard their panics").push(result);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("all threads are done");
    found.sort_by_key(|one| bugs.iter().position(|bug| *bug == one.bug));
    found
}

/// The table: bug, the promise that caught it, by which seed, after how many.
pub fn table(found: &[Found]) -> String {
    let mut text = format!("{:<28} {:<10} {:>8} {:>8}\n", "planted bug", "caught by", "seed", "tried");
    for one in found {
        let name = match one.bug {
            Bug::Machine(mutation) => format!("{mutation:?}"),
            Bug::LazyClocks => "LazyClocks".to_owned(),
        };
        let (promise, seed) = match one.by {
            Some((seed, promise)) => (promise, seed.to_string()),
            None => ("NOT CAUGHT", "-".to_owned()),
        };
        let _ = writeln!(text, "{name:<28} {promise:<10} {seed:>8} {:>8}", one.tried);
    }
    text
}
