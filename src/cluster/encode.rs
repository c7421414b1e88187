//! Records as bytes and back: JSON, so that `etcdctl get` can be read by people.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::key::{Kind, ProxyName};
use super::lineage::{Branch, Lineage};
use super::records::Record;
use crate::pg::{Lsn, Timeline};
use crate::topology::NodeName;

/// A value that is no record of its key's sort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of {kind:?}: {reason}")]
pub struct DecodeError {
    /// What the key asks for.
    pub kind: Kind,
    /// What is wrong with it.
    pub reason: String,
}

impl Record {
    /// Returns the bytes the store keeps.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = match self {
            Record::Identity(record) => serde_json::to_vec(record),
            Record::Epoch(record) => serde_json::to_vec(record),
            Record::Beat(record) => serde_json::to_vec(record),
            Record::Term(record) => serde_json::to_vec(record),
            Record::Sync(record) => serde_json::to_vec(record),
            Record::Operation(record) => serde_json::to_vec(record),
            Record::Config(record) => serde_json::to_vec(record),
            Record::Grant(record) => serde_json::to_vec(record),
            Record::Ack(record) => serde_json::to_vec(record),
            Record::Member(record) => serde_json::to_vec(record),
            Record::Status(record) => serde_json::to_vec(record),
            Record::Observation(record) => serde_json::to_vec(record),
            Record::Request(record) => serde_json::to_vec(record),
            Record::History(record) => serde_json::to_vec(record),
            Record::Answer(record) => serde_json::to_vec(record),
        };
        encoded.expect("records have text keys only")
    }

    /// Reads the bytes found under a key of the sort `kind`.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Record, DecodeError> {
        fn read<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
            serde_json::from_slice(bytes).map_err(|error| DecodeError { kind, reason: error.to_string() })
        }
        Ok(match kind {
            Kind::Identity => Record::Identity(read(kind, bytes)?),
            Kind::Epoch => Record::Epoch(read(kind, bytes)?),
            Kind::Beat => Record::Beat(read(kind, bytes)?),
            Kind::Term => Record::Term(read(kind, bytes)?),
            Kind::Sync => Record::Sync(read(kind, bytes)?),
            Kind::Op => Record::Operation(read(kind, bytes)?),
            Kind::Config => Record::Config(read(kind, bytes)?),
            Kind::Grant => Record::Grant(read(kind, bytes)?),
            Kind::Ack => Record::Ack(read(kind, bytes)?),
            Kind::Node => Record::Member(read(kind, bytes)?),
            Kind::Status => Record::Status(read(kind, bytes)?),
            Kind::Observe => Record::Observation(read(kind, bytes)?),
            Kind::Request => Record::Request(read(kind, bytes)?),
            Kind::History => Record::History(read(kind, bytes)?),
            Kind::Answer => Record::Answer(read(kind, bytes)?),
        })
    }
}

impl Serialize for ProxyName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProxyName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(ProxyName::new(&String::deserialize(from)?))
    }
}

impl Serialize for NodeName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(NodeName::new(&String::deserialize(from)?))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Lineage {
    /// A list of pairs: timeline and the position it began at.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.branches().iter().map(|branch| (branch.timeline.0, branch.forked_at)))
    }
}

impl<'de> Deserialize<'de> for Lineage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u32, Lsn)>::deserialize(from)?;
        let branch = |(timeline, forked_at)| Branch { timeline: Timeline(timeline), forked_at };
        Lineage::new(pairs.into_iter().map(branch).collect())
            .ok_or_else(|| D::Error::custom("the branches of a lineage must grow, and there is one at least"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::records::{Asked, OperationKind, Phase, Request, Term};

    #[test]
    fn a_term_is_readable_and_comes_back() {
        let branch = Branch { timeline: Timeline(2), forked_at: Lsn(0x16_B374_D848) };
        let term = Record::Term(Term {
            number: 4,
            phase: Phase::Open,
            leader: NodeName::new("n1"),
            lineage: Lineage::new(vec![branch]).expect("one branch"),
            run: Some(7),
            permission_us: 4_000_000,
            highest_timeline: 2,
            suspects: BTreeMap::from([(NodeName::new("n2"), 2)]),
        });
        let text = String::from_utf8(term.encode()).expect("it is JSON");
        assert_eq!(
            text,
            r#"{"number":4,"phase":"Open","leader":"n1","lineage":[[2,"16/B374D848"]],"run":7,"permission_us":4000000,"highest_timeline":2,"suspects":{"n2":2}}"#
        );
        assert_eq!(Record::decode(Kind::Term, text.as_bytes()), Ok(term));
        for broken in ["", "{}", "[]", r#"{"lineage":[]}"#] {
            assert!(Record::decode(Kind::Term, broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn records_that_do_not_say_who_asked_are_read() {
        let history = r#"{"leader":"b","before":"a","lineage":[[1,"0/0"],[2,"0/50"]],"reason":"failover by request","lost_bytes":0,"at_ms":7,"steps_ms":[["Frozen",40]]}"#;
        let Ok(Record::History(read)) = Record::decode(Kind::History, history.as_bytes()) else {
            panic!("it is read");
        };
        assert_eq!((&read.asked, read.kind), (&Asked::default(), None));
        let operation = r#"{"kind":"Forced","term":4,"step":"Open","reason":"failover by request","wanted":null,"accept_loss":true,"candidate":"b","given_up":[],"fenced":true,"known_end":"0/60","required":"0/50"}"#;
        let Ok(Record::Operation(read)) = Record::decode(Kind::Op, operation.as_bytes()) else {
            panic!("it is read");
        };
        assert_eq!((&read.asked, read.kind), (&Asked::default(), OperationKind::Forced));
        let old = Record::decode(Kind::Request, br#"{"Switchover":{"to":null}}"#);
        assert_eq!(old, Ok(Record::Request(Request::Switchover { to: None, asked: Asked::default() })));
        let asked = Asked { by: Some("ops@bastion".to_owned()), why: None };
        let request = Record::Request(Request::Failover { to: None, accept_loss: false, asked });
        assert_eq!(Record::decode(Kind::Request, &request.encode()), Ok(request));
    }
}
