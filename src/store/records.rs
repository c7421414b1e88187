//! Between the store's bytes and the cluster's records.

use std::sync::Arc;
use std::time::Duration;

use super::{Compare, Entry, Failure, Outcome, Presence, Reading, Revision, Store, Txn, Wanted};
use crate::cluster::{self, DecodeError, Key, Record, Selector, TxnAnswer, View};

/// Why the records could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] Failure),
    /// A key of ours holds something else than its record; written by hand, or by a later release. It must not be
    /// taken for a key that does not exist, so nothing of that reading is used.
    #[error("key {key} in the store is {error}")]
    Record {
        /// The key in its text form.
        key: String,
        /// What is wrong with its value.
        error: DecodeError,
    },
}

/// Reads the records asked for at one moment, linearizably. See [`Store::read`].
pub async fn read(store: &dyn Store, selectors: &[Selector]) -> Result<View, ReadError> {
    let wanted: Vec<Wanted> = selectors.iter().map(wanted).collect();
    view(&store.read(&wanted).await?)
}

/// Does a transaction of the core. The outcome still carries what there is to log; [`answer`] is what the core is
/// told.
pub async fn commit(store: &dyn Store, txn: &cluster::Txn) -> Outcome {
    store.commit(translate(txn)).await
}

/// Returns what the core is told of an outcome. That a transaction was certainly not applied is of no use to it:
/// it reads again in any case.
pub fn answer(outcome: &Outcome) -> TxnAnswer {
    match outcome {
        Outcome::Applied(revision) => TxnAnswer::Applied(to_core(*revision)),
        Outcome::Conflict(_) => TxnAnswer::Refused,
        Outcome::NotApplied(_) | Outcome::Unknown(_) => TxnAnswer::Unknown,
    }
}

/// Shows a record for as long as the handle lives; for keys that are for display ([`cluster::Kind::is_presence`]).
pub fn present(store: &dyn Store, key: &Key, record: &Record, lease: Duration) -> Presence {
    debug_assert!(key.kind().is_presence(), "{key} must outlive its writer");
    store.present(&key.to_string(), record.encode(), lease)
}

fn wanted(selector: &Selector) -> Wanted {
    match selector {
        Selector::One(key) => Wanted::key(key.to_string()),
        Selector::Every(kind) if kind.prefix().ends_with('/') => Wanted::prefix(kind.prefix()),
        Selector::Every(kind) => Wanted::key(kind.prefix()),
    }
}

/// Keys that are none of ours are left out: a later release may have more of them.
fn view(reading: &Reading) -> Result<View, ReadError> {
    let mut view = View { revision: to_core(reading.revision), ..View::default() };
    for (text, Entry { value, modified, .. }) in &reading.entries {
        let Some(key) = Key::parse(text) else { continue };
        let record = Record::decode(key.kind(), value)
            .map_err(|error| ReadError::Record { key: text.clone(), error })?;
        view.entries.insert(key, cluster::Entry { record: Arc::new(record), modified: to_core(*modified) });
    }
    Ok(view)
}

fn translate(txn: &cluster::Txn) -> Txn {
    let compare =
        |compare: &cluster::Compare| Compare::Modified(compare.key.to_string(), Revision(compare.modified.0));
    let start = Txn { compares: txn.compares.iter().map(compare).collect(), ..Txn::new() };
    txn.writes.iter().fold(start, |all, write| match write {
        cluster::Write::Put(key, record) => all.put(key.to_string(), record.encode()),
        cluster::Write::Delete(key) => all.delete(key.to_string()),
    })
}

fn to_core(revision: Revision) -> cluster::Revision {
    cluster::Revision(revision.0)
}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::*;
    use crate::cluster::{Beat, Epoch, Grant, Identity, Kind, ProxyName};

    fn memory() -> Memory {
        Memory::new(Duration::from_millis(10))
    }

    #[tokio::test]
    async fn records_go_there_and_come_back() {
        let store = memory();
        let (identity, beat) = (Identity { system_identifier: u64::MAX }, Beat { epoch: 1, count: 2 });
        let txn = cluster::Txn::new()
            .if_at(Key::Identity, cluster::Revision(0))
            .put(Key::Identity, Record::Identity(identity.clone()))
            .put(Key::Beat, Record::Beat(beat.clone()));
        let TxnAnswer::Applied(at) = answer(&commit(&store, &txn).await) else { panic!("nothing was there") };
        assert_eq!(answer(&commit(&store, &txn).await), TxnAnswer::Refused);
        let all = [Selector::Every(Kind::Identity), Selector::One(Key::Beat), Selector::Every(Kind::Grant)];
        let view = read(&store, &all).await.unwrap();
        assert_eq!((view.identity(), view.beat()), (Some(&identity), Some(&beat)));
        assert_eq!(view.modified(&Key::Identity), at);
        assert_eq!(view.modified(&Key::Term), cluster::Revision(0));
        let gone = cluster::Txn::new().if_at(Key::Beat, at).delete(Key::Beat);
        assert!(matches!(answer(&commit(&store, &gone).await), TxnAnswer::Applied(_)));
        assert_eq!(read(&store, &all).await.unwrap().beat(), None);
    }

    #[tokio::test]
    async fn what_is_no_record_is_an_error_and_not_an_absence() {
        let store = memory();
        assert!(matches!(
            store.commit(Txn::new().put("epoch", "7").put("new/thing", "?")).await,
            Outcome::Applied(_)
        ));
        let error = read(&store, &[Selector::One(Key::Epoch)]).await.unwrap_err();
        assert!(error.to_string().starts_with("key epoch in the store is not a record of Epoch"), "{error}");
        let view = view(&store.read(&[Wanted::prefix("new/")]).await.unwrap()).unwrap();
        assert_eq!(view.entries.len(), 0);
        let _: (Option<&Epoch>, Option<&Grant>) = (view.epoch(), view.grant(&ProxyName::new("p")));
    }
}
