//! Permission and fence, exhaustively: every order in which questions are asked, applied, answered, delayed and lost while
//! the lead moves once. The machine of the proxies is the real one; the store and the one who moves the lead are small.
//!
//! The simulator in `tests/simulation` looks at whole clusters and draws; this looks at two proxies and leaves nothing out.

extern crate leadership as bellwether;

mod fence;
mod search;
mod world;

use bellwether::cluster::{Mutated, Mutation};

use search::{Found, search};
use world::{Choices, ERROR_PPM};

/// Clocks as wrong as they may be: of both proxies, and of whoever moves the lead, which is fast, so that it waits too short.
const CLOCKS: [[i64; 3]; 2] = [[-ERROR_PPM, ERROR_PPM, ERROR_PPM], [-ERROR_PPM, -ERROR_PPM, ERROR_PPM]];

/// More states than this would be a model that was not meant.
const MOST: usize = 3_000_000;

#[test]
fn one_leader_is_heard_at_a_time() {
    let [one_slow, both_slow] = CLOCKS;
    let cases = [
        ("both have permission", Choices { clocks: one_slow, ..Choices::default() }),
        ("one has asked again", Choices { clocks: both_slow, asked: true, ..Choices::default() }),
        ("one has just started", Choices { clocks: both_slow, newborn: true, ..Choices::default() }),
    ];
    let mut states = 0;
    for (what, choices) in cases {
        match search(&choices, MOST) {
            Found::Nothing { states: some, opened } => {
                println!("{what}: {some} states, in {opened} of them the new term is open");
                assert!(opened > 0, "the lead never moves");
                states += some;
            }
            Found::Broken { text, steps, .. } => panic!("{text}\n{}", steps.join("\n")),
        }
    }
    println!("{states} states keep S1, S2 and P4");
}

/// A model that finds nothing must be able to find something.
#[test]
fn planted_bugs_are_found() {
    let asked = Choices { clocks: CLOCKS[1], asked: true, ..Choices::default() };
    let planted = |bug| Choices { mutated: Mutated::by(bug), ..asked };
    let cases = [
        ("PermissionFromReceipt", planted(Mutation::PermissionFromReceipt)),
        ("FrozenRenews", planted(Mutation::FrozenRenews)),
        ("NoAckGate", planted(Mutation::NoAckGate)),
        ("AckBeforeClosed", planted(Mutation::AckBeforeClosed)),
        ("GrantIgnored", Choices { newborn: true, ..planted(Mutation::GrantIgnored) }),
        ("a fence without the clocks' error", Choices { hasty: true, ..asked }),
    ];
    let mut missed = Vec::new();
    println!("{:<34} {:>7} {:>6}  what it breaks", "planted bug", "states", "steps");
    for (name, choices) in cases {
        match search(&choices, MOST) {
            Found::Broken { text, states, steps } => {
                println!("{name:<34} {states:>7} {:>6}  {text}", steps.len());
            }
            Found::Nothing { .. } => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
