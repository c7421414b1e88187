//! Runs `reader.py` over texts and reads what it says.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What the other reader makes of a text.
pub enum Read {
    /// Its grammar refuses it, with this error.
    Refused(String),
    Statements(Vec<Statement>),
}

/// One statement.
pub struct Statement {
    /// Type of the root of its tree.
    pub root: String,
    /// Where it stands, in bytes.
    pub place: Range<usize>,
    /// `writes`, `locks`, `into`: found anywhere in it.
    pub marks: BTreeSet<String>,
    /// Every name used, in the words of `Uses::names()`.
    pub names: BTreeSet<String>,
    /// What a session must follow.
    pub effects: BTreeSet<String>,
}

/// Reads all texts, in order.
pub fn read(texts: &[String]) -> Vec<Read> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "the second parser is missing: run ./dev setup");
    let mut child = Command::new(python)
        .arg(root.join("tests/second_parser/reader.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input: String = texts.iter().map(|text| Value::from(text.as_str()).to_string() + "\n").collect();
    // It answers while it reads.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it can be waited for");
    let hint = "if a module is missing, run ./dev setup";
    assert!(output.status.success() && writer.join().expect("no panic").is_ok(), "{hint}");
    let answers: Vec<Read> = String::from_utf8(output.stdout).expect("JSON").lines().map(answer).collect();
    assert_eq!(answers.len(), texts.len());
    answers
}

fn answer(line: &str) -> Read {
    let value: Value = serde_json::from_str(line).expect("a line of JSON");
    match value["statements"].as_array() {
        Some(statements) => Read::Statements(statements.iter().map(statement).collect()),
        None => Read::Refused(value["error"].to_string()),
    }
}

fn statement(value: &Value) -> Statement {
    let number = |field: &str| value[field].as_u64().expect("a place") as usize;
    let set = |field: &str| {
        let all = value[field].as_array().expect("a list").iter();
        all.map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    Statement {
        root: value["root"].as_str().expect("a type").to_owned(),
        place: number("from")..number("upto"),
        marks: set("marks"),
        names: set("names"),
        effects: set("effects"),
    }
}
