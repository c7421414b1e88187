//! The store in memory, whole and cut off.

use std::sync::Arc;
use std::time::Duration;

use bellwether::store::{Compare, Failure, Memory, Outcome, Reach, Store, Txn, Wanted};

use crate::promises::{self, applied, get};

const TIMEOUT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn keeps_every_promise() {
    promises::all_hold(Arc::new(Memory::new(TIMEOUT))).await;
}

#[tokio::test]
async fn a_store_that_is_down_refuses_and_one_behind_a_broken_line_is_silent() {
    let store = Memory::new(TIMEOUT);
    let elsewhere = store.clone();
    let key = [Wanted::key("a")];

    store.set_reach(Reach::Nowhere);
    assert!(matches!(store.read(&key).await, Err(Failure::Unreachable { .. })));
    let outcome = store.commit(Txn::new().put("a", "1")).await;
    assert!(matches!(outcome, Outcome::NotApplied(Failure::Unreachable { .. })), "{outcome:?}");

    store.set_reach(Reach::Void);
    assert!(matches!(store.read(&key).await, Err(Failure::Silent { .. })));
    let outcome = store.commit(Txn::new().put("a", "1")).await;
    assert!(matches!(outcome, Outcome::Unknown(Failure::Silent { .. })), "{outcome:?}");
    assert_eq!(get(&elsewhere, "a").await, None, "the other handle gets there, and nothing was written");
}

/// A transaction that was applied without an answer is a conflict when tried again, and the values tell why.
#[tokio::test]
async fn a_lost_answer_is_unknown_and_a_second_try_meets_the_first() {
    let store = Memory::new(TIMEOUT);
    let claim = || Txn::new().when(Compare::Absent("a".to_owned())).put("a", "mine");
    store.set_reach(Reach::ThereOnly);
    let outcome = store.commit(claim()).await;
    assert!(matches!(outcome, Outcome::Unknown(Failure::Silent { .. })), "{outcome:?}");
    store.set_reach(Reach::Whole);
    let Outcome::Conflict(seen) = store.commit(claim()).await else { panic!("applied twice") };
    assert_eq!(seen.get("a").map(|entry| entry.value.as_slice()), Some(&b"mine"[..]));
}

#[tokio::test]
async fn presence_comes_back_with_the_store() {
    let store = Memory::new(TIMEOUT);
    let elsewhere = store.clone();
    store.set_reach(Reach::Nowhere);
    let presence = store.present("me", b"here".to_vec(), Duration::from_secs(2));
    applied(elsewhere.commit(Txn::new().put("other", "1")).await);
    assert_eq!(get(&elsewhere, "me").await, None);
    store.set_reach(Reach::Whole);
    promises::until("the key", async || get(&elsewhere, "me").await.is_some()).await;
    drop(presence);
    promises::until("its end", async || get(&elsewhere, "me").await.is_none()).await;
}
