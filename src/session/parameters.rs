//! A session's settings (GUCs) as a transactional map, and what it takes to bring a server to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::own::{Own, OwnMark};
use super::placeholders::Placeholders;
use super::reported::Reported;
use crate::routing::Wishes;
use crate::sql::SettingChange;

/// Names whose value decides who the session acts as. They are set last and reset first, because they decide
/// which other settings may be changed; `RESET ALL` leaves them alone.
pub(super) const IDENTITY: [&str; 2] = ["session_authorization", "role"];

/// Settings that PostgreSQL ends with the transaction by itself, however they are set.
const ALWAYS_LOCAL: &str = "transaction_";

/// Total bytes of names and values one session may have tracked.
const MAX_BYTES: usize = 256 * 1024;

/// Settings that differ from those of a freshly connected server, by lower-case name, each with its value in the
/// form that `set_config()` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settings(BTreeMap<Box<str>, Box<str>>);

impl Settings {
    /// Collects settings; a name that occurs twice keeps its last value.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Settings(
            values
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase().into(), value.into()))
                .collect(),
        )
    }

    /// Returns these settings with `name`, in lower case, at `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Returns the value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// Returns names and values in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The settings of one session: what RESET returns to, what holds now, and what to fall back to.
#[derive(Debug)]
pub struct Parameters {
    startup: Arc<Settings>,
    current: Arc<Settings>,
    /// What a rollback returns to; `None` while the transaction has changed nothing.
    before: Option<Arc<Settings>>,
    savepoints: Vec<(Box<str>, Arc<Settings>, OwnMark)>,
    /// The settings that no server knows.
    pub(super) own: Own,
    /// What the session has made up, and finds on every server.
    pub(super) placeholders: Placeholders,
}

/// What is left to do after a change was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing.
    Done,
    /// The map would grow too large, so the session can no longer be carried to another server.
    TooLarge,
}

impl Parameters {
    /// Starts with the settings of the startup packet.
    pub fn new(startup: Arc<Settings>) -> Self {
        let own = Own::new(Wishes::default());
        Parameters {
            current: startup.clone(),
            startup,
            before: None,
            savepoints: Vec::new(),
            own,
            placeholders: Placeholders::default(),
        }
    }

