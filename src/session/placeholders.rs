//! Settings that clients make up, `my.own`: a server has one for as long as its session lasts, once it was named there.
//!
//! PostgreSQL makes a placeholder for a name with a dot in it, by SET and by RESET alike, and forgets it neither at a
//! RESET nor at a rollback: it is empty from then on, where it would be unknown before (add_placeholder_variable() in guc.c).
//! A session that has made one finds it on every server. It may find those of others, too, and nothing can be done
//! about that.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::parameters::{Settings, quote_name};
use crate::sql::SettingChange;

/// How many names are remembered of a session, and how long they may be, in bytes. What is beyond is unknown on some
/// servers once it has been reset.
const MOST: usize = 32;
const LONGEST: usize = 64;

/// Names of placeholders, in lower case.
#[derive(Debug, Default)]
pub(super) struct Placeholders(BTreeSet<Box<str>>);

impl Placeholders {
    /// Notes the placeholder that a change has made, if it has.
    pub fn note(&mut self, change: &SettingChange) {
        let (SettingChange::Set { name, .. } | SettingChange::Reset { name, .. }) = change else { return };
        let fits = name.contains('.') && name.len() <= LONGEST && self.0.len() < MOST;
        if fits && !self.0.contains(&**name) {
            self.0.insert((**name).into());
        }
    }

    /// Adds those of a session that has been on the server whose placeholders these are.
    pub fn add(&mut self, session: &Placeholders) {
        if session.0.is_subset(&self.0) {
            return;
        }
        if self.0.len() >= 2 * MOST {
            // They are made again where they are needed, although they exist.
            self.0.clear();
        }
        self.0.extend(session.0.iter().cloned());
    }

    /// Returns the SQL that makes those which a server with `made` lacks, but for what is set to a value anyway.
    pub fn sql(&self, made: &Placeholders, wanted: &Settings) -> String {
        let lacking = self.0.difference(&made.0).filter(|name| wanted.get(name).is_none());
        lacking.fold(String::new(), |mut sql, name| {
            let _ = write!(sql, "RESET {};", quote_name(name));
            sql
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Placeholders {
        let mut placeholders = Placeholders::default();
        for name in names {
            placeholders.note(&SettingChange::Reset { name: (*name).into(), local: true });
        }
        placeholders
    }

    #[test]
    fn what_a_server_lacks_is_made_there() {
        let session = of(&["work_mem", "my.b", "my.a", "my.set"]);
        let wanted = Settings::default().with("my.set", "1");
        let mut server = of(&["my.b", "other.c"]);
        assert_eq!(session.sql(&server, &wanted), r#"RESET "my"."a";"#);
        server.add(&session);
        assert_eq!(session.sql(&server, &wanted), "");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let names: Vec<String> = (0..99).map(|number| format!("my.n{number}")).collect();
        let session = of(&names.iter().map(|name| &**name).collect::<Vec<_>>());
        assert_eq!(session.0.len(), MOST);
        assert!(of(&[&format!("my.{}", "x".repeat(LONGEST))]).0.is_empty());
        let mut server = Placeholders::default();
        for number in 0..9 {
            server.add(&session);
            server.add(&of(&[&format!("other.n{number}")]));
        }
        assert!(server.0.len() <= 3 * MOST);
    }
}
