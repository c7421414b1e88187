//! The parameters a server reports by itself (ParameterStatus), and what the client was told of them.

use std::sync::Arc;

/// Names and values as last reported. Cheap to clone: shared until changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported(Arc<Vec<(Box<str>, Box<str>)>>);

/// Parameters that tell a node's role rather than the session's state. The endpoint is one virtual server that
/// takes writes, whichever node serves a statement; what a standby says of itself is not passed on.
const ABOUT_THE_NODE: [&str; 2] = ["in_hot_standby", "server_version"];

/// More parameters than any PostgreSQL reports; what comes beyond is dropped.
const MAX_PARAMETERS: usize = 64;

impl Reported {
    /// Starts from a list; a later value of a name replaces an earlier one.
    pub fn new(values: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> Self {
        let mut reported = Reported::default();
        for (name, value) in values {
            reported.set(&name, &value);
        }
        reported
    }

    /// Returns the value of `name`, spelled as the server spells it (`DateStyle`, `TimeZone`).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// Notes a value; returns whether it is new.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        if self.get(name) == Some(value) {
            return false;
        }
        let values = Arc::make_mut(&mut self.0);
        match values.iter().position(|(known, _)| &**known == name) {
            Some(at) => values[at].1 = value.into(),
            None if values.len() < MAX_PARAMETERS => values.push((name.into(), value.into())),
            None => return false,
        }
        true
    }

    /// Returns names and values in the order they were first reported.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Tells whether text from the client can be read as UTF-8, and how strings are quoted.
    pub fn reading(&self) -> Reading {
        Reading {
            utf8: matches!(self.get("client_encoding"), Some("UTF8") | None),
            standard_conforming_strings: self.get("standard_conforming_strings") != Some("off"),
        }
    }

    /// Returns the view of one virtual server that takes writes: what any node says of its role is set right.
    pub fn as_endpoint(&self) -> Reported {
        let mut view = self.clone();
        if view.get("in_hot_standby").is_some() {
            view.set("in_hot_standby", "off");
        }
        view
    }

    /// Returns the view of the read-only endpoint: one virtual standby, whichever node serves.
    pub fn as_read_only_endpoint(&self) -> Reported {
        let mut view = self.clone();
        for name in ["in_hot_standby", "default_transaction_read_only"] {
            // Servers before version 14 report neither.
            if view.get(name).is_some() {
                view.set(name, "on");
            }
        }
        view
    }
}

/// Tells whether a changed `name` concerns the client, or only the node that serves it.
pub fn concerns_client(name: &str) -> bool {
    !ABOUT_THE_NODE.contains(&name)
}

/// How the client's SQL text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its encoding is UTF-8. Otherwise only plain ASCII can be understood.
    pub utf8: bool,
    /// `standard_conforming_strings`.
    pub standard_conforming_strings: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_never_looks_like_a_standby() {
        let standby =
            Reported::new([("in_hot_standby".into(), "on".into()), ("TimeZone".into(), "UTC".into())]);
        let view = standby.as_endpoint();
        assert_eq!(view.get("in_hot_standby"), Some("off"));
        assert_eq!(view.get("TimeZone"), Some("UTC"));
        let reads = view.as_read_only_endpoint();
        assert_eq!(
            (reads.get("in_hot_standby"), reads.get("default_transaction_read_only")),
            (Some("on"), None)
        );
        assert!(!concerns_client("in_hot_standby"));
        assert!(concerns_client("TimeZone"));
    }

    #[test]
    fn setting_tells_what_is_new() {
        let mut reported = Reported::default();
        assert!(reported.set("client_encoding", "LATIN1"));
        assert!(!reported.set("client_encoding", "LATIN1"));
        assert!(!reported.reading().utf8);
        assert!(reported.reading().standard_conforming_strings);
        for index in 0..100 {
            reported.set(&format!("p{index}"), "x");
        }
        assert_eq!(reported.iter().count(), MAX_PARAMETERS);
    }
}
