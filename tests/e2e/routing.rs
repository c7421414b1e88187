//! Where statements go: plain reads spread over the standbys, everything else to the primary.

use crate::story::Story;
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
fn what_is_copied_to_the_client_is_read_like_anything_else() {
    let bench = Bench::with(crate::support::applied_everywhere(), &[]);
    bench.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 50000) n; CREATE SEQUENCE s");
    let copy = |query: &str| format!("COPY (SELECT current_setting('cluster_name'){query}) TO STDOUT");
    eventually("the catalog is loaded", || bench.sql(&copy(" FROM t LIMIT 1")) == "b");
    assert_eq!(bench.sql(&copy(" WHERE nextval('s') > 0")), "a");
    assert_eq!(bench.sql(&copy("; ").replace("; ) TO STDOUT", ") TO STDOUT; SELECT 1")), "b\n1");
    // A long one.
    assert_eq!(bench.sql("COPY t TO STDOUT").lines().count(), 50_000);
    assert!(bench.try_sql("COPY t TO PROGRAM 'cat'").unwrap_err().contains("program"), "demo may not");
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

#[test]
fn hints_and_the_setting_say_where() {
    let story = Story::with(2, &[]);
    let mut client = story.client();
    assert_eq!(client.sql(WHERE), "b");
    for (asked, node) in [("primary", "a"), ("standby", "b")] {
        assert_eq!(client.sql(&format!("/* bellwether: {asked} */ {WHERE}")), node);
        assert_eq!(client.extended(&format!("{WHERE} -- bellwether: {asked}"), &[]), node);
        client.sql(&format!("SET bellwether.route = '{asked}'"));
        assert_eq!(client.sql(WHERE), node);
        let other = if node == "a" { ("standby", "b") } else { ("primary", "a") };
        assert_eq!(client.sql(&format!("{WHERE} /* bellwether: {} */", other.0)), other.1);
        let startup = format!("-c bellwether.route={asked}");
        assert_eq!(story.client_with(&[("options", &startup)]).sql(WHERE), node);
    }
    // What is no plain read goes there too, and the standby's error is the answer.
    assert_eq!(client.sql("SELECT pg_is_in_recovery()"), "t");
    assert_eq!(client.fails("CREATE TABLE t (n int)").code, "25006");
    assert_eq!(client.fails("BEGIN; CREATE TABLE t (n int)").code, "25006");
    client.sql("ROLLBACK");
    // A lock that is left there keeps the session there, and is gone with the session's interest in it.
    client.sql("SELECT pg_advisory_lock(7)");
    eventually("the lock is found", || story.pinned("advisory_lock") == 1.0);
    client.sql("SELECT pg_advisory_unlock(7)");
    eventually("it is gone", || story.pinned("advisory_lock") == 0.0);
    client.sql("RESET bellwether.route");
    assert_eq!(client.sql("SELECT pg_is_in_recovery()"), "f");
    client.sql("CREATE TABLE t (n int) /* bellwether: nowhere */");
    assert_eq!(story.metric("bellwether_hints_ignored_total"), 1.0);
}
