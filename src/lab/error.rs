//! What can go wrong in the lab.

use std::io;
use std::path::PathBuf;

/// Why the lab could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that is needed is not on this machine.
    #[error("{what} not found (looked in {looked_in}). {install}")]
    NotInstalled {
        /// What is missing.
        what: &'static str,
        /// The places tried.
        looked_in: String,
        /// The line that installs them.
        install: String,
    },
    /// A file or directory could not be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, as in "cannot create".
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory is in the way or out of reach.
    #[error("directory {}: {reason}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// Its path.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines of what it wrote.
        output: String,
    },
    /// A statement was refused.
    #[error("{place}: {message}")]
    Sql {
        /// Node or endpoint.
        place: String,
        /// What psql printed.
        message: String,
    },
    /// Something awaited did not come about.
    #[error("{what} did not happen within {seconds} s. {detail}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
        /// What was seen instead.
        detail: String,
    },
    /// The cluster has no node of that name.
    #[error("no node named {name:?} (there are: {known})")]
    NoSuchNode {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The operation does not fit the node's present state.
    #[error("node {node:?} {reason}")]
    WrongState {
        /// Which node.
        node: String,
        /// What is the matter with it.
        reason: String,
    },
    /// A network of its own could not be made.
    #[error("no network namespace: {0}. It takes root.")]
    Namespace(String),
    /// No free port was found.
    #[error("no free port between {low} and {high}")]
    NoPort {
        /// First port tried.
        low: u16,
        /// Last port tried.
        high: u16,
    },
}

impl Error {
    /// Wraps a file error: use as `.map_err(Error::file("cannot create", path))`.
    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { what, path, source }
    }
}

/// The last `lines` lines of a log, for an error text.
pub(super) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
