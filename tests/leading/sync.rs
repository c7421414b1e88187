//! `durability = "sync"`: what was acknowledged is never lost, and what may be lost is never acknowledged.

use std::fs;

use bellwether::lab::{EtcdOptions, Options};

use crate::support::{Clients, World};

const SYNC: &[&str] = &["leading.durability = \"sync\""];

#[test]
fn no_acknowledged_write_is_lost_with_the_primary() {
    let world = World::with(2, Options::default(), EtcdOptions::default(), SYNC);
    world.until_names("a", "ANY 1 (\"b\", \"c\")");
    let clients = Clients::start(&world, 8);
    // One standby falls behind, and commits wait for the other one alone.
    world.cluster.freeze("c").unwrap();
    world.until_names("a", "ANY 1 (\"b\")");
    clients.write_on(&world);
    // It is back at the very moment the primary is lost, and must not lead.
    world.cluster.thaw("c").unwrap();
    world.cluster.kill9("a").unwrap();
    assert_eq!(world.led_by_another("a"), "b", "{}", world.evidence());
    clients.write_on(&world);

    // Commits were to wait before the new primary could make any.
    let log = fs::read_to_string(world.cluster.log_file("b").unwrap()).unwrap();
    let promoted = log.find("received promote request").expect("it was promoted");
    assert!(log[..promoted].contains("\"synchronous_standby_names\" changed to \"ANY 1"), "{log}");

    // And once more, with the node that was lost first.
    world.bring_back("a");
    world.until_names("b", "ANY 1 (\"a\", \"c\")");
    clients.write_on(&world);
    world.cluster.kill9("b").unwrap();
    world.led_by_another("b");
    clients.write_on(&world);
    clients.end_without_loss(&world);
}

#[test]
fn a_commit_that_stops_waiting_is_never_called_done() {
    let world = World::with(1, Options { nodes: 2, ..Options::default() }, EtcdOptions::default(), SYNC);
    world.until_names("a", "ANY 1 (\"b\")");
    world.insist(0, "CREATE TABLE t (n int)");
    world.cluster.kill9("b").unwrap();

    let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'demo'";
    let end = |statement: &str, by: &str| {
        std::thread::scope(|scope| {
            let client = scope.spawn(|| world.sql(0, statement));
            world.until("the commit waits", |world| {
                world.cluster.sql("a", &format!("SELECT count(*) {waiting}")).is_ok_and(|count| count == "1")
            });
            world.cluster.sql("a", &format!("SELECT {by}(pid) {waiting}")).unwrap();
            client.join().expect("the client does not panic").expect_err("it is not done")
        })
    };
    for statement in ["INSERT INTO t VALUES (1)", "BEGIN; INSERT INTO t VALUES (2); COMMIT"] {
        let told = end(statement, "pg_cancel_backend");
        assert!(told.contains("the commit did not wait for the standbys it needs"), "{statement}: {told}");
    }
    // A session that is ended gets no answer at all.
    let told = end("INSERT INTO t VALUES (3)", "pg_terminate_backend");
    assert!(!told.is_empty());

    // Nothing was promised, and all of it happened: it waits for the standby, which is back.
    world.cluster.start_node("b").unwrap();
    world.insist(0, "INSERT INTO t VALUES (4)");
    assert_eq!(world.insist(0, "SELECT string_agg(DISTINCT n::text, ',') FROM t"), "1,2,3,4");
}
