//! Reads environment variables into [`Written`]: `BELLWETHER_POOL__SIZE` is `pool.size`.

use std::collections::BTreeMap;
use std::path::Path;

use super::key::{Key, KeyPath};
use super::keys::KEYS;
use super::problem::{Origin, Problem, nearest};
use super::value::{Surroundings, Value, from_text, read_secret_file};
use super::written::Written;

const PREFIX: &str = "BELLWETHER_";
const NODES: &str = "BELLWETHER_NODES";

/// Returns the variable that sets a plain key, such as `BELLWETHER_POOL__SIZE`.
pub fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.path.replace('.', "__").to_ascii_uppercase())
}

/// Whether a variable sets a key, by itself or with `_FILE`; `config check` leaves those out.
pub fn is_variable(name: &str) -> bool {
    let plain = name.strip_suffix("_FILE").unwrap_or(name);
    let plain_keys = || KEYS.iter().filter(|key| !key.path.contains('*'));
    plain == NODES
        || name.starts_with(PREFIX) && plain_keys().map(variable).any(|known| known == plain || known == name)
}

/// Adds what the environment says to `written`. With `_FILE` behind its name a variable names a file that
/// holds the value, as container secrets are handed over.
pub(super) fn read(env: &BTreeMap<String, String>, written: &mut Written) -> Vec<Problem> {
    let mut problems = Vec::new();
    // Paths in the environment start where the process does.
    let around = Surroundings { env, base: Path::new("") };
    for key in KEYS.iter().filter(|key| !key.path.contains('*')) {
        let name = variable(key);
        let Some((origin, text)) = lookup(env, &name, &mut problems) else { continue };
        let path = KeyPath::plain(key.path);
        match from_text(&text, key.kind, &around) {
            Ok(value) => written.set(path, value, origin),
            Err(misfit) => problems.push(super::misfit(&path, misfit, origin)),
        }
    }
    if let Some((origin, text)) = lookup(env, NODES, &mut problems) {
        nodes(&text, &origin, written, &mut problems);
    }
    problems.extend(env.keys().filter_map(|name| unknown(name)));
    problems
}

/// Returns the text of variable `name`, or of the file that `name_FILE` names. Both at once is a problem.
fn lookup(
    env: &BTreeMap<String, String>,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<(Origin, String)> {
    let file_name = format!("{name}_FILE");
    match (env.get(name), env.get(&file_name)) {
        (None, None) => None,
        (Some(text), None) => Some((Origin::Env(name.to_owned()), text.clone())),
        (Some(_), Some(_)) => {
            let problem = Problem::new(format!("{name} and {file_name} are both set"));
            problems.push(problem.at(Origin::Env(file_name)).hint("unset one of them"));
            None
        }
        (None, Some(path)) => {
            let origin = Origin::Env(file_name);
            match read_secret_file(Path::new(path)) {
                Ok(text) => Some((origin, text)),
                Err(misfit) => {
                    let problem = Problem::new(format!("the file for {name} is not to be had"));
                    problems.push(problem.at(origin).cause(misfit.cause));
                    None
                }
            }
        }
    }
}

/// Reads `a=postgres://h1,b=postgres://h2`, which replaces all nodes of the file.
fn nodes(text: &str, origin: &Origin, written: &mut Written, problems: &mut Vec<Problem>) {
    written.clear_nodes();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.split_once('=') {
            Some((name, url)) if !name.contains("://") => {
                let value = Value::Text(url.trim().to_owned());
                written.set(KeyPath::named("nodes.*", name.trim()), value, origin.clone());
            }
            _ => problems.push(
                Problem::new("invalid value for `nodes`")
                    .at(origin.clone())
                    .cause("an entry has no name")
                    .hint("write name=postgres://host:port, entries separated by commas"),
            ),
        }
    }
}

/// Refuses a variable that looks like a key and is none. Only those with `__` do: Kubernetes and operators
/// set others that begin like ours.
fn unknown(name: &str) -> Option<Problem> {
    let plain = name.strip_suffix("_FILE").unwrap_or(name);
    if !name.starts_with(PREFIX) || !name.contains("__") {
        return None;
    }
    if is_variable(name) {
        return None;
    }
    let known: Vec<String> = KEYS.iter().filter(|key| !key.path.contains('*')).map(variable).collect();
    let problem = Problem::new(format!("unknown key in {name}")).at(Origin::Env(name.to_owned()));
    Some(match nearest(plain, known.iter().map(String::as_str)) {
        Some(variable) => problem.hint(format!("did you mean {variable}?")),
        None => problem.hint("a double underscore stands for the dot of a key, as in BELLWETHER_POOL__SIZE"),
    })
}