    /// Follows one change that the server has carried out. Changes with bind parameters must be resolved before.
    pub fn follow(&mut self, change: &SettingChange) -> Followed {
        self.placeholders.note(change);
        match change {
            SettingChange::Set { local: true, .. }
            | SettingChange::Reset { local: true, .. }
            | SettingChange::SetFromBind { .. } => Followed::Done,
            SettingChange::Set { name, value, .. } => self.set(name, value),
            SettingChange::Reset { name, .. } => {
                self.reset(name);
                Followed::Done
            }
            SettingChange::ResetAll => {
                self.reset_all(false);
                Followed::Done
            }
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Followed {
        if name.starts_with(ALWAYS_LOCAL) {
            return Followed::Done;
        }
        // A session user set again drops the role all the same.
        if self.current.get(name) == Some(value) && name != IDENTITY[0] {
            return Followed::Done;
        }
        if self.current.bytes() + name.len() + value.len() > MAX_BYTES {
            return Followed::TooLarge;
        }
        let values = self.change();
        if name == IDENTITY[0] {
            // A new session user acts as itself: `SET ROLE` is gone (SetSessionUserId() in miscinit.c).
            values.0.remove(IDENTITY[1]);
        }
        values.0.insert(name.into(), value.into());
        Followed::Done
    }

    fn reset(&mut self, name: &str) {
        let startup = self.startup.get(name).map(Box::from);
        let values = self.change();
        if name == IDENTITY[0] {
            values.0.remove(IDENTITY[1]);
        }
        match startup {
            Some(value) => values.0.insert(name.into(), value),
            None => values.0.remove(name),
        };
    }

    /// Follows RESET ALL; with `identity` also the user and role, as DISCARD ALL does.
    pub fn reset_all(&mut self, identity: bool) {
        self.own.reset_all();
        let mut values = (*self.startup).clone();
        if !identity {
            for name in IDENTITY {
                match self.current.get(name) {
                    Some(value) => values.0.insert(name.into(), value.into()),
                    None => values.0.remove(name),
                };
            }
        }
        *self.change() = values;
    }

    fn change(&mut self) -> &mut Settings {
        if self.before.is_none() {
            self.before = Some(self.current.clone());
        }
        Arc::make_mut(&mut self.current)
    }

    /// Follows SAVEPOINT.
    pub fn savepoint(&mut self, name: &str) {
        self.savepoints.push((name.into(), self.current.clone(), self.own.mark()));
    }

    /// Follows RELEASE SAVEPOINT: its changes now belong to what encloses it.
    pub fn release(&mut self, name: &str) {
        if let Some(at) = self.savepoint_at(name) {
            self.savepoints.truncate(at);
        }
    }

    /// Follows ROLLBACK TO SAVEPOINT: the savepoint itself stays.
    pub fn rollback_to(&mut self, name: &str) {
        if let Some(at) = self.savepoint_at(name) {
            self.savepoints.truncate(at + 1);
            self.current = self.savepoints[at].1.clone();
            self.own.return_to(self.savepoints[at].2);
        }
    }

    fn savepoint_at(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(known, ..)| &**known == name)
    }

    /// Follows the end of a transaction that kept its changes; returns whether there were any.
    pub fn commit(&mut self) -> bool {
        self.savepoints.clear();
        self.own.commit();
        self.before.take().is_some()
    }

    /// Follows the end of a transaction that undid its changes; returns whether there were any.
    pub fn rollback(&mut self) -> bool {
        self.savepoints.clear();
        self.own.rollback();
        match self.before.take() {
            Some(before) => {
                self.current = before;
                true
            }
            None => false,
        }
    }

    /// Takes the server's own spelling of values it reports. What was set may have been a part (`DateStyle`) or
    /// depend on others, and would not mean the same on another server.
    pub fn spell(&mut self, reported: &Reported) {
        for (name, value) in reported.iter() {
            let name = name.to_ascii_lowercase();
            let differs = self.current.get(&name).is_some_and(|ours| ours != value);
            if differs && !IDENTITY.contains(&&*name) {
                Arc::make_mut(&mut self.current).0.insert(name.into(), value.into());
            }
        }
    }

    /// Returns the settings that hold now.
    pub fn current(&self) -> &Arc<Settings> {
        &self.current
    }

    /// Returns the settings a rollback returns to, if the transaction has changed any.
    pub fn before(&self) -> Option<&Arc<Settings>> {
        self.before.as_ref()
    }

    /// Returns the settings of the startup packet.
    pub fn startup(&self) -> &Arc<Settings> {
        &self.startup
    }
}

/// Tells whether two maps are the same. Cheap when they are shared.
pub fn same(one: &Arc<Settings>, other: &Arc<Settings>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// Returns the SQL that brings a server from `applied` to `wanted`; `None` when nothing differs.
///
/// It runs as one simple Query, so all of it holds or none.
pub fn sync_sql(applied: &Settings, wanted: &Settings) -> Option<String> {
    let mut sql = String::new();
    let identity_differs = IDENTITY.iter().any(|name| applied.get(name) != wanted.get(name));
    let others_differ = applied.iter().filter(not_identity).ne(wanted.iter().filter(not_identity));
    if !identity_differs && !others_differ {
        return None;
    }
    // Other settings are changed as the login user, who set them at first or had the right to.
    if IDENTITY.iter().any(|name| applied.get(name).is_some()) {
        sql.push_str("RESET ROLE;RESET SESSION AUTHORIZATION;");
    }
    for (name, _) in applied.iter().filter(not_identity).filter(|(name, _)| wanted.get(name).is_none()) {
        let _ = write!(sql, "RESET {};", quote_name(name));
    }
    let changed = wanted.iter().filter(not_identity).filter(|(name, value)| applied.get(name) != Some(value));
    push_set_config(&mut sql, changed);
    for name in IDENTITY {
        if let Some(value) = wanted.get(name) {
            let keyword = if name == "role" { "ROLE" } else { "SESSION AUTHORIZATION" };
            let _ = write!(sql, "SET {keyword} {};", quote_literal(value));
        }
    }
    Some(sql)
}

fn not_identity((name, _): &(&str, &str)) -> bool {
    !IDENTITY.contains(name)
}

fn push_set_config<'a>(sql: &mut String, values: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut separator = "SELECT ";
    for (name, value) in values {
        sql.push_str(separator);
        let _ = write!(sql, "pg_catalog.set_config({},{},false)", quote_literal(name), quote_literal(value));
        separator = ",";
    }
    if separator == "," {
        sql.push(';');
    }
}

/// Writes a string literal that means the same whatever `standard_conforming_strings` says.
pub(super) fn quote_literal(text: &str) -> String {
    let escape = text.contains('\\');
    let mut quoted = String::with_capacity(text.len() + 3);
    quoted.push_str(if escape { "E'" } else { "'" });
    for character in text.chars().filter(|character| *character != '\0') {
        if matches!(character, '\'' | '\\') {
            quoted.push(character);
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

/// Quotes the name of a setting, part by part (`my.setting`).
pub(super) fn quote_name(name: &str) -> String {
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        Settings::new(values.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    fn set(name: &str, value: &str) -> SettingChange {
        SettingChange::Set { name: name.into(), value: value.into(), local: false }
    }

    fn reset(name: &str) -> SettingChange {
        SettingChange::Reset { name: name.into(), local: false }
    }

    #[test]
    fn changes_follow_the_outcome_of_the_transaction() {
        let mut parameters = Parameters::new(Arc::default());
        parameters.follow(&set("work_mem", "1MB"));
        parameters.commit();
        parameters.follow(&set("work_mem", "2MB"));
        parameters.savepoint("s");
        parameters.follow(&set("work_mem", "3MB"));
        parameters.follow(&set("jit", "off"));
        parameters.rollback_to("s");
        assert_eq!(**parameters.current(), settings(&[("work_mem", "2MB")]));
        parameters.follow(&set("jit", "on"));
        parameters.release("s");
        assert_eq!(**parameters.current(), settings(&[("work_mem", "2MB"), ("jit", "on")]));
        parameters.rollback();
        assert_eq!(**parameters.current(), settings(&[("work_mem", "1MB")]));
    }

    #[test]
    fn local_changes_and_transaction_settings_are_not_kept() {
        let mut parameters = Parameters::new(Arc::default());
        parameters.follow(&SettingChange::Set { name: "a".into(), value: "1".into(), local: true });
        parameters.follow(&set("transaction_isolation", "serializable"));
        assert!(parameters.current().is_empty());
    }

    #[test]
    fn reset_returns_to_the_startup_value() {
        let startup = Arc::new(settings(&[("application_name", "app"), ("datestyle", "ISO")]));
        let mut parameters = Parameters::new(startup);
        parameters.follow(&set("application_name", "other"));
        parameters.follow(&set("work_mem", "1MB"));
        parameters.follow(&reset("work_mem"));
        parameters.follow(&reset("application_name"));
        assert_eq!(parameters.current(), parameters.startup());
        parameters.follow(&set("role", "r"));
        parameters.follow(&SettingChange::ResetAll);
        assert_eq!(parameters.current().get("role"), Some("r"));
        parameters.reset_all(true);
        assert_eq!(parameters.current().get("role"), None);
    }

    #[test]
    fn the_servers_spelling_is_kept() {
        let mut parameters = Parameters::new(Arc::default());
        parameters.follow(&set("datestyle", "German, DMY"));
        parameters.follow(&set("datestyle", "ISO"));
        parameters.follow(&set("session_authorization", "u"));
        parameters.spell(&Reported::new(
            [("DateStyle", "ISO, DMY"), ("TimeZone", "UTC"), ("session_authorization", "other")]
                .map(|(name, value)| (name.into(), value.into())),
        ));
        let expected = settings(&[("datestyle", "ISO, DMY"), ("session_authorization", "u")]);
        assert_eq!(**parameters.current(), expected);
        parameters.rollback();
        assert!(parameters.current().is_empty());
    }

    #[test]
    fn a_new_session_user_drops_the_role() {
        let mut parameters = Parameters::new(Arc::default());
        parameters.follow(&set("role", "r"));
        parameters.follow(&set("session_authorization", "u"));
        assert_eq!(**parameters.current(), settings(&[("session_authorization", "u")]));
        parameters.follow(&set("role", "r"));
        parameters.follow(&set("session_authorization", "u"));
        assert_eq!(parameters.current().get("role"), None);
    }

    #[test]
    fn syncing_is_a_minimal_difference() {
        let sync = |from: &[(&str, &str)], to: &[(&str, &str)]| sync_sql(&settings(from), &settings(to));
        assert_eq!(sync(&[("a", "1")], &[("a", "1")]), None);
        assert_eq!(
            sync(&[("a", "1"), ("my.x", "2"), ("c", "3")], &[("b", "it's"), ("c", "3"), ("d", r"\")])
                .unwrap(),
            r#"RESET "a";RESET "my"."x";SELECT pg_catalog.set_config('b','it''s',false),pg_catalog.set_config('d',E'\\',false);"#
        );
        assert_eq!(
            sync(&[("role", "r"), ("a", "1")], &[("role", "q"), ("a", "1")]).unwrap(),
            "RESET ROLE;RESET SESSION AUTHORIZATION;SET ROLE 'q';"
        );
        assert_eq!(
            sync(&[("session_authorization", "u")], &[]).unwrap(),
            "RESET ROLE;RESET SESSION AUTHORIZATION;"
        );
        assert_eq!(
            sync(&[("role", "r")], &[("role", "r"), ("a", "1")]).unwrap(),
            "RESET ROLE;RESET SESSION AUTHORIZATION;SELECT pg_catalog.set_config('a','1',false);SET ROLE 'r';"
        );
    }

    #[test]
    fn the_map_is_bounded() {
        let mut parameters = Parameters::new(Arc::default());
        let large = "x".repeat(MAX_BYTES);
        assert_eq!(parameters.follow(&set("a.b", &large)), Followed::TooLarge);
        assert!(parameters.current().is_empty());
    }
}
