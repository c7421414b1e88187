//! Holds the house in order: who may import whom, where foreign crates live, what is pure, how long a file is.
//!
//! The tables below are the design. A new arrow is a decision: change the table and argue for it in the commit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Each group and the groups it may import, in layer order.
const IMPORTS: &[(&str, &[&str])] = &[
    ("pg", &[]),
    ("topology", &["pg"]),
    ("wire", &["pg"]),
    ("auth", &["wire", "pg"]),
    ("sql", &["pg"]),
    ("routing", &["sql", "topology", "pg"]),
    ("session", &["wire", "sql", "routing", "topology", "pg"]),
    ("cluster", &["topology", "pg"]),
    ("pool", &["wire", "auth", "session", "topology", "pg"]),
    ("store", &["cluster", "topology", "pg"]),
    ("telemetry", &["topology", "pg"]),
    ("config", &["pg", "topology", "auth", "routing", "session", "cluster", "pool", "store"]),
    (
        "proxy",
        &[
            "pg",
            "topology",
            "wire",
            "auth",
            "sql",
            "routing",
            "session",
            "cluster",
            "pool",
            "store",
            "telemetry",
            "config",
        ],
    ),
    ("coordinator", &["cluster", "store", "topology", "telemetry", "config", "pg"]),
    ("agent", &["pg"]),
    ("api", &["topology", "telemetry", "config", "pg"]),
    ("cli", &["topology", "config", "pg"]),
    ("lab", &["pg", "config"]),
    // The binary's own, as main.rs is: what operators ask of a leading proxy. It names the library by its name.
    ("leading", &[]),
];

/// No socket, clock, task, randomness or logging in these.
const PURE: &[&str] = &["pg", "topology", "wire", "auth", "sql", "routing", "session", "cluster"];

/// What the pure groups must not name. The clippy lint finds calls; this finds imports.
const IMPURE: &[&str] = &[
    "tokio::",
    "tracing::",
    "std::fs",
    "std::thread",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "Instant::now",
    "SystemTime::now",
    "fastrand::",
    "getrandom::",
    "println!",
    "eprintln!",
];

/// Foreign crates and the files or folders (under `src`) that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("tokio_postgres", &["coordinator/session", "lab/workload"]),
    ("postgres_protocol", &["wire/", "auth/"]),
    ("prometheus_client", &["telemetry/"]),
    ("clap", &["cli/args"]),
    ("pg_raw_parse", &["sql/parse"]),
    ("rustls", &["proxy/tls", "pool/tls", "pool/stream", "store/etcd/tls"]),
    ("tokio_rustls", &["proxy/tls", "pool/tls", "pool/stream", "store/etcd/tls"]),
    // A server of HTTP/1, a client of HTTP/2, and the command line's client of HTTP/1.
    ("hyper", &["api/", "store/etcd/", "cli/client"]),
    ("hyper_util", &["api/", "store/etcd/", "cli/client"]),
    ("http_body_util", &["api/", "store/etcd/", "cli/client"]),
    ("prost", &["store/etcd/"]),
    ("toml", &["config/"]),
];

/// A comfortable file has 150 to 400 lines; beyond this it has two jobs.
const LONGEST: usize = 500;

