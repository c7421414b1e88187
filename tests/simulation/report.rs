//! What is printed of a run that broke a promise: the few faults it takes, and its story.

use std::fmt::Write;

use super::run::{Outcome, run};
use super::world::Options;

/// How much of a story is printed when it is not asked for: its end.
const LINES: usize = 120;

/// Cuts the faults of a failing seed down to those it takes.
pub fn minimize(seed: u64, options: &Options) -> Options {
    let all = run(seed, options).faults;
    let mut kept: Vec<usize> = all.iter().map(|fault| fault.number).collect();
    let fails = |only: &[usize]| {
        let fewer = Options { only: Some(only.to_vec()), ..options.clone() };
        run(seed, &fewer).violation.is_some()
    };
    let mut index = 0;
    while index < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(index);
        if fails(&fewer) {
            kept = fewer;
            index = 0;
        } else {
            index += 1;
        }
    }
    Options { only: Some(kept), ..options.clone() }
}

/// Tells a failing seed: its promise, its faults, and how it came to it.
pub fn describe(seed: u64, options: &Options) -> String {
    let few = minimize(seed, options);
    let outcome = run(seed, &Options { story: true, ..few });
    let mut text = String::new();
    match &outcome.violation {
        Some(violation) => {
            let _ = writeln!(text, "seed {seed} breaks {}: {}", violation.promise, violation.text);
        }
        None => {
            let _ = writeln!(text, "seed {seed} keeps every promise");
        }
    }
    tell_faults(&mut text, &outcome);
    let skipped = outcome.story.len().saturating_sub(LINES);
    if skipped > 0 {
        let _ = writeln!(text, "... {skipped} lines before; ./dev simulate --seed {seed} prints them all");
    }
    for line in &outcome.story[skipped..] {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn tell_faults(text: &mut String, outcome: &Outcome) {
    let _ = writeln!(text, "it takes {} faults:", outcome.faults.len());
    for fault in &outcome.faults {
        let (from, until) = (fault.from as f64 / 1e6, fault.until as f64 / 1e6);
        let _ = writeln!(text, "  {}: {:?} from {from:.3} to {until:.3}", fault.number, fault.what);
    }
}
