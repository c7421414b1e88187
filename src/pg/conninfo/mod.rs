//! Connection strings: the URI form and the keyword/value form of libpq.

mod keyword_value;
#[cfg(test)]
mod tests;
mod uri;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a PostgreSQL server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// Name or address, without brackets for IPv6.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix-domain socket, `DIR/.s.PGSQL.PORT`.
    Unix {
        /// Directory of the socket file.
        directory: PathBuf,
        /// Port in the socket's file name.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { directory, port } => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// A connection string, taken apart. Hosts stand in the order written; every other setting is in `settings`
/// under libpq's keyword (`user`, `password`, `dbname`, `sslmode`, ...), and unknown ones are kept for the
/// caller to judge.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnInfo {
    /// The hosts to try, in order.
    pub hosts: Vec<Address>,
    /// Every keyword but `host`, `hostaddr` and `port`.
    pub settings: BTreeMap<String, String>,
}

/// What is wrong with a connection string. Never holds a password, nor text that may be part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid connection string: {0}")]
pub struct ConnInfoError(pub String);

impl ConnInfo {
    /// Returns the setting called `keyword`, such as `user` or `sslmode`.
    pub fn setting(&self, keyword: &str) -> Option<&str> {
        self.settings.get(keyword).map(String::as_str)
    }
}

impl FromStr for ConnInfo {
    type Err = ConnInfoError;

    /// Reads either form, by libpq's rules
    /// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>), with two differences:
    /// without a host there are no hosts (libpq would take its built-in socket directory), and `hostaddr`
    /// stands in for `host` instead of going with it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let words = match uri::without_scheme(text) {
            Some(rest) => uri::parse(rest)?,
            None => keyword_value::parse(text)?,
        };
        words.finish()
    }
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.settings.iter().map(|(keyword, value)| match keyword.as_str() {
            "password" | "sslpassword" => (keyword.as_str(), "***"),
            _ => (keyword.as_str(), value.as_str()),
        });
        f.debug_struct("ConnInfo")
            .field("hosts", &self.hosts)
            .field("settings", &shown.collect::<BTreeMap<_, _>>())
            .finish()
    }
}

/// Keywords and values as both forms deliver them; `host` and `port` still are comma-separated lists.
#[derive(Default)]
struct Words(BTreeMap<String, String>);

impl Words {
    /// The later of two equal keywords counts, as in libpq.
    fn set(&mut self, keyword: &str, value: String) {
        self.0.insert(keyword.to_owned(), value);
    }

    fn finish(mut self) -> Result<ConnInfo, ConnInfoError> {
        let names = [self.0.remove("host"), self.0.remove("hostaddr")];
        let ports = self.0.remove("port").filter(|ports| !ports.is_empty());
        let hosts = match names.map(|list| list.filter(|list| !list.is_empty())) {
            [Some(_), Some(_)] => return Err(fault("host and hostaddr are both given; give one of them")),
            [None, None] if ports.is_some() => return Err(fault("a port is given without a host")),
            [None, None] => Vec::new(),
            [Some(hosts), None] | [None, Some(hosts)] => addresses(&hosts, ports.as_deref())?,
        };
        Ok(ConnInfo { hosts, settings: self.0 })
    }
}

const DEFAULT_PORT: u16 = 5432;

fn addresses(hosts: &str, ports: Option<&str>) -> Result<Vec<Address>, ConnInfoError> {
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    let ports: Vec<&str> = ports.map_or_else(Vec::new, |ports| ports.split(',').map(str::trim).collect());
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(ConnInfoError(format!("{} ports for {} hosts", ports.len(), hosts.len())));
    }
    // One port serves every host.
    let port_of = |at: usize| ports.get(at).or(ports.first().filter(|_| ports.len() == 1)).copied();
    hosts.iter().enumerate().map(|(at, host)| address(host, port_of(at), at + 1)).collect()
}

fn address(host: &str, port: Option<&str>, place: usize) -> Result<Address, ConnInfoError> {
    if host.is_empty() {
        return Err(ConnInfoError(format!("host {place} of the list is empty")));
    }
    if host.contains('@') {
        // Not shown: this is what an unescaped password leaves behind.
        return Err(fault("a host contains \"@\"; in a user or password it is written %40"));
    }
    let port = match port {
        None | Some("") => DEFAULT_PORT,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => {
                return Err(ConnInfoError(format!(
                    "the port of host {place} is not a number from 1 to 65535"
                )));
            }
        },
    };
    Ok(match host.starts_with('/') {
        true => Address::Unix { directory: host.into(), port },
        false => Address::Tcp { host: host.to_owned(), port },
    })
}

fn fault(text: &str) -> ConnInfoError {
    ConnInfoError(text.to_owned())
}
