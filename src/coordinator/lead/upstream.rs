//! `primary_conninfo` as we write it: whom a standby follows, and for which term, readable from the setting itself.
//!
//! The token stands in `fallback_application_name`, which libpq ignores beside an `application_name`: that one must be
//! the node's name, because `synchronous_standby_names` goes by it.

use std::fmt::Write;

use crate::cluster::Upstream;
use crate::pg::{Address, ConnInfo};
use crate::topology::NodeName;

/// What begins every token of ours. The parts are separated by slashes, which no node's name contains.
const MARK: &str = "bellwether";

/// Reads where a standby's `primary_conninfo` points.
pub(super) fn read(text: &str) -> Upstream {
    if text.trim().is_empty() {
        return Upstream::None;
    }
    let token = |text: &str| -> Option<Upstream> {
        let info: ConnInfo = text.parse().ok()?;
        let mut parts = info.setting("fallback_application_name")?.split('/');
        if parts.next()? != MARK {
            return None;
        }
        let term = parts.next()?.parse().ok()?;
        match (parts.next()?, parts.next(), parts.next()) {
            ("dead-end", None, None) => Some(Upstream::DeadEnd { term }),
            ("leader", Some(node), None) => Some(Upstream::Leader { node: NodeName::new(node), term }),
            _ => None,
        }
    };
    token(text).unwrap_or(Upstream::Foreign)
}

/// Returns the text that every dead end of this term contains, and no other `primary_conninfo`: what the promoting
/// statement looks for.
pub(super) fn dead_end_mark(term: u64) -> String {
    format!("'{MARK}/{term}/dead-end'")
}

/// Writes a `primary_conninfo` that leads nowhere. What else `present` says (user, password file, ...) is kept, so
/// that the node can be pointed at a leader later.
pub(super) fn dead_end(present: &str, me: &NodeName, term: u64) -> String {
    // A socket directory that does not exist fails at once, on whatever network.
    let nowhere = Address::Unix { directory: format!("/{MARK}/dead-end").into(), port: 5432 };
    write(&settings_of(present), &nowhere, me, &format!("{MARK}/{term}/dead-end"))
}

/// Writes a `primary_conninfo` that follows `leader`. `login` says what the node itself does not: it counts where
/// `present` is silent, as on a former primary.
pub(super) fn follow(
    present: &str,
    login: &ConnInfo,
    me: &NodeName,
    leader: (&NodeName, &Address),
    term: u64,
) -> String {
    let mut settings = login.clone();
    settings.settings.extend(settings_of(present).settings);
    write(&settings, leader.1, me, &format!("{MARK}/{term}/leader/{}", leader.0))
}

/// What cannot be read is given up: the server itself could not use it either.
fn settings_of(text: &str) -> ConnInfo {
    text.parse().unwrap_or_default()
}

fn write(settings: &ConnInfo, to: &Address, me: &NodeName, token: &str) -> String {
    let mut text = String::new();
    let mut put = |keyword: &str, value: &str| {
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{keyword}='{quoted}'");
    };
    match to {
        Address::Tcp { host, port } => {
            put("host", host);
            put("port", &port.to_string());
        }
        Address::Unix { directory, port } => {
            put("host", &directory.to_string_lossy());
            put("port", &port.to_string());
        }
    }
    let ours = ["application_name", "fallback_application_name", "dbname", "replication"];
    for (keyword, value) in &settings.settings {
        if !ours.contains(&keyword.as_str()) {
            put(keyword, value);
        }
    }
    put("application_name", me.as_str());
    put("fallback_application_name", token);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        NodeName::new(name)
    }

    #[test]
    fn what_we_write_is_what_we_read_and_the_login_stays() {
        let present = "host=10.0.0.1 user=replicator password='it\\'s' application_name=b sslmode=require";
        let recruited = dead_end(present, &name("b"), 7);
        assert_eq!(read(&recruited), Upstream::DeadEnd { term: 7 });
        assert!(
            recruited.contains(&dead_end_mark(7)) && !recruited.contains(&dead_end_mark(70)),
            "{recruited}"
        );

        let address = Address::Tcp { host: "10.0.0.3".to_owned(), port: 5433 };
        let login: ConnInfo = "user=other passfile=/etc/pass".parse().unwrap();
        let following = follow(&recruited, &login, &name("b"), (&name("c"), &address), 8);
        assert_eq!(read(&following), Upstream::Leader { node: name("c"), term: 8 });
        let info: ConnInfo = following.parse().unwrap();
        assert_eq!(info.hosts, [address]);
        let setting = |keyword| info.setting(keyword).unwrap_or("none");
        assert_eq!((setting("user"), setting("password")), ("replicator", "it's"));
        assert_eq!((setting("passfile"), setting("application_name")), ("/etc/pass", "b"));
    }

    #[test]
    fn what_others_wrote_is_foreign() {
        for text in [
            "host=a",
            "postgres://a",
            "host=a fallback_application_name=walreceiver",
            "host=a fallback_application_name=bellwether/x/dead-end",
            "host=a fallback_application_name=bellwether/7/leader",
            "host='a",
        ] {
            assert_eq!(read(text), Upstream::Foreign, "{text}");
        }
        assert_eq!(read(" "), Upstream::None);
    }
}
