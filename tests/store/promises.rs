//! What every store promises, tried on one of any kind. Each promise uses keys of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::store::{Compare, Entry, Outcome, Reading, Revision, Store, Txn, Wanted};

/// Tries them all.
pub async fn all_hold(store: Arc<dyn Store>) {
    reads_see_what_was_applied(&*store).await;
    several_keys_are_read_at_one_moment(&store).await;
    keys_keep_their_revisions(&*store).await;
    compares_decide(&*store).await;
    writes_happen_together_or_not_at_all(&*store).await;
    a_key_is_written_once_in_a_transaction(&*store).await;
    one_of_many_wins(&store).await;
    watches_ring(&*store).await;
    presence_shows_and_goes(&*store).await;
    presence_that_changes_all_the_time_stays(&*store).await;
}

async fn reads_see_what_was_applied(store: &dyn Store) {
    assert_eq!(get(store, "r/missing").await, None);
    let at = applied(store.commit(Txn::new().put("r/one", "first")).await);
    let reading = read(store, &[Wanted::key("r/one"), Wanted::key("r/missing")]).await;
    assert_eq!(reading.entries.len(), 1);
    assert_eq!(reading.get("r/one"), Some(&Entry { value: b"first".to_vec(), created: at, modified: at }));
    assert!(reading.revision >= at, "{reading:?}");
    assert_eq!(get(store, "r/one").await.map(|entry| entry.value), Some(b"first".to_vec()));

    let binary: Vec<u8> = (0..=255).collect();
    applied(store.commit(Txn::new().put("r/binary", binary.clone()).put("r/empty", "")).await);
    assert_eq!(get(store, "r/binary").await.map(|entry| entry.value), Some(binary));
    assert_eq!(get(store, "r/empty").await.map(|entry| entry.value), Some(Vec::new()));
    let under = read(store, &[Wanted::prefix("r/")]).await;
    let keys: Vec<&str> = under.with_prefix("r/").map(|(key, _)| key).collect();
    assert_eq!(keys, ["r/binary", "r/empty", "r/one"]);
}

/// Two keys that are always written together are never seen apart.
async fn several_keys_are_read_at_one_moment(store: &Arc<dyn Store>) {
    let wanted = [Wanted::key("m/left"), Wanted::prefix("m/right")];
    let pair = |n: u32| Txn::new().put("m/left", n.to_string()).put("m/right/1", n.to_string());
    applied(store.commit(pair(0)).await);
    let writer = Arc::clone(store);
    let writing = tokio::spawn(async move {
        for n in 1..50 {
            applied(writer.commit(pair(n)).await);
        }
    });
    while !writing.is_finished() {
        let reading = read(&**store, &wanted).await;
        let value = |key| reading.get(key).map(|entry: &Entry| entry.value.clone());
        assert_eq!(value("m/left"), value("m/right/1"));
        assert!(value("m/left").is_some());
    }
    writing.await.unwrap();
}

async fn keys_keep_their_revisions(store: &dyn Store) {
    let first = applied(store.commit(Txn::new().put("k", "1")).await);
    let second = applied(store.commit(Txn::new().put("k", "1")).await);
    assert!(second > first);
    let entry = get(store, "k").await.unwrap();
    assert_eq!((entry.created, entry.modified), (first, second));
    let gone = applied(store.commit(Txn::new().delete("k")).await);
    assert!(gone > second);
    assert_eq!(get(store, "k").await, None);
    let again = applied(store.commit(Txn::new().delete("k")).await);
    assert_eq!(again, gone, "to delete what is not there changes nothing");
    let third = applied(store.commit(Txn::new().put("k", "2")).await);
    assert_eq!(get(store, "k").await.unwrap().created, third);
}

async fn compares_decide(store: &dyn Store) {
    let put = |compare: Compare| Txn::new().when(compare).put("c", "x");
    let absent = || Compare::Absent("c".to_owned());
    let modified = |at| Compare::Modified("c".to_owned(), at);
    let created = |at| Compare::Created("c".to_owned(), at);

    let birth = applied(store.commit(put(absent())).await);
    let seen = conflict(store.commit(put(absent())).await);
    assert_eq!(seen.get("c").map(|entry| entry.modified), Some(birth));
    let change = applied(store.commit(put(modified(birth))).await);
    let seen = conflict(store.commit(put(modified(birth))).await);
    assert_eq!(seen.get("c").map(|entry| (entry.created, entry.modified)), Some((birth, change)));
    applied(store.commit(put(created(birth))).await);
    conflict(store.commit(put(created(change))).await);
    // A key that does not exist has revision 0, whoever asks.
    applied(store.commit(Txn::new().delete("c")).await);
    assert_eq!(conflict(store.commit(put(modified(birth))).await).entries.len(), 0);
    applied(store.commit(put(modified(Revision(0)))).await);
}

