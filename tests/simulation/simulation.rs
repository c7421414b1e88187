//! The simulator: whole clusters in virtual time, with the real machines of `cluster` inside and everything else
//! made up, faults drawn from a seed, promises checked after every event.
//!
//! `./dev simulate --seeds N` runs more seeds than the tests do, `./dev simulate --seed S` tells one's story.

// Under the name the library has: what is simulated is its source.
extern crate leadership as bellwether;

mod checker;
mod chosen;
mod client;
mod clock;
mod command;
mod coverage;
mod direct;
mod faults;
mod happening;
mod liveness;
mod network;
mod operator;
mod planted;
mod power;
mod process;
mod queue;
mod random;
mod recipes;
mod replication;
mod report;
mod run;
mod server;
mod store;
mod story;
mod wal;
mod world;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether::cluster::Mutation;
use coverage::Coverage;
use run::run;
use world::Options;

/// Runs seeds on `threads` threads; returns what they saw, or the first that fails.
fn run_seeds(seeds: Range<u64>, threads: usize, options: &Options) -> Result<Coverage, u64> {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let seen = Mutex::new(Coverage::default());
    let work = || {
        let mut mine = Coverage::default();
        while failed.load(Ordering::Relaxed) == u64::MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let outcome = run(seed, options);
            mine.add(&outcome.coverage);
            if outcome.violation.is_some() {
                failed.fetch_min(seed, Ordering::Relaxed);
            }
        }
        seen.lock().expect("no run panics past its own guard").add(&mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    match failed.into_inner() {
        u64::MAX => Ok(seen.into_inner().expect("all threads are done")),
        seed => Err(seed),
    }
}

/// The seeds that broke a promise once.
fn known_seeds() -> impl Iterator<Item = u64> {
    let lines = include_str!("seeds.txt").lines();
    let bare = lines.filter_map(|line| line.split('#').next().map(str::trim)).filter(|line| !line.is_empty());
    bare.map(|line| line.parse().expect("a line of seeds.txt begins with a number"))
}

#[test]
fn seeds_that_failed_once() {
    for seed in known_seeds() {
        if run(seed, &Options::default()).violation.is_some() {
            panic!("{}", report::describe(seed, &Options::default()));
        }
    }
}

/// Runs a share of the seeds every test run goes through, and looks whether both ends of each story occurred.
fn run_share(share: u64) {
    let seeds = share * SHARE..(share + 1) * SHARE;
    let coverage = match run_seeds(seeds, 1, &Options::default()) {
        Ok(seen) => seen,
        Err(seed) => panic!("{}", report::describe(seed, &Options::default())),
    };
    println!("{SHARE} seeds keep every promise");
    for situation in SITUATIONS {
        assert!(coverage.count(situation) > 0, "no seed of {SHARE} came to this: {situation}");
    }
}

/// Seeds in a share. There are four, each a test, so that the cores share them.
const SHARE: u64 = 2500;

/// What must have been seen in a share: operations that end well, and operations that are given up.
const SITUATIONS: &[&str] = &[
    "failover done",
    "reopened for the same leader",
    "second candidate",
    "switchover done",
    "switchover cancelled",
    "forced failover done",
    "acknowledged commits lost",
    "answer withheld",
    "applied, answer lost",
    "coordinator died between two steps",
    "deposed coordinator stopped at a node",
    "order of a lost session",
    "operator rewinds",
];

#[test]
fn seeds_first_share() {
    run_share(0);
}

#[test]
fn seeds_second_share() {
    run_share(1);
}

#[test]
fn seeds_third_share() {
    run_share(2);
}

#[test]
fn seeds_fourth_share() {
    run_share(3);
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let told = Options { story: true, ..Options::default() };
    for seed in 0..20 {
        let (first, second) = (run(seed, &told), run(seed, &told));
        assert_eq!(first.story, second.story, "seed {seed}");
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        // Telling it changes nothing.
        assert_eq!(run(seed, &Options::default()).fingerprint, first.fingerprint, "seed {seed}");
    }
}

/// What `./dev simulate` runs.
#[test]
#[ignore = "run by ./dev simulate"]
fn simulate() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("BELLWETHER_SIMULATE_SEED") {
        let outcome = run(seed, &Options { story: true, ..Options::default() });
        println!("{}", outcome.story.join("\n"));
        println!("{} happenings, {} commits", outcome.happenings, outcome.commits);
        match outcome.violation {
            Some(violation) => panic!("seed {seed} breaks {}: {}", violation.promise, violation.text),
            None => return println!("seed {seed} keeps every promise"),
        }
    }
    let first = number("BELLWETHER_SIMULATE_FROM").unwrap_or(0);
    let count = number("BELLWETHER_SIMULATE_SEEDS").unwrap_or(10_000);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    match run_seeds(first..first + count, threads, &Options::default()) {
        Err(seed) => panic!("{}", report::describe(seed, &Options::default())),
        Ok(coverage) => {
            println!("{count} seeds keep every promise");
            for (situation, times) in coverage.all() {
                println!("{times:>12}  {situation}");
            }
        }
    }
}

/// Every planted bug is caught: by the seed that found it before, or, should the world have changed, by another one.
#[test]
fn planted_bugs_are_caught() {
    let most = std::env::var("BELLWETHER_SIMULATE_SEEDS").map_or(300, |text| text.parse().expect("a number"));
    let bugs = planted::Known::all();
    let found = planted::search(&bugs, most, 1);
    println!("{}", planted::table(&found));
    for bug in planted::Bug::all() {
        assert!(bugs.iter().any(|known| known.bug == bug), "planted.txt lacks {}", bug.name());
    }
    let missed: Vec<String> =
        found.iter().filter(|one| one.by.is_none()).map(|one| one.known.bug.name()).collect();
    assert!(missed.is_empty(), "not caught: {}\n{}", missed.join(", "), planted::table(&found));
}

/// What is told of a broken promise is what it takes, and no more.
#[test]
fn a_broken_promise_is_told_with_the_faults_it_takes() {
    let bugs = planted::Known::all();
    let known = bugs.iter().find(|known| known.bug == planted::Bug::Machine(Mutation::FenceSkipped));
    let known = known.expect("it stands in planted.txt");
    let told = report::describe(known.seed, &known.options());
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with(&format!("seed {} breaks ", known.seed)), "{told}");
    let of_fault = |line: &&&str| line.strip_prefix("  ").is_some_and(|rest| !rest.starts_with(' '));
    let faults = lines.iter().filter(of_fault).count();
    assert!((1..=3).contains(&faults), "{told}");
    assert!(told.contains("BROKEN"), "{told}");
}
