//! Between our words and etcd's: keys with the cluster's place in front, transactions, readings.

use super::super::{Compare, Entry, Outcome, Reading, Revision, Txn, Wanted, Write};
use super::messages::{
    Compare as EtcdCompare, DeleteRangeRequest, Expected, KeyValue, PutRequest, RangeRequest, Request,
    RequestOp, TARGET_CREATE, TARGET_MOD, TxnRequest, TxnResponse,
};

/// Where a cluster's keys stand in etcd: `/<namespace>/<cluster>/`.
#[derive(Clone, Debug)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn new(namespace: &str, cluster: &str) -> Self {
        Place(format!("/{namespace}/{cluster}/"))
    }

    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.0).into_bytes()
    }

    pub(super) fn range(&self, wanted: &Wanted) -> RangeRequest {
        match wanted {
            Wanted::Key(key) => RangeRequest { key: self.key(key), range_end: Vec::new() },
            Wanted::Prefix(prefix) => {
                let key = self.key(prefix);
                RangeRequest { range_end: after(&key), key }
            }
        }
    }

    /// A transaction without writes: etcd answers it from one revision, after asking a quorum who leads, and
    /// without an entry in its log.
    pub(super) fn read(&self, wanted: &[Wanted]) -> TxnRequest {
        let success = wanted.iter().map(|wanted| operation(Request::Range(self.range(wanted)))).collect();
        TxnRequest { success, ..TxnRequest::default() }
    }

    pub(super) fn txn(&self, txn: &Txn) -> TxnRequest {
        let compare = txn.compares.iter().map(|compare| {
            let key = self.key(compare.key());
            let (target, expected) = match compare {
                Compare::Absent(_) => (TARGET_CREATE, Expected::CreateRevision(0)),
                Compare::Created(_, at) => (TARGET_CREATE, Expected::CreateRevision(to_etcd(*at))),
                Compare::Modified(_, at) => (TARGET_MOD, Expected::ModRevision(to_etcd(*at))),
            };
            EtcdCompare { target, key, expected: Some(expected) }
        });
        let success = txn.writes.iter().map(|write| match write {
            Write::Put(key, value) => {
                operation(Request::Put(PutRequest { key: self.key(key), value: value.clone(), lease: 0 }))
            }
            Write::Delete(key) => operation(Request::Delete(DeleteRangeRequest { key: self.key(key) })),
        });
        let failure = txn.compares.iter().map(|compare| {
            operation(Request::Range(RangeRequest { key: self.key(compare.key()), range_end: Vec::new() }))
        });
        TxnRequest { compare: compare.collect(), success: success.collect(), failure: failure.collect() }
    }

    /// Errs with what makes the answer none.
    pub(super) fn reading(&self, answer: TxnResponse) -> Result<Reading, String> {
        let mut reading = Reading { revision: revision(&answer)?, ..Reading::default() };
        for found in
            answer.responses.into_iter().filter_map(|response| response.range).flat_map(|range| range.kvs)
        {
            let (key, entry) = self.entry(found)?;
            reading.entries.insert(key, entry);
        }
        Ok(reading)
    }

    /// Errs with what makes the answer none.
    pub(super) fn outcome(&self, answer: TxnResponse) -> Result<Outcome, String> {
        if answer.succeeded {
            return Ok(Outcome::Applied(revision(&answer)?));
        }
        self.reading(answer).map(Outcome::Conflict)
    }

    fn entry(&self, found: KeyValue) -> Result<(String, Entry), String> {
        let key = String::from_utf8(found.key).map_err(|_| "a key that is no text".to_owned())?;
        let key = key.strip_prefix(&self.0).ok_or_else(|| format!("key {key:?}, which is not ours"))?;
        let (created, modified) = (from_etcd(found.create_revision)?, from_etcd(found.mod_revision)?);
        Ok((key.to_owned(), Entry { value: found.value, created, modified }))
    }
}

/// The first key after all that begin with `prefix`: its last byte raised by one. No text ends in byte 255.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_owned();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

fn operation(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn revision(answer: &TxnResponse) -> Result<Revision, String> {
    let header = answer.header.as_ref().ok_or_else(|| "no header".to_owned())?;
    from_etcd(header.revision)
}

fn from_etcd(revision: i64) -> Result<Revision, String> {
    u64::try_from(revision).map(Revision).map_err(|_| format!("revision {revision}"))
}

/// A revision that etcd cannot have is equal to none it has.
fn to_etcd(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::etcd::messages::{Header, RangeResponse, ResponseOp};

    #[test]
    fn keys_stand_in_the_clusters_place() {
        let place = Place::new("bellwether", "main");
        assert_eq!(place.key("term"), b"/bellwether/main/term");
        let range = place.range(&Wanted::prefix("grants/"));
        assert_eq!(range.key, b"/bellwether/main/grants/");
        assert_eq!(range.range_end, b"/bellwether/main/grants0");
        assert_eq!(place.range(&Wanted::prefix("")).range_end, b"/bellwether/main0");
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let place = Place::new("n", "c");
        let answer = |key: &[u8], revision| TxnResponse {
            header: Some(Header { revision }),
            succeeded: false,
            responses: vec![ResponseOp {
                range: Some(RangeResponse {
                    kvs: vec![KeyValue { key: key.to_vec(), ..KeyValue::default() }],
                }),
            }],
        };
        assert!(place.reading(answer(b"/n/c/a", 3)).unwrap().get("a").is_some());
        assert!(place.reading(answer(b"/n/other/a", 3)).unwrap_err().contains("not ours"));
        assert!(place.reading(answer(b"/n/c/\xff", 3)).unwrap_err().contains("no text"));
        assert!(place.reading(answer(b"/n/c/a", -3)).unwrap_err().contains("revision -3"));
        assert!(place.outcome(TxnResponse { succeeded: true, ..TxnResponse::default() }).is_err());
    }
}
