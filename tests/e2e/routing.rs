//! Where statements go: plain reads spread over the standbys, everything else to the primary.

use crate::support::{Bench, eventually};

const WHERE: &str = "SELECT current_setting('cluster_name')";

#[test]
fn plain_reads_are_spread_over_the_standbys() {
    let bench = Bench::start();
    for node in ["b", "c"] {
        eventually("both serve", || {
            let served = bench.sql(WHERE);
            assert_ne!(served, "a");
            served == node
        });
    }
}

#[test]
fn writes_and_all_that_is_not_a_plain_read_go_to_the_primary() {
    let bench = Bench::start();
    bench.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    for not_plain in [
        "SELECT pg_is_in_recovery()",
        "WITH gone AS (DELETE FROM t RETURNING n) SELECT pg_is_in_recovery() FROM gone",
        "BEGIN; SELECT pg_is_in_recovery(); COMMIT",
    ] {
        assert_eq!(bench.sql(not_plain), "f", "{not_plain}");
    }
    assert!(bench.try_sql("this is no SQL").unwrap_err().contains("syntax error"));
}

#[test]
fn a_stopped_standby_is_left_out_and_comes_back() {
    let bench = Bench::start();
    bench.cluster.stop("b", bellwether::lab::Shutdown::Fast).unwrap();
    // The first read may still be sent to it, fail there unseen, and be answered by another server.
    assert_ne!(bench.sql(WHERE), "b");
    crate::support::eventually("reads settle on c", || (0..4).all(|_| bench.sql(WHERE) == "c"));
    bench.cluster.start_node("b").unwrap();
    crate::support::eventually("b reads again", || bench.sql(WHERE) == "b");
}

#[test]
fn a_promotion_by_someone_else_is_followed() {
    let bench = Bench::start();
    bench.sql("CREATE TABLE t (n int)");
    bench.cluster.switchover("b").unwrap();
    crate::support::eventually("writes reach the new primary", || {
        bench.try_sql("INSERT INTO t VALUES (1)").is_ok()
    });
    assert_eq!(bench.cluster.sql("b", "SELECT pg_is_in_recovery(), count(*) >= 1 FROM t").unwrap(), "f|t");
}
