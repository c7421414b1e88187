//! Whom a question or an order goes to: a name and an address as the store has them.

use std::sync::Arc;

use crate::pg::Address;
use crate::topology::{Node, NodeId, NodeName};

/// Returns the node to connect to.
pub(super) fn node(name: &NodeName, address: &str) -> Arc<Node> {
    Arc::new(Node {
        // Its place in the snapshot matters to nobody who only connects.
        id: NodeId(u16::MAX),
        name: name.clone(),
        address: place(address),
        weight: 0,
        reads: false,
        zone: None,
    })
}

/// Reads an address of the store. One that cannot be read yields a host nobody has, whose connection fails with these
/// words.
pub(super) fn place(text: &str) -> Address {
    read(text).unwrap_or_else(|| Address::Tcp { host: text.to_owned(), port: 5432 })
}

/// Reads what [`Address`] writes: `host:port`, `[::1]:port` or `/directory/.s.PGSQL.port`.
pub(super) fn read(text: &str) -> Option<Address> {
    if let Some((directory, port)) = text.rsplit_once("/.s.PGSQL.") {
        return Some(Address::Unix { directory: directory.into(), port: port.parse().ok()? });
    }
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!bare.is_empty()).then_some(Address::Tcp { host: bare.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_from_its_text() {
        for address in [
            Address::Tcp { host: "db.example".to_owned(), port: 5433 },
            Address::Tcp { host: "::1".to_owned(), port: 5432 },
            Address::Unix { directory: "/run/postgresql".into(), port: 5432 },
        ] {
            assert_eq!(read(&address.to_string()), Some(address));
        }
        for text in ["", "host", ":5432", "host:", "host:x", "/run/.s.PGSQL.x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
