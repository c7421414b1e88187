//! Reads the connection URL of the command line into [`Written`]: the short way to run without a file.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::key::KeyPath;
use super::keys::find;
use super::problem::{Origin, Problem};
use super::value::{Surroundings, Value, from_text};
use super::written::Written;
use crate::pg::{Address, ConnInfo};

/// What a keyword of the URL sets. The first ones are libpq's.
const KEYWORDS: [(&str, &str); 10] = [
    ("user", "cluster.user"),
    ("password", "cluster.password"),
    ("dbname", "cluster.database"),
    ("sslmode", "server_tls.mode"),
    ("sslrootcert", "server_tls.root_cert"),
    ("sslcert", "server_tls.cert"),
    ("sslkey", "server_tls.key"),
    ("channel_binding", "server_tls.channel_binding"),
    ("listen", "listen"),
    ("cluster", "cluster.name"),
];

/// Adds what `url` says to `written`; its hosts are all the nodes there are.
pub(super) fn read(url: &str, written: &mut Written) -> Vec<Problem> {
    let wrong = |error: &str| Problem::new(error).at(Origin::Url);
    let info: ConnInfo = match url.parse() {
        Ok(info) => info,
        Err(error) => {
            let problem = wrong("the connection URL is not valid").cause(error.0);
            return vec![problem.hint("write postgres://user@host1,host2/")];
        }
    };
    if info.hosts.is_empty() {
        return vec![wrong("the connection URL names no host").hint("write postgres://user@host1,host2/")];
    }
    written.clear_nodes();
    for (name, address) in names(&info.hosts).iter().zip(&info.hosts) {
        written.set(KeyPath::named("nodes.*", name), Value::Text(address_url(address)), Origin::Url);
    }
    info.settings.iter().filter_map(|(keyword, value)| parameter(keyword, value, written).err()).collect()
}

fn parameter(keyword: &str, text: &str, written: &mut Written) -> Result<(), Problem> {
    let Some((_, path)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) else {
        let known: Vec<&str> = KEYWORDS.iter().map(|(known, _)| *known).collect();
        let problem = Problem::new(format!("unknown parameter \"{keyword}\"")).at(Origin::Url);
        return Err(
            problem.hint(format!("known in the URL: {}; the rest goes into a file", known.join(", ")))
        );
    };
    let key = find(path).expect("the keywords above name rows of the table");
    let around = Surroundings { env: &Default::default(), base: Path::new("") };
    let path = KeyPath::plain(key.path);
    match from_text(text, key.kind, &around) {
        Ok(value) => {
            written.set(path, value, Origin::Url);
            Ok(())
        }
        Err(misfit) => Err(super::misfit(&path, misfit, Origin::Url)),
    }
}

/// Host names where they are names and tell the hosts apart; `node1`, `node2`, ... otherwise.
fn names(hosts: &[Address]) -> Vec<String> {
    let host_names: BTreeSet<&str> = hosts
        .iter()
        .filter_map(|address| match address {
            Address::Tcp { host, .. } if host.parse::<IpAddr>().is_err() => Some(host.as_str()),
            _ => None,
        })
        .collect();
    let usable = host_names.len() == hosts.len() && host_names.iter().all(|name| super::check::is_name(name));
    let name = |(at, address): (usize, &Address)| match address {
        Address::Tcp { host, .. } if usable => host.clone(),
        _ => format!("node{}", at + 1),
    };
    hosts.iter().enumerate().map(name).collect()
}

/// Writes an address as the URL form of `[nodes]`.
fn address_url(address: &Address) -> String {
    match address {
        Address::Tcp { .. } => format!("postgres://{}", address.to_string().replace('%', "%25")),
        Address::Unix { directory, port } => {
            let directory = directory.to_string_lossy().replace('%', "%25").replace('/', "%2F");
            format!("postgres://{directory}:{port}")
        }
    }
}
