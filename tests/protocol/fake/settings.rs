//! The settings (GUCs) of the fake server's session, transactional as PostgreSQL's are.

use std::collections::BTreeMap;

type Values = BTreeMap<String, String>;

/// What holds, with what SET LOCAL changed and without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layer {
    session: Values,
    now: Values,
}

#[derive(Debug)]
pub struct Settings {
    /// What RESET returns to.
    startup: Values,
    layer: Layer,
    before: Option<Layer>,
    savepoints: Vec<(String, Layer)>,
    standby: bool,
    reported: BTreeMap<&'static str, String>,
}

/// Reported by themselves, as PostgreSQL spells them.
const REPORTED: [&str; 8] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "in_hot_standby",
    "is_superuser",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

const IDENTITY: [&str; 2] = ["role", "session_authorization"];

impl Settings {
    pub fn new(startup: &[(&str, &str)], standby: bool) -> Self {
        let startup: Values =
            startup.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let layer = Layer { session: startup.clone(), now: startup.clone() };
        let mut settings = Settings {
            startup,
            layer,
            before: None,
            savepoints: Vec::new(),
            standby,
            reported: BTreeMap::new(),
        };
        settings.changed();
        settings
    }

    pub fn get(&self, name: &str) -> String {
        let name = name.to_ascii_lowercase();
        if let Some(value) = self.layer.now.get(&name) {
            return value.clone();
        }
        let identity =
            |name| self.layer.now.get(name).is_none_or(|value| value == "postgres" || value == "none");
        match name.as_str() {
            "client_encoding" => "UTF8",
            "datestyle" => "ISO, MDY",
            "in_hot_standby" => {
                if self.standby {
                    "on"
                } else {
                    "off"
                }
            }
            "is_superuser" => {
                if IDENTITY.into_iter().all(identity) {
                    "on"
                } else {
                    "off"
                }
            }
            "session_authorization" => "postgres",
            "role" => "none",
            "standard_conforming_strings" => "on",
            "timezone" => "Etc/UTC",
            _ => "",
        }
        .to_string()
    }

    /// Returns what differs from the values after connecting.
    pub fn differing(&self) -> Vec<(String, String)> {
        self.layer.now.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Returns the parameters to report: those whose value is not what was reported last.
    pub fn changed(&mut self) -> Vec<(&'static str, String)> {
        let all = REPORTED.map(|name| (name, self.get(name)));
        all.into_iter()
            .filter(|(name, value)| self.reported.insert(name, value.clone()).as_ref() != Some(value))
            .collect()
    }

    /// Returns all parameters as reported at the start of a connection.
    pub fn all_reported(&self) -> Vec<(Box<str>, Box<str>)> {
        REPORTED.map(|name| (name.into(), self.get(name).into())).into()
    }

    fn change(&mut self) -> &mut Layer {
        if self.before.is_none() {
            self.before = Some(self.layer.clone());
        }
        &mut self.layer
    }

    pub fn set(&mut self, name: &str, value: &str, local: bool) {
        let name = name.to_ascii_lowercase();
        let layer = self.change();
        if name == IDENTITY[1] {
            layer.now.remove(IDENTITY[0]);
            layer.session.remove(IDENTITY[0]);
        }
        layer.now.insert(name.clone(), value.into());
        if !local {
            layer.session.insert(name, value.into());
        }
    }

    pub fn reset(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        let startup = self.startup.get(&name).cloned();
        let layer = self.change();
        for values in [&mut layer.now, &mut layer.session] {
            if name == IDENTITY[1] {
                values.remove(IDENTITY[0]);
            }
            match &startup {
                Some(value) => values.insert(name.clone(), value.clone()),
                None => values.remove(&name),
            };
        }
    }

    pub fn reset_local(&mut self, name: &str) {
        let startup = self.startup.get(name).cloned();
        let now = &mut self.change().now;
        match startup {
            Some(value) => now.insert(name.into(), value),
            None => now.remove(name),
        };
    }

    pub fn reset_all(&mut self) {
        let startup = self.startup.clone();
        let layer = self.change();
        for values in [&mut layer.now, &mut layer.session] {
            let identity = IDENTITY.map(|name| values.get(name).cloned());
            *values = startup.clone();
            for (name, value) in IDENTITY.into_iter().zip(identity) {
                match value {
                    Some(value) => values.insert(name.into(), value),
                    None => values.remove(name),
                };
            }
        }
    }

    pub fn discard(&mut self) {
        self.reset(IDENTITY[1]);
        self.reset_all();
        self.reset(IDENTITY[0]);
    }

    pub fn savepoint(&mut self, name: &str) {
        self.savepoints.push((name.into(), self.layer.clone()));
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name)
    }

    pub fn release(&mut self, name: &str) -> bool {
        let found = self.find(name);
        self.savepoints.truncate(found.unwrap_or(self.savepoints.len()));
        found.is_some()
    }

    pub fn rollback_to(&mut self, name: &str) -> bool {
        let Some(at) = self.find(name) else { return false };
        self.savepoints.truncate(at + 1);
        self.layer = self.savepoints[at].1.clone();
        true
    }

    /// Follows the end of the transaction.
    pub fn end(&mut self, commit: bool) {
        self.savepoints.clear();
        let before = self.before.take();
        if commit {
            self.layer.now = self.layer.session.clone();
        } else if let Some(before) = before {
            self.layer = before;
        }
    }
}
