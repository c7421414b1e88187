//! Bugs planted in the protocol, one at a time: the simulator must find every one, or it proves nothing.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether::cluster::{Mutated, Mutation};

use super::recipes::Recipe;
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

/// Where a bug is looked for, and what found it before.
#[derive(Clone, Debug)]
pub struct Known {
    pub bug: Bug,
    /// The recipe that leads to it; `None` when the faults of any seed do.
    pub recipe: Option<Recipe>,
    pub seed: u64,
    /// What is wrong, for people.
    pub what: String,
}

/// How a bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub known: Known,
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

    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            Bug::Machine(mutation) => format!("{mutation:?}"),
            Bug::LazyClocks => "LazyClocks".to_owned(),
        }
    }
}

impl Known {
    /// Reads `planted.txt`.
    pub fn all() -> Vec<Known> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/planted.txt");
        let text = std::fs::read_to_string(path).expect("planted.txt can be read");
        let lines = text.lines();
        let bare = lines.filter_map(|line| line.split('#').next().map(str::trim));
        bare.filter(|line| !line.is_empty()).map(Known::read).collect()
    }

    fn read(line: &str) -> Known {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [bug, recipe, seed, ..] = words[..] else { panic!("not a bug, a recipe and a seed: {line}") };
        let named = |one: &&Recipe| format!("{one:?}") == recipe;
        let found = Recipe::ALL.iter().find(named).copied();
        assert!(found.is_some() || recipe == "any", "no recipe {recipe}");
        Known {
            bug: Bug::all()
                .into_iter()
                .find(|one| one.name() == bug)
                .unwrap_or_else(|| panic!("no bug {bug}")),
            recipe: found,
            seed: seed.parse().expect("a seed is a number"),
            what: words[3..].join(" "),
        }
    }

    /// A run with the bug in it.
    pub fn options(&self) -> Options {
        let recipe = self.recipe;
        match self.bug {
            Bug::Machine(mutation) => {
                Options { mutated: Mutated::by(mutation), recipe, ..Options::default() }
            }
            Bug::LazyClocks => Options { lazy_clocks: true, recipe, ..Options::default() },
        }
    }

    /// Runs the seed that found the bug before, then seeds from 0 on until one finds it, `most` at most.
    fn search(&self, most: u64) -> Found {
        let options = self.options();
        let mut tried = 0;
        for seed in std::iter::once(self.seed).chain(0..most) {
            tried += 1;
            if let Some(violation) = run(seed, &options).violation {
                return Found { known: self.clone(), by: Some((seed, violation.promise)), tried };
            }
        }
        Found { known: self.clone(), by: None, tried }
    }
}

/// Searches for several bugs at once.
pub fn search(bugs: &[Known], most: u64, threads: usize) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(known) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = known.search(most);
                    found.lock().expect("runs guard their panics").push(result);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("all threads are done");
    found.sort_by_key(|one| bugs.iter().position(|known| known.bug == one.known.bug));
    found
}

/// The table: bug, what is wrong, the promise or rule that caught it, by which seed and recipe, after how many.
pub fn table(found: &[Found]) -> String {
    let mut text = String::new();
    let mut row = |cells: [&str; 6]| {
        let [bug, by, seed, recipe, tried, what] = cells;
        let _ = writeln!(text, "{bug:<24} {by:<10} {seed:>6} {recipe:<18} {tried:>6}  {what}");
    };
    row(["planted bug", "caught by", "seed", "recipe", "tried", "what is wrong"]);
    for one in found {
        let recipe = one.known.recipe.map_or("any".to_owned(), |recipe| format!("{recipe:?}"));
        let (promise, seed) = match one.by {
            Some((seed, promise)) => (promise, seed.to_string()),
            None => ("NOT CAUGHT", "-".to_owned()),
        };
        let (name, tried) = (one.known.bug.name(), one.tried.to_string());
        row([&name, promise, &seed, &recipe, &tried, &one.known.what]);
    }
    text
}
