//! One run: the world of a seed from its beginning until all is well again, or until a promise is broken.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checker::Violation;
use super::clock::MS;
use super::coverage::Coverage;
use super::faults::Fault;
use super::liveness::PATIENCE;
use super::world::{Options, World};

/// What came of a run.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub coverage: Coverage,
    pub fingerprint: u64,
    pub story: Vec<String>,
    pub faults: Vec<Fault>,
    pub commits: u64,
    pub happenings: u64,
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut world = World::new(seed, options);
    let faults = world.plan.faults.clone();
    // A machine that panics has broken a promise as well.
    let broken = catch_unwind(AssertUnwindSafe(|| live(&mut world))).err();
    if let Some(panic) = broken {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        world.violate("panic", text);
    }
    Outcome {
        violation: world.checker.violation.clone(),
        coverage: world.coverage.clone(),
        fingerprint: world.story.fingerprint(),
        story: world.story.lines().to_vec(),
        faults,
        commits: world.checker.commits,
        happenings: world.happenings,
    }
}

/// Lives through the faults, then waits until all is well.
fn live(world: &mut World) {
    let over = world.plan.over;
    world.run_until(over);
    if world.checker.violation.is_some() {
        return;
    }
    world.quiet = true;
    let most = over + PATIENCE + world.grace();
    loop {
        if world.checker.violation.is_some() {
            return;
        }
        match world.what_is_missing(over) {
            None => return,
            Some((promise, text)) if world.now >= most => return world.violate(promise, text),
            Some(_) => world.run_until((world.now + 100 * MS).min(most)),
        }
    }
}
