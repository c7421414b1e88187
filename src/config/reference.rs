//! Prints the table of keys: as a commented file, as a table for the README, and with the values in force.

use std::fmt::Write;

use super::key::{Applies, Key, KeyPath};
use super::keys::KEYS;
use super::lookup::default_value;
use super::problem::Origin;
use super::written::Written;

const HEAD: &str = "\
# Every key of Bellwether with its default, its unit and the reason for the default.
#
# Lines that begin with \"# name =\" show defaults: take the \"# \" away to change one. Keys that take effect on
# reload (SIGHUP) are marked [reload], the others [restart]. Environment variables override this file: pool.size is
# BELLWETHER_POOL__SIZE; with _FILE behind the name the value is read from a file. `bellwether config check FILE`
# checks a file, `bellwether config show` prints the values in force and where each comes from.
";

/// Returns the text of `config/bellwether.toml`, which `bellwether config init` prints: valid as it stands.
pub fn reference_file() -> String {
    let mut text = HEAD.to_owned();
    let mut table = String::new();
    for key in KEYS {
        let (group, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if group != table {
            open_table(&mut text, group);
            table = group.to_owned();
        }
        let _ = write!(text, "\n{}", comment(key));
        let _ = writeln!(text, "{}", assignment(key, name));
    }
    text
}

fn comment(key: &Key) -> String {
    let applies = match key.applies {
        Applies::Reload => "reload",
        Applies::Restart => "restart",
    };
    let expected = match key.kind.expects() {
        words if key.kind.unit() == "string" => words,
        _ => key.kind.unit().to_owned(),
    };
    let mut text = wrapped(&format!("{}.", key.what));
    text += &wrapped(&format!("Why: {}.", key.reason));
    let _ = writeln!(text, "# [{applies}; {expected}]");
    text
}

/// Words in comment lines of at most 110 characters.
fn wrapped(words: &str) -> String {
    let mut text = String::new();
    let mut line = "#".to_owned();
    for word in words.split(' ') {
        if line.len() + word.len() + 1 > 110 {
            text += &line;
            text.push('\n');
            line = "#  ".to_owned();
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}

/// The line that sets the key; a comment unless a file needs it to be valid.
fn assignment(key: &Key, name: &str) -> String {
    match (key.path, key.default) {
        ("nodes.*", _) => "a = \"postgres://127.0.0.1:5432\"".to_owned(),
        ("nodes.*.url", _) => "url = \"postgres://127.0.0.1:5433\"".to_owned(),
        ("cluster.password", _) => "# password = { env = \"BELLWETHER_PASSWORD\" }".to_owned(),
        (_, "") => format!("# {name} ="),
        (_, default) => format!("# {name} = {default}"),
    }
}

fn open_table(text: &mut String, group: &str) {
    let _ = match group {
        "nodes.*" => writeln!(text, "\n[nodes.b]"),
        _ if group.contains('*') => writeln!(text, "\n# [{}]", group.replace('*', "NAME")),
        _ => writeln!(text, "\n[{group}]"),
    };
}

/// Returns the table of the README: one row a key.
pub fn reference_table() -> String {
    let mut text = String::from("| Key | Default | Effect | What it sets |\n|---|---|---|---|\n");
    for key in KEYS {
        let applies = match key.applies {
            Applies::Reload => "reload",
            Applies::Restart => "restart",
        };
        let default = match key.default {
            "" => "-".to_owned(),
            // Long ones, such as the built-in query, would stretch the table.
            long if long.len() > 70 => "built in".to_owned(),
            default => format!("`{default}`"),
        };
        let path = key.path.replace('*', "NAME");
        let _ = writeln!(text, "| `{path}` | {default} | {applies} | {} |", key.what.replace('|', "\\|"));
    }
    text
}

/// Returns the values in force as `config show` prints them: a TOML line a key, and where it comes from.
/// Secrets are masked.
pub fn effective(written: &Written) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    for key in KEYS {
        let of_key = written.iter().filter(|(path, _)| path.pattern == key.path);
        let found: Vec<_> = of_key.collect();
        for (path, entry) in &found {
            lines.push((format!("{path} = {}", entry.value), entry.origin.to_string()));
        }
        if found.is_empty() && !key.path.contains('*') {
            lines.push((default_line(key), Origin::Default.to_string()));
        }
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 70).max();
    let width = width.unwrap_or_default();
    let shown = lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n"));
    shown.collect()
}

fn default_line(key: &Key) -> String {
    let path = KeyPath::plain(key.path);
    match default_value(key) {
        Some(value) => format!("{path} = {value}"),
        None => format!("# {path} ="),
    }
}
