//! The store in a real etcd: one member and three, killed, frozen, cut off, with users and with TLS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::lab::{Etcd as Lab, EtcdOptions};
use bellwether::store::etcd::{Etcd, Settings};
use bellwether::store::{Compare, Failure, Outcome, Store, Txn, Wanted};

use crate::promises::{self, applied, get, until};

/// Starts members; they end with the handle.
pub fn lab(members: usize) -> Lab {
    Lab::start(EtcdOptions { members, ..EtcdOptions::default() }).unwrap()
}

/// The settings for a place of its own in that etcd.
pub fn settings(lab: &Lab) -> Settings {
    Settings {
        endpoints: lab.endpoints().iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        namespace: "bellwether".to_owned(),
        cluster: "test".to_owned(),
        tls: None,
        login: None,
        timeout: Duration::from_millis(500),
    }
}

fn store(lab: &Lab) -> Arc<Etcd> {
    Arc::new(Etcd::new(&settings(lab)).unwrap())
}

#[tokio::test]
async fn one_member_keeps_every_promise() {
    let lab = lab(1);
    promises::all_hold(store(&lab)).await;
}

#[tokio::test]
async fn three_members_keep_every_promise() {
    let lab = lab(3);
    promises::all_hold(store(&lab)).await;
}

/// Clusters and namespaces share an etcd without seeing each other.
#[tokio::test]
async fn places_are_apart() {
    let lab = lab(1);
    let ours = store(&lab);
    let other = Etcd::new(&Settings { cluster: "test2".to_owned(), ..settings(&lab) }).unwrap();
    applied(ours.commit(Txn::new().put("a", "1")).await);
    applied(other.commit(Txn::new().put("a", "2")).await);
    let all = ours.read(&[Wanted::prefix("")]).await.unwrap();
    assert_eq!(all.entries.len(), 1);
    assert_eq!(lab.ctl(None, &["get", "--print-value-only", "/bellwether/test2/a"]).unwrap(), "2");
}

/// Writes one number after the other, each only if the one before is there, until `done`.
/// Returns how many calls brought no answer, and the longest time between two that did.
async fn count_up(store: &dyn Store, mut done: impl FnMut() -> bool) -> (u32, Duration) {
    let (mut n, mut failed, mut longest, mut last) = (0_u64, 0, Duration::ZERO, Instant::now());
    let mut at = applied(store.commit(Txn::new().put("n", "0")).await);
    while !done() {
        let next = Txn::new().when(Compare::Modified("n".to_owned(), at)).put("n", (n + 1).to_string());
        match store.commit(next).await {
            Outcome::Applied(revision) => (at, n) = (revision, n + 1),
            Outcome::Conflict(seen) => {
                // An attempt without an answer was applied; nobody else writes.
                let entry = seen.get("n").expect("nobody deletes");
                assert_eq!(entry.value, (n + 1).to_string().into_bytes(), "after {failed} unknown");
                assert!(failed > 0);
                (at, n) = (entry.modified, n + 1);
            }
            Outcome::NotApplied(_) | Outcome::Unknown(_) => {
                failed += 1;
                continue;
            }
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
        let seen = get_patiently(store, "n").await;
        assert!(seen == n || (failed > 0 && seen == n + 1), "{seen} read after {n} was written");
    }
    (failed, longest)
}

async fn get_patiently(store: &dyn Store, key: &str) -> u64 {
    loop {
        if let Ok(reading) = store.read(&[Wanted::key(key)]).await {
            return String::from_utf8(reading.get(key).unwrap().value.clone()).unwrap().parse().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_of_three_is_killed() {
    let lab = Arc::new(lab(3));
    let store = store(&lab);
    let leader = lab.leader().unwrap();
    let hand = Arc::clone(&lab);
    let fault = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        hand.kill(leader);
        // The others elect one of them.
        hand.wait_healthy().unwrap();
        std::thread::sleep(Duration::from_millis(300));
    });
    let (failed, longest) = count_up(&*store, || fault.is_finished()).await;
    println!("leader killed: {failed} calls failed, longest gap {longest:?}");
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    lab.start_member(leader).unwrap();
    lab.wait_healthy().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_member_we_talk_to_is_frozen() {
    let lab = Arc::new(lab(3));
    let store = store(&lab);
    // The first one is asked first. Whether it leads is chance; then an election comes on top.
    let leads = lab.leader() == Some(0);
    let hand = Arc::clone(&lab);
    let fault = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        hand.freeze(0);
        std::thread::sleep(Duration::from_secs(4));
        hand.thaw(0);
        std::thread::sleep(Duration::from_millis(300));
    });
    let (failed, longest) = count_up(&*store, || fault.is_finished()).await;
    println!("member frozen (leader: {leads}): {failed} calls failed, longest gap {longest:?}");
    assert!(longest >= Duration::from_millis(500), "the member was asked: {longest:?}");
    assert!(longest < Duration::from_secs(4), "the others answer: {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_go_and_return() {
    let lab = lab(3);
    let store = store(&lab);
    applied(store.commit(Txn::new().put("a", "1")).await);
    let mut watch = store.watch("");
    let presence = store.present("me", b"here".to_vec(), Duration::from_secs(2));
    until("the key", async || get(&*store, "me").await.is_some()).await;

    lab.stop();
    let asked = Instant::now();
    assert!(store.read(&[Wanted::key("a")]).await.is_err());
    let outcome = store.commit(Txn::new().put("a", "2")).await;
    assert!(matches!(outcome, Outcome::NotApplied(Failure::Unreachable { .. })), "{outcome:?}");
    println!("all gone: two calls failed within {:?}", asked.elapsed());

    lab.resume().unwrap();
    let back = Instant::now();
    assert_eq!(get_patiently(&*store, "a").await, 1, "nothing was lost, and nothing written");
    println!("all back: first answer after {:?}", back.elapsed());
    // The watch finds its way back and rings, be it for what happened meanwhile or for a change now.
    while tokio::time::timeout(Duration::from_millis(500), watch.changed()).await.is_ok() {}
    until("a ring", async || {
        applied(store.commit(Txn::new().put("b", "1")).await);
        tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_ok()
    })
    .await;
    until("the key again", async || get(&*store, "me").await.is_some()).await;
    drop(presence);
}

/// The watch moves on from a member that is frozen, as soon as a call to it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_leaves_a_frozen_member() {
    let lab = lab(3);
    let store = store(&lab);
    let mut watch = store.watch("w");
    tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("it began");
    lab.freeze(0);
    until("an answer", async || store.read(&[Wanted::key("w")]).await.is_ok()).await;
    until("a ring", async || {
        let _ = store.commit(Txn::new().put("w", "1")).await;
        tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_ok()
    })
    .await;
    lab.thaw(0);
}
