//! Finds the proxy to ask: from the options, the configuration, or the usual place.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::args::ApiArgs;
use super::client::{Client, Place};
use super::config::system_file;
use super::exit;
use super::failure::Failure;
use crate::config::{self, Interface, Secret, Sources};

/// Where a proxy answers that says nothing of it; the default of `http.listen`.
const USUAL_PORT: u16 = 9632;

/// Makes the client that the options and the configuration ask for.
///
/// # Errors
/// The configuration or the URL is wrong, or the configuration serves no API.
pub fn client(args: &ApiArgs, env: BTreeMap<String, String>) -> Result<Client, Failure> {
    let interface = interface(args, env)?;
    let places = match &args.api {
        Some(url) => vec![place(url)?],
        None => places(&interface),
    };
    if places.is_empty() {
        let failure = Failure::new(exit::USAGE, "this configuration serves no API");
        let why = "http.listen and http.socket are empty";
        return Err(failure.cause(why).hint("set one of them, or ask another proxy with --api URL"));
    }
    let token = args.token.as_ref().filter(|token| !token.is_empty()).map(Secret::new);
    Ok(Client { places, token: token.or(interface.token), patience: args.timeout })
}

/// Reads what the proxy's configuration says of itself.
///
/// # Errors
/// The configuration is wrong.
pub fn interface(args: &ApiArgs, env: BTreeMap<String, String>) -> Result<Interface, Failure> {
    // Whoever says where to ask need not be able to read the proxy's own file.
    let file = args.config.clone().or_else(|| system_file().filter(|_| args.api.is_none()));
    config::interface(&Sources { file, env, ..Sources::default() })
        .map_err(|problems| Failure::configuration(&problems))
}

/// The socket first: whoever can open it needs no token.
fn places(interface: &Interface) -> Vec<Place> {
    let socket = interface.socket.clone().map(Place::Unix);
    let address = interface.address.map(|address| {
        let near = nearest_address(address);
        Place::Tcp { host: near.ip().to_string(), port: near.port() }
    });
    socket.into_iter().chain(address).collect()
}

/// Where to connect for something that listens everywhere.
fn nearest_address(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn place(url: &str) -> Result<Place, Failure> {
    let wrong = |why: &str| {
        let failure = Failure::usage(format!("--api \"{url}\" is not the place of an API")).cause(why);
        failure.hint("write http://host:port, or unix:/path for a socket")
    };
    if let Some(path) = url.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.starts_with('/') {
            Ok(Place::Unix(path.into()))
        } else {
            Err(wrong("the path is not absolute"))
        };
    }
    if url.starts_with("https:") {
        return Err(wrong("the API is served without TLS"));
    }
    let rest = url.strip_prefix("http://").unwrap_or(url);
    if rest.contains("://") {
        return Err(wrong("the scheme is neither http nor unix"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or_else(|| wrong("the bracket is not closed"))?,
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| wrong("the port is no number up to 65535"))?,
        None if port.is_empty() => USUAL_PORT,
        None => return Err(wrong("there is something behind the host")),
    };
    let plain =
        !host.is_empty() && !host.contains(|letter: char| "/?#@".contains(letter) || letter.is_whitespace());
    if plain {
        Ok(Place::Tcp { host: host.to_owned(), port })
    } else {
        Err(wrong("the host is no plain name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        for (url, expected) in [
            ("http://h:1", "http://h:1"),
            ("http://h/", "http://h:9632"),
            ("h:1", "http://h:1"),
            ("http://[::1]:7", "http://[::1]:7"),
            ("unix:/run/b.sock", "unix:/run/b.sock"),
            ("unix:///run/b.sock", "unix:/run/b.sock"),
        ] {
            assert_eq!(place(url).map(|place| place.to_string()), Ok(expected.to_owned()));
        }
        for url in [
            "https://h",
            "unix:b.sock",
            "ftp://h",
            "http://",
            "http://h:x",
            "http://u@h",
            "[::1",
            "http://h:1/x",
        ] {
            assert_eq!(place(url).map_err(|failure| failure.code), Err(exit::USAGE), "{url}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_asked_nearby() {
        let near = |text: &str| nearest_address(text.parse().expect("an address")).to_string();
        assert_eq!(
            [near("0.0.0.0:1"), near("[::]:1"), near("10.0.0.1:1")],
            ["127.0.0.1:1", "[::1]:1", "10.0.0.1:1"]
        );
    }
}
