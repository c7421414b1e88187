//! The primary is lost.

use std::time::Instant;

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
    println!("settled {:?} after the kill\n{}", began.elapsed(), world.evidence());
}