async fn writes_happen_together_or_not_at_all(store: &dyn Store) {
    let at = applied(store.commit(Txn::new().put("w/1", "old").put("w/2", "old")).await);
    let stale = Compare::Modified("w/2".to_owned(), Revision(at.0 - 1));
    let good = Compare::Modified("w/1".to_owned(), at);
    let seen = conflict(
        store
            .commit(Txn::new().when(good).when(stale).put("w/1", "new").delete("w/2").put("w/3", "new"))
            .await,
    );
    assert_eq!(seen.entries.keys().collect::<Vec<_>>(), ["w/1", "w/2"], "the compared keys");
    let reading = read(store, &[Wanted::prefix("w/")]).await;
    assert_eq!(reading.entries.len(), 2);
    assert!(reading.entries.values().all(|entry| entry.value == b"old"));
    applied(store.commit(Txn::new().put("w/1", "new").delete("w/2").put("w/3", "new")).await);
    let reading = read(store, &[Wanted::prefix("w/")]).await;
    assert_eq!(reading.entries.keys().collect::<Vec<_>>(), ["w/1", "w/3"]);
}

async fn a_key_is_written_once_in_a_transaction(store: &dyn Store) {
    let outcome = store.commit(Txn::new().put("twice", "1").put("twice", "2")).await;
    assert!(matches!(outcome, Outcome::NotApplied(_)), "{outcome:?}");
    assert_eq!(get(store, "twice").await, None);
}

/// Many add to a counter by compare-and-swap: nothing is lost, nothing counted twice.
async fn one_of_many_wins(store: &Arc<dyn Store>) {
    applied(store.commit(Txn::new().put("count", "0")).await);
    let adders = (0..8).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            for _ in 0..5 {
                let mut seen = get(&*store, "count").await.unwrap();
                loop {
                    let next = String::from_utf8(seen.value).unwrap().parse::<u32>().unwrap() + 1;
                    let unchanged = Compare::Modified("count".to_owned(), seen.modified);
                    match store.commit(Txn::new().when(unchanged).put("count", next.to_string())).await {
                        Outcome::Applied(_) => break,
                        Outcome::Conflict(now) => seen = now.get("count").unwrap().clone(),
                        other => panic!("{other:?}"),
                    }
                }
            }
        })
    });
    for adder in adders.collect::<Vec<_>>() {
        adder.await.unwrap();
    }
    assert_eq!(get(&**store, "count").await.unwrap().value, b"40");
}

async fn watches_ring(store: &dyn Store) {
    let mut watch = store.watch("bell/");
    // A watch over a network begins some time after it was asked for: a hint, as it says.
    until("the first ring", async || {
        applied(store.commit(Txn::new().put("bell/a", "1")).await);
        tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_ok()
    })
    .await;
    while tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_ok() {}
    applied(store.commit(Txn::new().put("other", "1")).await);
    assert!(tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_err());
    applied(store.commit(Txn::new().delete("bell/a")).await);
    tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("a ring for the delete");
}

async fn presence_shows_and_goes(store: &dyn Store) {
    let shown = async |value: Option<&str>| {
        get(store, "here/me").await.map(|entry| entry.value) == value.map(|value| value.as_bytes().to_vec())
    };
    let presence = store.present("here/me", b"hello".to_vec(), Duration::from_secs(2));
    until("the key", async || shown(Some("hello")).await).await;
    presence.set(b"still here".to_vec());
    until("the new value", async || shown(Some("still here")).await).await;
    drop(presence);
    until("its end", async || shown(None).await).await;
}

async fn presence_that_changes_all_the_time_stays(store: &dyn Store) {
    let presence = store.present("here/busy", b"hello".to_vec(), Duration::from_secs(2));
    until("the key", async || get(store, "here/busy").await.is_some()).await;
    // For longer than the lease lasts by itself.
    for nth in 0..50 {
        presence.set(format!("{nth}").into_bytes());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(get(store, "here/busy").await.is_some(), "gone after the {nth}th change");
    }
}

/// Polls until `done`, for at most 20 seconds.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn read(store: &dyn Store, wanted: &[Wanted]) -> Reading {
    store.read(wanted).await.expect("the store answers")
}

pub async fn get(store: &dyn Store, key: &str) -> Option<Entry> {
    read(store, &[Wanted::key(key)]).await.get(key).cloned()
}

#[track_caller]
pub fn applied(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Applied(revision) => revision,
        other => panic!("not applied: {other:?}"),
    }
}

#[track_caller]
fn conflict(outcome: Outcome) -> Reading {
    match outcome {
        Outcome::Conflict(reading) => reading,
        other => panic!("no conflict: {other:?}"),
    }
}
