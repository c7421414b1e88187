//! Followers that are not what they should be when the primary is lost.

use std::process::Output;

use bellwether::lab::{EtcdOptions, Options};

use crate::support::{Clients, World};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_follower_that_lags_too_far_is_not_elected_unless_an_operator_says_so() {
    let world = World::with(2, Options { nodes: 2, ..Options::default() }, EtcdOptions::default(), &[]);
    world.insist(0, "CREATE TABLE t (n int, filling text); INSERT INTO t VALUES (1, '')");
    world.cluster.wait_replayed().unwrap();
    world.cluster.freeze("b").unwrap();
    // More than leading.max_lag_bytes in WAL, and than what fits into the sockets on the way.
    world.insist(0, "INSERT INTO t SELECT 2, repeat('x', 1000) FROM generate_series(1, 30000)");
    let end = world.cluster.sql("a", "SELECT pg_current_wal_flush_lsn()").unwrap();
    world.until("the proxies know how far the primary is", |world| {
        let seen = world.record("observe/p0")["leader_end"].to_string().replace('"', "");
        world.cluster.sql("a", &format!("SELECT '{seen}'::pg_lsn >= '{end}'")).is_ok_and(|there| there == "t")
    });
    world.cluster.kill9("a").unwrap();
    world.cluster.thaw("b").unwrap();

    world.until("it is said why nobody is promoted", |world| {
        let explained = text(&world.run(world.active(), &["explain"]));
        explained.contains("b lacks ") && explained.contains("the limit is 1048576")
    });
    assert!(world.leader(0).is_none(), "{}", world.evidence());
    let refused = world.run(0, &["failover", "--to", "b", "--yes"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused));
    assert!(
        text(&refused).contains("b lacks ") && text(&refused).contains("data loss"),
        "{}",
        text(&refused)
    );

    let forced = world.run(0, &["failover", "--to", "b", "--allow-data-loss", "--yes"]);
    assert_eq!(forced.status.code(), Some(0), "{}\n{}", text(&forced), world.evidence());
    assert_eq!(world.led_by_another("a"), "b");
    world.insist(1, "INSERT INTO t VALUES (3, '')");
    assert_eq!(world.cluster.sql("b", "SELECT string_agg(n::text, ',') FROM t").unwrap(), "1,3");
    let lost = world.record(&format!("history/{:010}", world.status(0)["term"].as_u64().unwrap()));
    assert!(lost["lost_bytes"].as_u64() > Some(1 << 20), "the loss is written down: {lost}");
}

#[test]
fn the_primary_and_a_follower_are_lost_together() {
    let world = World::start(2);
    let clients = Clients::start(&world, 4);
    world.cluster.kill9("b").unwrap();
    world.cluster.kill9("a").unwrap();
    assert_eq!(world.led_by_another("a"), "c", "{}", world.evidence());
    clients.write_on(&world);
    clients.end(&world);
}

#[test]
fn a_promotion_that_hangs_is_given_up_and_the_next_one_leads() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE t (n int)");
    // What an archive that does not answer looks like. It is asked as soon as the primary is gone, before anybody can
    // take the command away, and whoever is asking cannot be promoted.
    let silent = world.cluster.directory().join("archive-is-silent");
    std::fs::write(&silent, "").unwrap();
    let asking = format!("while test -e {}; do sleep 0.1; done; false", silent.display());
    // Told to follow, it has its own command taken away.
    world.until("all follow", |world| {
        let explained = world.run(world.active(), &["explain", "-o", "json"]);
        let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap_or_default();
        explained["waits_for"].as_array().is_some_and(Vec::is_empty)
    });
    let hang = format!("ALTER SYSTEM SET restore_command = '{asking}'");
    world.cluster.sql("b", &hang).unwrap();
    // Whoever failed to stream a moment ago, as at the start, waits so long before it asks.
    world.cluster.sql("b", "ALTER SYSTEM SET wal_retrieve_retry_interval = '1ms'").unwrap();
    world.cluster.sql("b", "SELECT pg_reload_conf()").unwrap();
    world.until("it is read", |world| {
        world.cluster.sql("b", "SHOW restore_command").is_ok_and(|shown| shown == asking)
    });
    // Whoever replays reads it before what it replays next.
    world.insist(0, "CREATE TABLE u (n int)");
    world.cluster.wait_replayed().unwrap();
    world.cluster.kill9("a").unwrap();

    assert_eq!(world.led_by_another("a"), "c", "{}", world.evidence());
    world.insist(1, "INSERT INTO t VALUES (1)");
    let term = world.status(0)["term"].as_u64().unwrap();
    let reason = world.record(&format!("history/{term:010}"))["reason"].to_string();
    assert!(reason.contains("b was given up"), "{reason}");

    // The archive gives up, and the promotion asked for long ago comes true: nobody goes there.
    std::fs::remove_file(&silent).unwrap();
    world.until("it is promoted after all", |world| {
        world.cluster.sql("b", "SELECT pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
    });
    world.until("it is named", |world| {
        world.status(0).to_string().contains("b takes writes and does not lead")
    });
    world.insist(0, "INSERT INTO t VALUES (2)");
    assert!(!world.readers(0).contains(&"b".to_owned()));
    assert_eq!(world.cluster.sql("c", "SELECT count(*) FROM t").unwrap(), "2");
    assert_eq!(world.leader(1).as_deref(), Some("c"));
}