#[test]
fn imports_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut complaints = String::new();
    for file in sources() {
        let Some(group) = file.group() else { continue };
        let Some(allowed) = allowed.get(group) else {
            let _ = writeln!(complaints, "{}: group {group:?} is not in the table", file.name);
            continue;
        };
        for (line, found) in file.imports() {
            if found != group && !allowed.contains(&found.as_str()) {
                let _ = writeln!(complaints, "{}:{line}: {group} must not import {found}", file.name);
            }
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn foreign_crates_have_one_home() {
    let mut complaints = String::new();
    for file in sources() {
        for (name, homes) in HOMES {
            let at_home = homes.iter().any(|home| file.name.starts_with(home));
            let lines = file.code.iter().enumerate().filter(|(_, line)| names_crate(line, name));
            for (index, _) in lines.filter(|_| !at_home) {
                let _ = writeln!(complaints, "{}:{}: {name} lives in {homes:?}", file.name, index + 1);
            }
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn pure_groups_stay_pure() {
    let mut complaints = String::new();
    for file in sources().iter().filter(|file| file.group().is_some_and(|group| PURE.contains(&group))) {
        if file.name.matches('/').count() == 1
            && file.name.ends_with("/mod.rs")
            && !file.code.iter().any(|line| line == "#![deny(clippy::disallowed_methods)]")
        {
            let _ = writeln!(complaints, "{}: lacks #![deny(clippy::disallowed_methods)]", file.name);
        }
        for (index, line) in file.code.iter().enumerate() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                let _ = writeln!(complaints, "{}:{}: a pure group names {word}", file.name, index + 1);
            }
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn files_say_their_job_and_keep_to_it() {
    let mut complaints = String::new();
    for file in sources() {
        if !file.says_its_job {
            let _ = writeln!(complaints, "{}: the first line is not `//! ...`", file.name);
        }
        if file.code.len() > LONGEST {
            let _ = writeln!(complaints, "{}: {} lines without tests", file.name, file.code.len());
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn the_table_itself_points_down() {
    for (index, (group, allowed)) in IMPORTS.iter().enumerate() {
        for name in *allowed {
            let place = IMPORTS.iter().position(|(other, _)| other == name);
            assert!(place.is_some_and(|place| place < index), "{group} -> {name} points up or nowhere");
        }
    }
}

#[test]
fn every_way_to_write_an_import_is_seen() {
    let found = |name: &str, text: &str| -> Vec<String> {
        Source::read(name.to_owned(), text).imports().into_iter().map(|(_, group)| group).collect()
    };
    assert_eq!(
        found("sql/a.rs", "//! x\nuse crate::pg::Lsn;\nfn f(x: crate::wire::Frame) {}"),
        ["pg", "wire"]
    );
    assert_eq!(
        found("sql/a.rs", "//! x\nuse crate::{\n    pg::{Lsn, Timeline},\n    auth,\n};"),
        ["pg", "auth"]
    );
    assert_eq!(found("sql/a.rs", "//! x\nuse super::super::pool::Pool;"), ["pool"]);
    assert_eq!(found("sql/mod.rs", "//! x\nuse super::pool;"), ["pool"]);
    assert_eq!(found("sql/a.rs", "//! [`crate::pool`]\n/// crate::wire\nuse super::effects;"), [""; 0]);
    assert_eq!(found("sql/a.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use crate::lab;\n}"), [""; 0]);
}

/// One file under `src`, without its tests and comments.
struct Source {
    /// Path under `src`.
    name: String,
    says_its_job: bool,
    /// Lines before the tests, comments blanked.
    code: Vec<String>,
}

impl Source {
    fn read(name: String, text: &str) -> Source {
        let all: Vec<&str> = text.lines().collect();
        let tests = all.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]"
                && (pair[1].starts_with("mod tests") || pair[1].starts_with("#[path"))
        });
        let code = all[..tests.unwrap_or(all.len())].iter().map(|line| without_comment(line)).collect();
        Source { name, says_its_job: text.starts_with("//! "), code }
    }

    /// The group's folder; `None` for the crate's own files.
    fn group(&self) -> Option<&str> {
        self.name.split_once('/').map(|(group, _)| group)
    }

    /// Line number and name of every group this file refers to.
    fn imports(&self) -> Vec<(usize, String)> {
        let text = self.code.join("\n");
        let to_root = "super::".repeat(self.depth());
        let mut found = Vec::new();
        for root in ["crate::", &to_root] {
            for (at, _) in text.match_indices(root) {
                let continues =
                    text[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
                if !continues {
                    let line = text[..at].matches('\n').count() + 1;
                    found.extend(heads(&text[at + root.len()..]).into_iter().map(|head| (line, head)));
                }
            }
        }
        found.retain(|(_, head)| IMPORTS.iter().any(|(group, _)| group == head));
        found
    }

    /// How many `super::` lead to the crate's root.
    fn depth(&self) -> usize {
        let parts = self.name.split('/').count();
        if self.name.ends_with("mod.rs") { parts - 1 } else { parts }
    }
}

/// The first names of the paths that follow `crate::`: one, or several in braces.
fn heads(rest: &str) -> Vec<String> {
    let Some(inside) = rest.strip_prefix('{') else {
        return vec![leading_name(rest)];
    };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, letter) in inside.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(&inside[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(&inside[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> String {
    text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Whether the line has `NAME::` (or `use NAME`) as the start of a path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let starts = !before.is_some_and(|letter| letter.is_alphanumeric() || "_:.\"".contains(letter));
        let after = &line[at + name.len()..];
        starts
            && (after.starts_with("::") || (line.trim_start().starts_with("use ") && after.starts_with(';')))
    })
}

fn without_comment(line: &str) -> String {
    line.split("//").next().unwrap_or_default().trim_end().to_owned()
}

/// Every source file but those that only hold tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 30, "only {} files found under {}", files.len(), root.display());
    files.sort();
    let only_tests = |path: &PathBuf| {
        let under_tests = path.iter().any(|part| part == "tests");
        under_tests || path.file_name().is_some_and(|name| name == "tests.rs")
    };
    files.retain(|path| !only_tests(path));
    let source = |path: &PathBuf| {
        let name = path.strip_prefix(&root).expect("it was found under the root").display().to_string();
        Source::read(name, &fs::read_to_string(path).expect("a source file can be read"))
    };
    files.iter().map(source).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a source folder can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
