//! The lab on real servers.

use super::*;

#[test]
fn a_cluster_streams_breaks_and_mends() {
    let started = Instant::now();
    let cluster = Cluster::start(Options::default()).unwrap();
    println!("started in {:?}", started.elapsed());
    cluster.sql("a", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    cluster.wait_replayed().unwrap();
    assert_eq!(cluster.sql("c", "SELECT n FROM t").unwrap(), "1");

    cluster.pause_replay("b").unwrap();
    cluster.sql("a", "INSERT INTO t VALUES (2)").unwrap();
    cluster.wait_replayed().unwrap();
    assert_eq!(cluster.sql("b", "SELECT count(*) FROM t").unwrap(), "1");
    cluster.resume_replay("b").unwrap();

    cluster.kill9("a").unwrap();
    cluster.fail_over("b").unwrap();
    cluster.sql("b", "INSERT INTO t VALUES (3)").unwrap();
    cluster.rejoin("a").unwrap();
    cluster.wait_streaming().unwrap();
    cluster.switchover("c").unwrap();
    cluster.sql("c", "INSERT INTO t VALUES (4)").unwrap();
    cluster.wait_replayed().unwrap();
    assert_eq!(cluster.sql("a", "SELECT count(*) FROM t").unwrap(), "4");

    let directory = cluster.directory().to_owned();
    drop(cluster);
    assert!(!directory.exists());
}

#[test]
fn users_log_in_with_their_password_over_tcp() {
    let cluster = Cluster::start(Options { nodes: 1, ..Options::default() }).unwrap();
    let good = cluster.conninfo("a").unwrap();
    assert_eq!(cluster.sql_at(&good, "SELECT current_user, current_database()").unwrap(), "demo|demo");
    let refused = cluster.sql_at(&good.replace("password=demo", "password=wrong"), "SELECT 1").unwrap_err();
    assert!(refused.to_string().contains("password authentication failed"), "{refused}");
}

#[test]
fn a_kept_directory_is_started_again_as_it_lies() {
    let directory = std::env::temp_dir().join(format!("bellwether-kept-{}", std::process::id()));
    let options = Options { nodes: 2, directory: Some(directory.clone()), keep: true, ..Options::default() };
    let cluster = Cluster::start(options.clone()).unwrap();
    cluster.sql("a", "CREATE TABLE kept ()").unwrap();
    cluster.wait_replayed().unwrap();
    cluster.kill9("a").unwrap();
    cluster.fail_over("b").unwrap();
    drop(cluster);

    let cluster = Cluster::start(Options { keep: false, ..options }).unwrap();
    assert_eq!(cluster.primary(), "b");
    assert_eq!(cluster.sql("a", "SELECT count(*) FROM kept").unwrap(), "0");
    drop(cluster);
    assert!(!directory.exists());
}
