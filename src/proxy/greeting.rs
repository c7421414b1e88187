//! What a client is told at its login (ParameterStatus): the same for all with the same settings, so asked once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::session::{Reported, Settings};

/// Greetings known so far, of the present leadership.
#[derive(Debug, Default)]
pub struct Greetings {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    term: u64,
    known: HashMap<Arc<str>, Vec<Greeting>>,
    count: usize,
}

/// The settings of a startup packet, and what a server with these settings reports.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The settings; shared by all sessions that began with them.
    pub startup: Arc<Settings>,
    /// What the server reports.
    pub reported: Reported,
    user: Arc<str>,
}

/// Most greetings kept: `application_name` can be anything.
const MAX_KNOWN: usize = 1000;

impl Greetings {
    /// Returns the greeting for these settings, if one was taken during leadership `term`.
    pub fn get(
        &self,
        term: u64,
        database: &Arc<str>,
        user: &Arc<str>,
        startup: &Settings,
    ) -> Option<Greeting> {
        let inner = self.inner.lock().expect("no panic happens under this lock");
        let known = (inner.term == term).then(|| inner.known.get(database)).flatten()?;
        known.iter().find(|known| known.user == *user && *known.startup == *startup).cloned()
    }

    /// Keeps a greeting.
    pub fn put(
        &self,
        term: u64,
        database: &Arc<str>,
        user: &Arc<str>,
        startup: Arc<Settings>,
        reported: Reported,
    ) {
        let mut inner = self.inner.lock().expect("no panic happens under this lock");
        if inner.term != term || inner.count >= MAX_KNOWN {
            *inner = Inner { term, ..Inner::default() };
        }
        let greeting = Greeting { startup, reported, user: user.clone() };
        inner.known.entry(database.clone()).or_default().push(greeting);
        inner.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_found_by_all_they_depend_on_and_end_with_the_leadership() {
        let greetings = Greetings::default();
        let (db, user, other): (Arc<str>, Arc<str>, Arc<str>) = ("db".into(), "user".into(), "other".into());
        let startup = Arc::new(Settings::new([("application_name".to_owned(), "a".to_owned())]));
        greetings.put(1, &db, &user, startup.clone(), Reported::default());
        assert!(greetings.get(1, &db, &user, &startup).is_some());
        assert!(greetings.get(1, &db, &other, &startup).is_none());
        assert!(greetings.get(1, &other, &user, &startup).is_none());
        assert!(greetings.get(1, &db, &user, &Settings::default()).is_none());
        assert!(greetings.get(2, &db, &user, &startup).is_none());
    }
}
