//! Looks single keys up: what was written, otherwise the default from the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::key::{Key, KeyPath};
use super::keys::find;
use super::problem::{Origin, Problem};
use super::value::{Item, Secret, Surroundings, Value, from_toml};
use super::written::Written;

/// What was written, and what was found wrong with it so far.
pub(super) struct Check<'a> {
    pub(super) written: &'a Written,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    fn value(&self, path: &'static str) -> Option<Value> {
        let written = self.written.get(&KeyPath::plain(path)).map(|entry| entry.value.clone());
        written.or_else(|| default_value(find(path).expect("keys are asked for as the table spells them")))
    }

    pub(super) fn origin(&self, path: &'static str) -> Origin {
        self.written.get(&KeyPath::plain(path)).map_or(Origin::Default, |entry| entry.origin.clone())
    }

    pub(super) fn named(&self, pattern: &'static str, name: &str) -> Option<Value> {
        self.written.get(&KeyPath::named(pattern, name)).map(|entry| entry.value.clone())
    }

    pub(super) fn text(&self, path: &'static str) -> String {
        self.value(path).and_then(as_text).unwrap_or_default()
    }

    /// A text that may not be empty.
    pub(super) fn filled(&mut self, path: &'static str) -> String {
        let text = self.text(path);
        if text.trim().is_empty() {
            let origin = self.origin(path);
            self.invalid(path, &origin, "it is empty", "leave the key out for its default");
        }
        text
    }

    pub(super) fn secret(&self, path: &'static str) -> Option<Secret> {
        match self.value(path) {
            Some(Value::Secret(secret)) if !secret.expose().is_empty() => Some(secret),
            _ => None,
        }
    }

    pub(super) fn path(&self, path: &'static str) -> Option<PathBuf> {
        match self.value(path) {
            Some(Value::Path(path)) => Some(path),
            _ => None,
        }
    }

    /// Two files that are only of use together.
    pub(super) fn pair(&mut self, first: &'static str, second: &'static str) -> Option<(PathBuf, PathBuf)> {
        let (alone, missing) = match (self.path(first), self.path(second)) {
            (Some(one), Some(other)) => return Some((one, other)),
            (None, None) => return None,
            (Some(_), None) => (first, second),
            (None, Some(_)) => (second, first),
        };
        let origin = self.origin(alone);
        self.invalid(alone, &origin, &format!("`{missing}` is not set"), &format!("set {missing} as well"));
        None
    }

    pub(super) fn list(&self, path: &'static str) -> (Vec<Item>, Origin) {
        match self.value(path) {
            Some(Value::List(items)) => (items, self.origin(path)),
            _ => (Vec::new(), self.origin(path)),
        }
    }

    pub(super) fn flag(&self, path: &'static str) -> bool {
        self.value(path).and_then(as_flag).unwrap_or_default()
    }

    pub(super) fn count(&self, path: &'static str) -> usize {
        self.value(path).and_then(as_count).unwrap_or_default()
    }

    pub(super) fn small(&self, path: &'static str) -> u32 {
        u32::try_from(self.count(path)).unwrap_or(u32::MAX)
    }

    pub(super) fn duration(&self, path: &'static str) -> Duration {
        match self.value(path) {
            Some(Value::Duration(duration)) => duration,
            _ => Duration::ZERO,
        }
    }

    pub(super) fn size(&self, path: &'static str) -> u64 {
        match self.value(path) {
            Some(Value::Size(size)) => size,
            _ => 0,
        }
    }

    pub(super) fn invalid(&mut self, path: &str, place: &Origin, cause: &str, hint: &str) {
        let problem = Problem::new(format!("invalid value for `{path}`")).at(place.clone());
        self.problems.push(problem.cause(cause).hint(hint));
    }
}

/// Returns a key's default as a value; `None` when it has none.
pub(super) fn default_value(key: &Key) -> Option<Value> {
    if key.default.is_empty() {
        return None;
    }
    let parsed = DeValue::parse(key.default).expect("every default in the table is valid TOML");
    let around = Surroundings { env: &BTreeMap::new(), base: Path::new("") };
    Some(from_toml(&parsed, key.kind, &around).expect("every default in the table fits its kind"))
}

pub(super) fn as_text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

pub(super) fn as_flag(value: Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(flag),
        _ => None,
    }
}

pub(super) fn as_count(value: Value) -> Option<usize> {
    match value {
        Value::Count(count) => usize::try_from(count).ok(),
        _ => None,
    }
}
