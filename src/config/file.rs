//! Reads a TOML file into [`Written`], refusing every key that is not in the table.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::key::{KeyPath, bare_or_quoted};
use super::keys::{KEYS, find};
use super::problem::{Origin, Problem, Source, nearest};
use super::value::{Surroundings, from_toml};
use super::written::Written;

/// Adds what `source` says to `written`; relative paths start at `base`.
pub(super) fn read(
    source: &Arc<Source>,
    base: &Path,
    env: &BTreeMap<String, String>,
    written: &mut Written,
) -> Vec<Problem> {
    let table = match DeTable::parse(&source.text) {
        Ok(table) => table,
        Err(error) => {
            let place = Origin::File(source.clone(), error.span().unwrap_or(0..0));
            return vec![Problem::new("not valid TOML").at(place).cause(error.message().replace('\n', ", "))];
        }
    };
    let around = Surroundings { env, base };
    let mut walk = Walk { source, around, written, problems: Vec::new() };
    walk.table(table.get_ref(), &Prefix { pattern: String::new(), name: None });
    walk.problems
}

/// The table the walk is in: `nodes.*` with name `a`.
struct Prefix {
    pattern: String,
    name: Option<String>,
}

impl Prefix {
    /// Steps down to `key`, over a fixed word or a name the operator chose; `None` when there is no such key.
    fn child(&self, key: &str) -> Option<Prefix> {
        let exact = joined(&self.pattern, key);
        if key != "*" && known(&exact) {
            return Some(Prefix { pattern: exact, name: self.name.clone() });
        }
        let named = joined(&self.pattern, "*");
        known(&named).then(|| Prefix { pattern: named, name: Some(key.to_owned()) })
    }

    /// The path as it stands in the file.
    fn shown(&self) -> String {
        self.pattern.replace('*', &bare_or_quoted(self.name.as_deref().unwrap_or_default()))
    }
}

struct Walk<'a> {
    source: &'a Arc<Source>,
    around: Surroundings<'a>,
    written: &'a mut Written,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, prefix: &Prefix) {
        // The map is ordered by name; problems are reported as a reader meets them.
        let mut entries: Vec<(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name: &str = key.get_ref();
            match prefix.child(name) {
                Some(child) => self.entry(key, value, &child),
                None => self.unknown(name, key.span(), prefix),
            }
        }
    }

    fn entry(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>, at: &Prefix) {
        let row = find(&at.pattern);
        match (value.get_ref(), row) {
            // A node may be a URL or a table.
            (DeValue::Table(table), _) if is_group(&at.pattern) => self.table(table, at),
            (_, Some(row)) => {
                let path = KeyPath { pattern: row.path, name: at.name.clone() };
                let place = self.place(value.span());
                match from_toml(value, row.kind, &self.around) {
                    Ok(value) => self.written.set(path, value, place),
                    Err(misfit) => self.problems.push(super::misfit(&path, misfit, place)),
                }
            }
            (found, None) => {
                let problem = Problem::new(format!("`{}` is a table, not a value", key.get_ref()));
                let cause = format!("found {}", found.type_str());
                let hint = format!("write [{}] and its keys below", at.shown());
                self.problems.push(problem.at(self.place(value.span())).cause(cause).hint(hint));
            }
        }
    }

    fn unknown(&mut self, key: &str, span: Range<usize>, prefix: &Prefix) {
        let problem =
            Problem::new(format!("unknown key `{}`", joined(&prefix.shown(), &bare_or_quoted(key))))
                .at(self.place(span));
        let siblings = children(&prefix.pattern);
        let hint = match nearest(key, siblings.iter().copied()) {
            Some(sibling) => format!("did you mean `{sibling}`?"),
            None => match elsewhere(key) {
                Some(path) => format!("did you mean `{path}`?"),
                None => format!("known here: {}", siblings.into_iter().collect::<Vec<_>>().join(", ")),
            },
        };
        self.problems.push(problem.hint(hint));
    }

    fn place(&self, span: Range<usize>) -> Origin {
        Origin::File(self.source.clone(), span)
    }
}

fn joined(prefix: &str, key: &str) -> String {
    match prefix {
        "" => key.to_owned(),
        _ => format!("{prefix}.{key}"),
    }
}

fn known(pattern: &str) -> bool {
    find(pattern).is_some() || is_group(pattern)
}

fn is_group(pattern: &str) -> bool {
    KEYS.iter().any(|key| below(key.path, pattern).is_some())
}

/// Returns what follows `prefix.` in `path`.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match prefix {
        "" => Some(path),
        _ => path.strip_prefix(prefix)?.strip_prefix('.'),
    }
}

/// The words that may stand directly in the table called `prefix`.
fn children(prefix: &str) -> BTreeSet<&'static str> {
    let rest = KEYS.iter().filter_map(|key| below(key.path, prefix));
    rest.filter_map(|rest| rest.split('.').next()).filter(|word| *word != "*").collect()
}

/// The key of another table that ends in `key`, when there is exactly one.
fn elsewhere(key: &str) -> Option<&'static str> {
    let mut ends = KEYS.iter().map(|row| row.path).filter(|path| path.rsplit('.').next() == Some(key));
    ends.next().filter(|_| ends.next().is_none())
}
