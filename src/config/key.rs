//! What a configuration key is: its place, the kind of value it takes, and when a change takes effect.

use std::fmt;
use std::time::Duration;

/// One row of the table in `keys.rs`.
#[derive(Debug)]
pub struct Key {
    /// Dotted path; `*` stands for a name the operator chooses, as in `nodes.*.url`.
    pub path: &'static str,
    /// What may be written there.
    pub kind: Kind,
    /// The default as TOML, or `""` when the key has none and may be left out.
    pub default: &'static str,
    /// When a change takes effect.
    pub applies: Applies,
    /// What it sets, in one sentence without a full stop.
    pub what: &'static str,
    /// Why the default is what it is, or when to change it.
    pub reason: &'static str,
}

/// What may be written for a key.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that is kept out of every output; also `{ env = "NAME" }` or `{ file = "PATH" }`.
    Secret,
    /// A path of a file. Relative ones start at the configuration file's directory.
    Path,
    /// A string or an array of strings; the separator takes a list apart in the environment.
    List {
        /// Stands between entries in an environment variable.
        separator: char,
    },
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Count {
        /// Least value allowed.
        min: u64,
        /// Greatest value allowed.
        max: u64,
    },
    /// A string such as `"250ms"`.
    Duration {
        /// Least value allowed.
        min: Duration,
    },
    /// A string such as `"16MB"`.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Describes what is expected, for error messages and the reference: `a duration such as "30s"`.
    pub fn expects(self) -> String {
        match self {
            Kind::Text => "a string".to_owned(),
            Kind::Secret => r#"a string, { env = "NAME" } or { file = "PATH" }"#.to_owned(),
            Kind::Path => "a path as a string".to_owned(),
            Kind::List { .. } => "a string or an array of strings".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Duration { .. } => r#"a duration such as "30s""#.to_owned(),
            Kind::Size => r#"a size such as "16MB""#.to_owned(),
            Kind::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
        }
    }

    /// Names the unit for the reference; `-` where there is none.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Duration { .. } => "duration: ms, s, m, h, d",
            Kind::Size => "size: B, kB, MB, GB, TB",
            Kind::Count { .. } => "count",
            Kind::Bool => "true, false",
            Kind::Path => "path",
            Kind::Secret => "string, {env=}, {file=}",
            Kind::List { .. } => "string or array",
            Kind::Text | Kind::Choice(_) => "string",
        }
    }
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// On reload (SIGHUP).
    Reload,
    /// When the process starts again; a reload reports it and keeps the old value.
    Restart,
}

/// A key at its place in one configuration: the row, and the name that stands for `*`.
///
/// Ordered by the table, then by name, so that every listing reads like the reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath {
    /// Dotted path of the row.
    pub pattern: &'static str,
    /// The operator's name, for a row with `*`.
    pub name: Option<String>,
}

impl KeyPath {
    /// Names a row without `*`.
    pub fn plain(pattern: &'static str) -> Self {
        KeyPath { pattern, name: None }
    }

    /// Names a row with `*` for one name.
    pub fn named(pattern: &'static str, name: &str) -> Self {
        KeyPath { pattern, name: Some(name.to_owned()) }
    }
}

impl fmt::Display for KeyPath {
    /// Writes the path as it would stand in the file, a name in quotes where TOML needs them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(name) = &self.name else { return f.write_str(self.pattern) };
        f.write_str(&self.pattern.replace('*', &bare_or_quoted(name)))
    }
}

/// Writes `name` as a TOML key.
pub fn bare_or_quoted(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match bare {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}
