//! What the operator wrote: values by key, each with its origin. Later sources replace earlier ones.

use std::collections::{BTreeMap, BTreeSet};

use super::key::{Applies, Key, KeyPath};
use super::keys::KEYS;
use super::problem::Origin;
use super::value::Value;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

/// Everything that was written, in one place. Keys that were not written are absent.
#[derive(Clone, Debug, Default)]
pub struct Written(BTreeMap<KeyPath, Entry>);

impl Written {
    /// Sets a key; what was there before is gone.
    pub(super) fn set(&mut self, path: KeyPath, value: Value, origin: Origin) {
        self.0.insert(path, Entry { value, origin });
    }

    /// Forgets every node: a source that names nodes names all of them.
    pub(super) fn clear_nodes(&mut self) {
        self.0.retain(|path, _| !path.pattern.starts_with("nodes."));
    }

    /// Takes the keys that need a restart from `running`, which are the values the process has.
    pub(super) fn keep_restart_keys(&mut self, running: &Written) {
        let needs_restart = |path: &KeyPath| row(path).applies == Applies::Restart;
        self.0.retain(|path, _| !needs_restart(path));
        let kept = running.0.iter().filter(|(path, _)| needs_restart(path));
        self.0.extend(kept.map(|(path, entry)| (path.clone(), entry.clone())));
    }

    /// Returns what was written for a key.
    pub fn get(&self, path: &KeyPath) -> Option<&Entry> {
        self.0.get(path)
    }

    /// Returns the names that stand for `*` in keys that begin with `group`, such as `nodes.`.
    pub fn names(&self, group: &str) -> BTreeSet<String> {
        let in_group = self.0.keys().filter(|path| path.pattern.starts_with(group));
        in_group.filter_map(|path| path.name.clone()).collect()
    }

    /// Returns the keys whose values differ between `self` and `other`, in the order of the reference. A key
    /// written with its default equals one not written.
    pub fn differences(&self, other: &Written) -> Vec<KeyPath> {
        let mut paths: Vec<&KeyPath> = self.0.keys().chain(other.0.keys()).collect();
        paths.sort_by_key(|path| (place(path), &path.name));
        paths.dedup();
        let text = |written: &Written, path: &KeyPath| written.get(path).map(|entry| entry.value.clone());
        let default = |path: &KeyPath| super::lookup::default_value(row(path));
        let value = |written: &Written, path: &KeyPath| text(written, path).or_else(|| default(path));
        paths.into_iter().filter(|path| value(self, path) != value(other, path)).cloned().collect()
    }

    /// Iterates over what was written, in the order of the reference.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyPath, &Entry)> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|(path, _)| (place(path), &path.name));
        entries.into_iter()
    }
}

/// Returns the row of the table a path belongs to.
pub(super) fn row(path: &KeyPath) -> &'static Key {
    KEYS.iter().find(|key| key.path == path.pattern).expect("a KeyPath is only made from a row of the table")
}

fn place(path: &KeyPath) -> usize {
    KEYS.iter().position(|key| key.path == path.pattern).unwrap_or(KEYS.len())
}
