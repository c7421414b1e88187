//! Replays the corpus of the fuzz targets, and bytes made from it, through the same functions on the stable toolchain.

use std::fs;
use std::path::Path;

use bellwether::{auth, proxy, session, sql, wire};

/// How many inputs are made from the corpus, for each target.
const MADE: usize = 3000;

fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
    corpus.iter().for_each(|input| run(input));
    let mut random = fastrand::Rng::with_seed(7);
    for number in 0..MADE {
        let mut input = corpus[number % corpus.len()].clone();
        for _ in 0..random.usize(1..8) {
            mutate(&mut input, &corpus, &mut random);
        }
        run(&input);
    }
}

/// Changes, adds or takes away a few bytes.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    match random.u8(0..4) {
        0 if at < input.len() => input[at] = random.u8(..),
        1 => input.truncate(at),
        2 => input.extend((0..random.usize(1..60)).map(|_| random.u8(..))),
        _ => {
            let other = &corpus[random.usize(..corpus.len())];
            let from = random.usize(..=other.len());
            input.splice(at..at, other[from..].iter().copied());
        }
    }
}

#[test]
fn frames() {
    replay("frames", wire::exercise::frames);
}

#[test]
fn startup() {
    replay("startup", |data| {
        wire::exercise::first_packet(data);
        proxy::exercise::first_packet(data);
    });
}

#[test]
fn scram() {
    replay("scram", |data| {
        auth::exercise::client_login(data);
        auth::exercise::server_login(data);
        auth::exercise::texts(data);
    });
}

#[test]
fn session_ops() {
    replay("session_ops", session::exercise::operations);
}

#[test]
fn texts() {
    replay("sql", sql::exercise::text);
}
