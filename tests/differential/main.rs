//! The endpoint is no different from a server: scripts are run directly and through it, and every message must be the same.
//!
//! Each script of `scripts/` runs as it stands and in the variants that follow from it, in sessions of its own, three times:
//! on the primary itself, through a proxy that spreads reads over two standbys, and through one that has two servers a
//! node for twenty clients, so that every statement may find another server. The format is told in [`script`], what two
//! runs cannot have in common in [`shown`], and what differs on purpose in `by_design.txt`.

mod compare;
mod expected;
mod grounds;
mod message;
#[allow(dead_code)] // It belongs to the end-to-end tests.
#[path = "../e2e/support/raw.rs"]
mod raw;
mod run;
mod script;
mod session;
mod shown;
mod variants;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use compare::ByDesign;
use grounds::{Grounds, HOMES, Way};
use message::Numbers;
use run::{Transcript, run};
use script::Script;

/// One script with its numbers; those of a script and its variants have the same home, one after the other.
struct Case {
    script: Script,
    numbers: Numbers,
    derived: bool,
}

#[test]
fn the_endpoint_tells_what_a_server_tells() {
    let scripts = scripts();
    let cases = cases(&scripts);
    let grounds = Grounds::prepare();
    let direct = everybody(&cases, &grounds, &[Way::Direct, Way::Split], &|_| true);
    // Whoever has three sessions that keep their servers would wait for the third for ever. Of the variants every other one.
    let some =
        |case: &Case| case.script.clients() <= 2 && (!case.derived || case.numbers.key.is_multiple_of(2));
    let crowded = everybody(&cases, &grounds, &[Way::Crowded], &some);
    let mut by_design = ByDesign::read(include_str!("by_design.txt"));
    let mut complaints = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let told = &direct[index][0];
        let lost = told.iter().find(|told| told.lines.iter().any(|line| line == session::NO_ANSWER));
        complaints
            .extend(lost.map(|told| format!("{}: {}: no server answers that", case.script.name, told.step)));
        let others = [(Way::Split, direct[index].get(1)), (Way::Crowded, crowded[index].first())];
        for (way, other) in others {
            let other = other
                .and_then(|other| compare::difference(&case.script.name, way, told, other, &mut by_design));
            complaints.extend(other);
        }
    }
    if wished().is_none() {
        complaints.extend(by_design.stale());
        complaints.extend(unexpected(&cases, &direct));
    }
    println!("{} scripts, {} with their variants", scripts.len(), cases.len());
    let shown = complaints.join("\n");
    assert!(complaints.is_empty(), "{} differences\n{shown}\n{}", complaints.len(), grounds.logs());
    // Or nothing of this has said anything about standbys.
    for way in [Way::Split, Way::Crowded] {
        let reads = grounds.reads_on_standbys(way);
        println!("{way:?}: {reads} requests went to standbys");
        assert!(reads > 500.0 || wished().is_some(), "{way:?}: only {reads} reads went to standbys");
    }
}

#[test]
fn there_are_three_hundred_scripts() {
    let scripts = scripts();
    assert!(scripts.len() >= 300, "only {} scripts", scripts.len());
}

/// Runs every case that `takes_part` on these ways, the homes side by side; what was told on each. After a schema change
/// names are the primary's until the catalog has been loaded again, so those who make some come when the others are through.
fn everybody(
    cases: &[Case],
    grounds: &Grounds,
    ways: &[Way],
    takes_part: &(dyn Fn(&Case) -> bool + Sync),
) -> Vec<Vec<Transcript>> {
    let told: Vec<Mutex<Vec<Transcript>>> = cases.iter().map(|_| Mutex::default()).collect();
    // Two sessions that keep their servers shall find a second one; others give theirs back by themselves.
    let pairs = Mutex::new(());
    let run_those = |change: bool| {
        std::thread::scope(|scope| {
            for home in 0..HOMES {
                let (told, pairs) = (&told, &pairs);
                scope.spawn(move || {
                    let keepers: Vec<_> = ways.iter().map(|way| (*way, grounds.keeper(*way))).collect();
                    let ours = cases.iter().zip(told).filter(|(case, _)| case.numbers.home == home);
                    let ours = ours.filter(|(case, _)| case.script.changes_schema() == change);
                    for (case, told) in ours.filter(|(case, _)| takes_part(case)) {
                        let pair = ways.contains(&Way::Crowded) && case.script.clients() > 1;
                        let _one_pair = pair.then(|| pairs.lock().unwrap_or_else(PoisonError::into_inner));
                        let all = keepers
                            .iter()
                            .map(|(way, keeper)| run(&case.script, case.numbers, *way, grounds, keeper));
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = all.collect();
                    }
                });
            }
        })
    };
    run_those(false);
    run_those(true);
    told.into_iter().map(|told| told.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// What is not as it is written down.
fn unexpected(cases: &[Case], told: &[Vec<Transcript>]) -> Vec<String> {
    let of_file = |file: &&str| {
        let ours = cases.iter().zip(told).filter(|(case, _)| !case.derived && case.script.file == **file);
        let runs: Vec<_> = ours.map(|(case, told)| (&*case.script.name, case.numbers, &told[0])).collect();
        expected::check(file, &runs)
    };
    expected::FILES.iter().filter_map(of_file).collect()
}

fn cases(scripts: &[Script]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, script) in scripts.iter().enumerate() {
        let all = [(script.clone(), false)].into_iter();
        for (script, derived) in all.chain(variants::of(script).into_iter().map(|variant| (variant, true))) {
            let numbers = Numbers { key: 7_000_000 + cases.len(), home: index % HOMES };
            cases.push(Case { script, numbers, derived });
        }
    }
    cases
}

/// All files, in order of their names.
fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/scripts");
    let files = fs::read_dir(folder).expect("the scripts are there");
    let mut files: Vec<_> = files.map(|file| file.expect("it can be listed").path()).collect();
    files.sort();
    let mut scripts: Vec<Script> = Vec::new();
    for file in files {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("a script is text");
        scripts.extend(script::read(&name, &text).unwrap_or_else(|error| panic!("{error}")));
    }
    if let Some(wished) = wished() {
        scripts.retain(|script| wished.split(',').any(|part| script.name.contains(part)));
    }
    scripts
}

/// `BELLWETHER_SCRIPTS`: parts of names, with commas between them. Only scripts with one of them run then, and what is to be
/// said of all of them is not asked.
fn wished() -> Option<String> {
    std::env::var("BELLWETHER_SCRIPTS").ok()
}
