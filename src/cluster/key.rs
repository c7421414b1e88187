//! The names under which the store keeps records.

use std::fmt;
use std::sync::Arc;

use crate::topology::NodeName;

/// The name of a proxy, which is also the name of the coordinator inside it. Unique within a cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyName(Arc<str>);

impl ProxyName {
    /// Wraps a name. A `/` in it would be another key; the configuration refuses it.
    pub fn new(name: &str) -> Self {
        ProxyName(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProxyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProxyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// One key of a cluster. Its text form follows the cluster's prefix `/<namespace>/<cluster>/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `identity`: which PostgreSQL cluster this is.
    Identity,
    /// `epoch`: which coordinator is active. Written when it changes hands, and only then.
    Epoch,
    /// `beat`: rewritten by the active coordinator as a sign of life.
    Beat,
    /// `term`: who leads.
    Term,
    /// `sync`: who may hold acknowledged commits.
    Sync,
    /// `op`: the operation under way, or the last one.
    Op,
    /// `config`: settings of the cluster as a whole.
    Config,
    /// `grants/<proxy>`: a proxy that may talk to the primary.
    Grant(ProxyName),
    /// `acks/<proxy>`: how far that proxy has followed a freeze or a hold.
    Ack(ProxyName),
    /// `nodes/<node>`: a PostgreSQL server that belongs to the cluster.
    Node(NodeName),
    /// `status/<node>`: what the active coordinator makes of it; for display.
    Status(NodeName),
    /// `observe/<proxy>`: what that proxy sees of the nodes.
    Observe(ProxyName),
    /// `requests/<id>`: what an operator asks for.
    Request(String),
    /// `history/<term>`: how a term began.
    History(u64),
    /// `answers/<id>`: what became of the request of that name.
    Answer(String),
}

/// Keys of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `identity`
    Identity,
    /// `epoch`
    Epoch,
    /// `beat`
    Beat,
    /// `term`
    Term,
    /// `sync`
    Sync,
    /// `op`
    Op,
    /// `config`
    Config,
    /// `grants/`
    Grant,
    /// `acks/`
    Ack,
    /// `nodes/`
    Node,
    /// `status/`
    Status,
    /// `observe/`
    Observe,
    /// `requests/`
    Request,
    /// `history/`
    History,
    /// `answers/`
    Answer,
}

impl Kind {
    /// Returns the text all keys of this sort begin with; the whole key for a sort of one.
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Identity => "identity",
            Kind::Epoch => "epoch",
            Kind::Beat => "beat",
            Kind::Term => "term",
            Kind::Sync => "sync",
            Kind::Op => "op",
            Kind::Config => "config",
            Kind::Grant => "grants/",
            Kind::Ack => "acks/",
            Kind::Node => "nodes/",
            Kind::Status => "status/",
            Kind::Observe => "observe/",
            Kind::Request => "requests/",
            Kind::History => "history/",
            Kind::Answer => "answers/",
        }
    }

    /// Whether records of this sort are for display and may vanish with their writer: the store may put a
    /// lease on them. No rule of the protocol rests on their being there.
    pub fn is_presence(self) -> bool {
        matches!(self, Kind::Status | Kind::Observe)
    }
}

impl Key {
    /// Returns the sort of this key.
    pub fn kind(&self) -> Kind {
        match self {
            Key::Identity => Kind::Identity,
            Key::Epoch => Kind::Epoch,
            Key::Beat => Kind::Beat,
            Key::Term => Kind::Term,
            Key::Sync => Kind::Sync,
            Key::Op => Kind::Op,
            Key::Config => Kind::Config,
            Key::Grant(_) => Kind::Grant,
            Key::Ack(_) => Kind::Ack,
            Key::Node(_) => Kind::Node,
            Key::Status(_) => Kind::Status,
            Key::Observe(_) => Kind::Observe,
            Key::Request(_) => Kind::Request,
            Key::History(_) => Kind::History,
            Key::Answer(_) => Kind::Answer,
        }
    }

    /// Reads the text form (without the cluster's prefix); `None` for a text that is no key of ours.
    pub fn parse(text: &str) -> Option<Key> {
        let single = match text {
            "identity" => Some(Key::Identity),
            "epoch" => Some(Key::Epoch),
            "beat" => Some(Key::Beat),
            "term" => Some(Key::Term),
            "sync" => Some(Key::Sync),
            "op" => Some(Key::Op),
            "config" => Some(Key::Config),
            _ => None,
        };
        if single.is_some() {
            return single;
        }
        let (kind, name) = text.split_once('/')?;
        if name.is_empty() || name.contains('/') {
            return None;
        }
        Some(match kind {
            "grants" => Key::Grant(ProxyName::new(name)),
            "acks" => Key::Ack(ProxyName::new(name)),
            "nodes" => Key::Node(NodeName::new(name)),
            "status" => Key::Status(NodeName::new(name)),
            "observe" => Key::Observe(ProxyName::new(name)),
            "requests" => Key::Request(name.to_owned()),
            "history" => Key::History(name.parse().ok()?),
            "answers" => Key::Answer(name.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Key {
    /// Writes the text form. Terms in `history/` have ten digits, so that the store's order is theirs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().prefix())?;
        match self {
            Key::Grant(name) | Key::Ack(name) | Key::Observe(name) => write!(f, "{name}"),
            Key::Node(name) | Key::Status(name) => write!(f, "{name}"),
            Key::Request(id) | Key::Answer(id) => f.write_str(id),
            Key::History(term) => write!(f, "{term:010}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_back_from_its_text() {
        let (proxy, node) = (ProxyName::new("p1"), NodeName::new("n1"));
        let keys = [
            Key::Identity,
            Key::Epoch,
            Key::Beat,
            Key::Term,
            Key::Sync,
            Key::Op,
            Key::Config,
            Key::Grant(proxy.clone()),
            Key::Ack(proxy.clone()),
            Key::Node(node.clone()),
            Key::Status(node),
            Key::Observe(proxy),
            Key::Request("r-1".to_owned()),
            Key::History(7),
            Key::Answer("r-1".to_owned()),
        ];
        for key in keys {
            assert_eq!(Key::parse(&key.to_string()), Some(key.clone()), "{key}");
        }
        assert_eq!(Key::History(7).to_string(), "history/0000000007");
        for text in ["", "grants", "grants/", "acks/a/b", "history/x", "terms"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
