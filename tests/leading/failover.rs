//! The primary is lost.

use std::time::Instant;

use bellwether::lab::{EtcdOptions, Options, Shutdown};

use crate::support::World;

#[test]
fn a_killed_primary_is_replaced_and_writes_go_on() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    world.cluster.wait_replayed().unwrap();

    let began = Instant::now();
    world.cluster.kill9("a").unwrap();
    world.insist(0, "INSERT INTO t VALUES (2)");
    println!("written {:?} after the kill", began.elapsed());
    world.insist(1, "INSERT INTO t VALUES (3)");
    let leader = world.leader(0).expect("somebody leads");
    assert_ne!(leader, "a");
    assert!(world.status(0)["term"].as_u64() > Some(1), "{}", world.status(0));
    assert_eq!(world.cluster.sql(&leader, "SELECT n FROM t ORDER BY n").unwrap(), "1\n2\n3");

    // The other standby follows, and takes reads again.
    let other = if leader == "b" { "c" } else { "b" };
    world.until("the other standby takes reads", |world| {
        world.readers(0) == [other] && world.readers(1) == [other]
    });
    println!("settled {:?} after the kill", began.elapsed());
    let history = world.http(0, "GET", "/api/v1/history", "").expect("an answer").1;
    assert!(history.contains("\"by\":\"automatic\"") && history.contains("a is dead"), "{history}");
}

/// What the standbys received of the record that was being written is not the beginning of anything: whoever leads has
/// less, and the other one can follow all the same.
#[test]
fn a_primary_that_is_lost_in_the_middle_of_a_load_is_replaced_and_followed() {
    // A load leaves standbys behind; that is another story.
    let world =
        World::with(2, Options::default(), EtcdOptions::default(), &["leading.max_lag_bytes = \"1GB\""]);
    world.insist(0, "CREATE TABLE t (n int, filling text)");
    world.cluster.wait_replayed().unwrap();
    std::thread::scope(|scope| {
        let load = "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 1000000) n";
        let loading = scope.spawn(|| world.sql(0, load));
        world.until("it is under way", |world| {
            let written = "SELECT pg_current_wal_lsn() > '0/1800000'";
            world.cluster.sql("a", written).is_ok_and(|far| far == "t")
        });
        world.cluster.kill9("a").unwrap();
        loading.join().expect("no panic").expect_err("it was not done");
    });
    world.insist(0, "INSERT INTO t VALUES (0)");
    let leader = world.led_by_another("a");
    let other = if leader == "b" { "c" } else { "b" };
    world.until("the other standby takes reads", |world| {
        world.readers(0) == [other] && world.readers(1) == [other]
    });
    assert_eq!(world.cluster.sql(other, "SELECT count(*) FROM t").unwrap(), "1");
}

#[test]
fn a_frozen_primary_is_replaced_and_named_as_a_stray_until_it_is_a_standby() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    world.cluster.wait_replayed().unwrap();
    world.cluster.freeze("a").unwrap();
    world.insist(0, "INSERT INTO t VALUES (2)");
    let leader = world.leader(0).expect("somebody leads");
    assert_ne!(leader, "a");

    // It goes on as if nothing had been: a primary that knows of no other.
    world.cluster.thaw("a").unwrap();
    world.until("the stray is named", |world| {
        world.status(1).to_string().contains("a takes writes and does not lead")
    });
    let fenced = "SELECT current_setting('synchronous_standby_names') LIKE '%nobody%'";
    world.until("the stray cannot commit", |world| {
        world.cluster.sql("a", fenced).is_ok_and(|answer| answer == "t")
    });
    assert!(!world.readers(0).contains(&"a".to_owned()));
    world.insist(1, "INSERT INTO t VALUES (3)");
    assert_eq!(world.leader(0), Some(leader.clone()));

    // Brought back as a standby, it is taken in by itself.
    world.cluster.stop("a", Shutdown::Immediate).unwrap();
    world.cluster.note_primary(&leader).unwrap();
    world.cluster.rejoin("a").unwrap();
    world.until("it takes reads again", |world| world.readers(0).contains(&"a".to_owned()));
    world.until("it has all rows", |world| {
        world.cluster.sql("a", "SELECT count(*) FROM t").is_ok_and(|count| count == "3")
    });
    assert!(!world.status(0).to_string().contains("does not lead"), "{}", world.status(0));
}

#[test]
fn the_coordinator_and_the_primary_are_lost_together() {
    let mut world = World::start(2);
    world.insist(1, "CREATE TABLE t (n int)");
    world.cluster.wait_replayed().unwrap();
    let log = world.proxies[0].log();
    let active = usize::from(!log.contains("this proxy decides"));
    world.proxies[active].kill9();
    world.cluster.kill9("a").unwrap();
    let began = Instant::now();
    world.insist(1 - active, "INSERT INTO t VALUES (1)");
    println!("written {:?} after both were killed", began.elapsed());
    assert!(world.proxies[1 - active].log().contains("this proxy decides"));
}
