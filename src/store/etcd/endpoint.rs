//! Where a member of etcd listens for clients.

use std::fmt;
use std::str::FromStr;

/// One member's client address, as in `http://10.0.0.1:2379`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether it is spoken to over TLS (`https`).
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port; etcd's own is 2379.
    pub port: u16,
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another beginning.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// Nothing, or something that cannot stand in a host's name.
    #[error("its host is not a name or an address")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// Something after the port.
    #[error("it goes on after the port")]
    Path,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(EndpointError::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(EndpointError::Path);
        }
        let (host, port) = split(rest)?;
        if host.is_empty()
            || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        {
            return Err(EndpointError::Host);
        }
        let port = match port {
            None => 2379,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(EndpointError::Port)?,
        };
        Ok(Endpoint { tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Endpoint {
    /// Host and port as HTTP writes them.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Host without brackets, and the port if there is one.
fn split(text: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(EndpointError::Host)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(EndpointError::Port),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(EndpointError::Host),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        let same = |text: &str| assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        same("http://10.0.0.1:2379");
        same("https://etcd-1.example.com:4001");
        same("https://[fd00::1]:2379");
        let read = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(read("http://a/").unwrap(), "http://a:2379");
        assert_eq!(read("http://[::1]").unwrap(), "http://[::1]:2379");
        assert_eq!(read("10.0.0.1:2379"), Err(EndpointError::Scheme));
        assert_eq!(read("http://:2379"), Err(EndpointError::Host));
        assert_eq!(read("http://fd00::1"), Err(EndpointError::Host));
        assert_eq!(read("http://user@a:1"), Err(EndpointError::Host));
        assert_eq!(read("http://a:0"), Err(EndpointError::Port));
        assert_eq!(read("http://a:99999"), Err(EndpointError::Port));
        assert_eq!(read("http://a:1/v3"), Err(EndpointError::Path));
    }
}
