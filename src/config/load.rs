//! Puts the sources together, at the start and again on reload.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::check;
use super::key::{Applies, KeyPath};
use super::keys::find;
use super::problem::{Origin, Problem, Problems, Source};
use super::settings::Config;
use super::value::{Surroundings, Value, from_text};
use super::written::{Entry, Written, row};
use super::{env, file, misfit, url};

/// Where a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if there is one.
    pub file: Option<PathBuf>,
    /// The connection URL of the command line.
    pub url: Option<String>,
    /// Options of the command line that set a key.
    pub flags: Vec<Flag>,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

/// An option of the command line that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The option as typed, such as `--listen`.
    pub name: &'static str,
    /// The key it sets.
    pub key: &'static str,
    /// What it sets it to, in the form of an environment variable.
    pub text: String,
}

/// A configuration, with what it was made from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program runs with.
    pub config: Arc<Config>,
    /// What was written, for `config show` and to compare with at the next reload.
    pub written: Written,
}

/// What a reload brought.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The new configuration. Keys that need a restart have the value the process started with.
    pub loaded: Loaded,
    /// Keys whose new values are in it.
    pub changed: Vec<KeyPath>,
    /// Keys that were changed too, and need a restart.
    pub needs_restart: Vec<KeyPath>,
}

/// Reads and checks everything.
///
/// # Errors
/// All that is wrong in any source; nothing of a faulty configuration is used.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    checked(read(sources)?)
}

/// Reads everything again and works out what changes for a process that runs with `current`.
///
/// # Errors
/// As [`load`]; the process then goes on with `current`, all of it.
pub fn reload(sources: &Sources, current: &Loaded) -> Result<Reloaded, Problems> {
    let fresh = read(sources)?;
    // First as a restart would see it: a file that would not start must not pass a reload.
    checked(fresh.clone())?;
    let applies = |when: Applies| move |path: &KeyPath| row(path).applies == when;
    let differences = current.written.differences(&fresh);
    let (changed, needs_restart) = differences.into_iter().partition(applies(Applies::Reload));
    let mut written = fresh;
    written.keep_restart_keys(&current.written);
    Ok(Reloaded { loaded: checked(written)?, changed, needs_restart })
}

fn checked(written: Written) -> Result<Loaded, Problems> {
    let config = Arc::new(check(&written).map_err(Problems)?);
    let unreadable: Vec<Problem> =
        written.iter().filter_map(|(path, entry)| unreadable(path, entry)).collect();
    match unreadable.is_empty() {
        true => Ok(Loaded { config, written }),
        false => Err(Problems(unreadable)),
    }
}

/// Opens a file that is named, so that a mistyped path is found here and not at the first login.
fn unreadable(path: &KeyPath, entry: &Entry) -> Option<Problem> {
    let Value::Path(file) = &entry.value else { return None };
    let error = File::open(file).err()?;
    let problem = Problem::new(format!("invalid value for `{path}`")).at(entry.origin.clone());
    Some(problem.cause(format!("cannot read {}: {error}", file.display())))
}

fn read(sources: &Sources) -> Result<Written, Problems> {
    let (written, problems) = gather(sources)?;
    match problems.is_empty() {
        true => Ok(written),
        false => Err(Problems(problems)),
    }
}

/// Reads what can be read, and says what cannot.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn gather(sources: &Sources) -> Result<(Written, Vec<Problem>), Problems> {
    let mut written = Written::default();
    let mut problems = Vec::new();
    if let Some(path) = &sources.file {
        let source = open(path).map_err(|problem| Problems(vec![problem]))?;
        let base = path.parent().unwrap_or(Path::new(""));
        problems.extend(file::read(&source, base, &sources.env, &mut written));
    }
    problems.extend(env::read(&sources.env, &mut written));
    if let Some(url) = &sources.url {
        problems.extend(url::read(url, &mut written));
    }
    for flag in &sources.flags {
        problems.extend(set_flag(flag, &sources.env, &mut written).err());
    }
    Ok((written, problems))
}

fn open(path: &Path) -> Result<Arc<Source>, Problem> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Arc::new(Source { name, text })),
        Err(error) => {
            let problem = Problem::new(format!("cannot read the configuration file {name}"));
            Err(problem.cause(error.to_string()).hint("`bellwether config init` prints a file to start from"))
        }
    }
}

fn set_flag(flag: &Flag, env: &BTreeMap<String, String>, written: &mut Written) -> Result<(), Problem> {
    let key = find(flag.key).expect("options name keys as the table spells them");
    let path = KeyPath::plain(key.path);
    let origin = Origin::Flag(flag.name.to_owned());
    match from_text(&flag.text, key.kind, &Surroundings { env, base: Path::new("") }) {
        Ok(value) => {
            written.set(path, value, origin);
            Ok(())
        }
        Err(wrong) => Err(misfit(&path, wrong, origin)),
    }
}
