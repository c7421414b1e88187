//! What PostgreSQL itself tells the scripts on what a session may hold, written down: one file for each file of scripts.
//!
//! So these scripts are held against three things: a server, the endpoint, and the file. With `BELLWETHER_BLESS` set the
//! files are written anew, from the server.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::message::Numbers;
use crate::run::Transcript;

/// The files of scripts whose answers are written down.
pub const FILES: &[&str] = &[
    "advisory_locks",
    "copy",
    "cursors",
    "do_blocks",
    "large_objects",
    "listen_notify",
    "prepared_protocol",
    "prepared_sql",
    "savepoints",
    "settings",
    "temp_tables",
    "two_phase",
];

/// Compares, or writes; says what is not as written.
pub fn check(file: &str, runs: &[(&str, Numbers, &Transcript)]) -> Option<String> {
    if runs.is_empty() {
        return None;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential/expected").join(file);
    let path = path.with_extension("txt");
    let text: String = runs.iter().map(|(name, numbers, told)| rendered(name, *numbers, told)).collect();
    if std::env::var_os("BELLWETHER_BLESS").is_some() {
        fs::write(&path, text).expect("the file can be written");
        return None;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(text.lines()).position(|(written, told)| written != told);
    let (written, told) = (expected.lines().count(), text.lines().count());
    match differs {
        Some(at) => {
            let of = |text: &str| text.lines().nth(at).unwrap_or_default().to_owned();
            Some(format!("expected/{file}.txt:{}:\n  {}\n  told: {}", at + 1, of(&expected), of(&text)))
        }
        None if written != told => {
            Some(format!("expected/{file}.txt: {written} lines, and {told} were told"))
        }
        None => None,
    }
}

/// Without the login, the places in the server's source, which move with its version, and what depends on the
/// numbers of this run.
fn rendered(name: &str, numbers: Numbers, transcript: &Transcript) -> String {
    let mut text = format!("== {name}\n");
    for told in transcript.iter().filter(|told| !told.step.ends_with("logs in")) {
        let _ = writeln!(text, "{}", told.step.replace('\n', "\n  "));
        for line in &told.lines {
            let ends = [" F=", ", hash "].iter().filter_map(|end| line.find(end));
            let shown = &line[..ends.min().unwrap_or(line.len())];
            let _ = writeln!(text, "    {shown}");
        }
    }
    let text = text.replace(&numbers.key.to_string(), "{key}");
    ["work_", "home_", "differential "].iter().fold(text + "\n", |text, word| {
        text.replace(&format!("{word}{:02}", numbers.home), &format!("{word}{{n}}"))
    })
}
