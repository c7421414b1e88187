//! `bellwether config check|init|show`, and how every verb finds its configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::args::{ConfigCommand, SourceArgs};
use crate::config::{self, Flag, Problem, Problems, Sources};

/// Where a packaged configuration lies.
const SYSTEM_FILE: &str = "/etc/bellwether/bellwether.toml";

/// Runs the verb and returns what goes to standard output.
///
/// # Errors
/// What is wrong with the configuration; the exit code is 2 then.
pub fn run(command: ConfigCommand, env: BTreeMap<String, String>) -> Result<String, Problems> {
    match command {
        ConfigCommand::Init => Ok(config::reference_file()),
        // The file as it stands, whatever the environment of whoever checks it says. Secrets it names must be
        // there, since nobody could log in without them.
        ConfigCommand::Check { file } => check(file, env),
        ConfigCommand::Show(args) => {
            let loaded = config::load(&sources(args, env)?)?;
            Ok(config::effective(&loaded.written))
        }
    }
}

fn check(file: PathBuf, env: BTreeMap<String, String>) -> Result<String, Problems> {
    let env = env.into_iter().filter(|(name, _)| !config::is_variable(name)).collect();
    let name = file.display().to_string();
    let loaded = config::load(&Sources { file: Some(file), env, ..Sources::default() })?;
    Ok(format!("{name}: good, {} nodes\n", loaded.config.nodes.len()))
}

/// Works out the sources from the command line and the environment.
///
/// # Errors
/// A file and a URL at once: they would both name all nodes.
pub fn sources(args: SourceArgs, env: BTreeMap<String, String>) -> Result<Sources, Problems> {
    if args.config.is_some() && args.url.is_some() {
        let problem = Problem {
            error: "a configuration file and a URL are both given".to_owned(),
            key: None,
            place: None,
            cause: Some("each of them names all nodes".to_owned()),
            hint: Some("leave one of them out (the file may come from BELLWETHER_CONFIG)".to_owned()),
        };
        return Err(Problems(vec![problem]));
    }
    let file = match (&args.config, &args.url) {
        (None, None) => system_file(),
        _ => args.config,
    };
    let flag = |name, key, text| Flag { name, key, text };
    let mut flags = Vec::new();
    if !args.listen.is_empty() {
        flags.push(flag("--listen", "listen", args.listen.join(",")));
    }
    flags.extend(args.http_listen.map(|text| flag("--http-listen", "http.listen", text)));
    flags.extend(args.log_level.map(|text| flag("--log-level", "log.level", text)));
    Ok(Sources { file, url: args.url, flags, env })
}

/// Returns the packaged configuration, where there is one.
pub(super) fn system_file() -> Option<PathBuf> {
    Some(PathBuf::from(SYSTEM_FILE)).filter(|file| file.exists())
}
