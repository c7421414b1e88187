//! etcd is lost.

use crate::support::World;

#[test]
fn without_etcd_reads_go_on_and_writes_wait_until_it_is_back() {
    let world =
        World::with(1, Default::default(), Default::default(), &["routing.consistency = \"eventual\""]);
    world.insist(0, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    world.cluster.wait_replayed().unwrap();
    let started = world.cluster.sql("a", "SELECT pg_postmaster_start_time()").unwrap();
    world.etcd.stop();

    // The permission lasts a little longer; then writes are held, and refused in the end.
    let mut refused = String::new();
    world.until("writes are refused", |world| match world.sql(0, "INSERT INTO t VALUES (2)") {
        Ok(_) => false,
        Err(error) => {
            refused = error;
            true
        }
    });
    assert!(refused.contains("57P03") || refused.contains("primary"), "{refused}");
    assert_eq!(world.sql(0, "SELECT count(*) > 0 FROM t").as_deref(), Ok("t"), "reads go on");

    world.etcd.resume().unwrap();
    world.insist(0, "INSERT INTO t VALUES (3)");
    assert_eq!(world.leader(0).as_deref(), Some("a"), "nobody else was promoted");
    assert_eq!(world.cluster.sql("a", "SELECT pg_postmaster_start_time()").unwrap(), started);
}
