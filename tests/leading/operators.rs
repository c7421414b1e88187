//! What operators ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether::lab::ProxyProcess;

use crate::support::World;

#[test]
fn a_switchover_costs_clients_a_pause_and_no_error() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE t (n int)");
    world.cluster.wait_replayed().unwrap();
    let over = AtomicBool::new(false);
    let (written, slowest) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut written, mut slowest) = (0, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                world.sql(0, &format!("INSERT INTO t VALUES ({written})")).expect("no error");
                slowest = slowest.max(began.elapsed());
                written += 1;
            }
            (written, slowest)
        });
        let (status, plan) = post(&world, 1, "/api/v1/switchover", r#"{"to": "b", "dry_run": true}"#);
        assert!(status == 200 && plan.contains("b is promoted"), "{status} {plan}");
        assert_eq!(world.leader(1).as_deref(), Some("a"), "a dry run does nothing");

        // On a busy machine a node may seem not to answer for a moment; then it is refused, with the reason.
        let mut told = (0, String::new());
        world.until("the switchover is done", |world| {
            told = post(world, 1, "/api/v1/switchover", r#"{"to": "b"}"#);
            told.0 == 200
        });
        over.store(true, Ordering::Relaxed);
        assert!(told.1.contains("b leads in term"), "{told:?}\n{}", world.evidence());
        writer.join().expect("the writer met no error")
    });
    println!("{written} rows, the slowest took {slowest:?}");
    assert_eq!(world.cluster.sql("b", "SELECT count(*) FROM t").unwrap(), written.to_string());
    assert_eq!(world.leader(0).as_deref(), Some("b"));

    let (status, refused) = post(&world, 0, "/api/v1/switchover", r#"{"to": "b"}"#);
    assert!(status == 400 && refused.contains("b leads already"), "{status} {refused}");
    let (status, refused) = post(&world, 0, "/api/v1/switchover", r#"{"to": "x"}"#);
    assert!(status == 404 && refused.contains("there is no node x"), "{status} {refused}");
    let history = world.http(0, "GET", "/api/v1/history", "").expect("an answer").1;
    assert!(history.contains("\"switchover\"") && history.contains("\"by\":\"127.0.0.1\""), "{history}");
    // The login may read where the timeline before ended, so what sessions saw there counts on.
    let unread = |proxy: &ProxyProcess| proxy.log().contains("history.unknown");
    assert!(!world.proxies.iter().any(unread), "{}", world.evidence());
}

#[test]
fn while_paused_nobody_is_promoted() {
    let world = World::start(1);
    let (_, told) = post(&world, 0, "/api/v1/preflight", "{}");
    for good in ["may promote", "may make slots", "may set what standbys follow", "wal_level = replica"] {
        let line = told.lines().find(|line| line.contains(good) && line.contains("\"node\":\"b\""));
        assert!(line.is_some_and(|line| line.contains("\"good\":true")), "{good}: {told}");
    }
    let timeout = told.lines().find(|line| line.contains("wal_sender_timeout"));
    assert!(timeout.is_some_and(|line| line.contains("\"good\":false") && line.contains("'5s'")), "{told}");

    let (status, told) = post(&world, 0, "/api/v1/pause", "{}");
    assert_eq!(status, 200, "{told}");
    world.until("the pause is seen", |world| world.status(0)["paused"] == true);
    world.cluster.kill9("a").unwrap();
    world.until("the loss is seen", |world| world.leader(0).is_none());
    // Longer than a failover takes.
    let give_up = Instant::now() + Duration::from_secs(3);
    while Instant::now() < give_up {
        assert_eq!(world.status(0)["term"], 1);
        std::thread::sleep(Duration::from_millis(50));
    }
    let (status, told) = post(&world, 0, "/api/v1/resume", "{}");
    assert_eq!(status, 200, "{told}");
    world.until("somebody leads", |world| world.leader(0).is_some());
}

/// Asks for something, and returns all that was told until its end.
fn post(world: &World, nth: usize, path: &str, body: &str) -> (u16, String) {
    world.http(nth, "POST", path, body).expect("an answer")
}
