//! The verbs against a real proxy that observes real servers.

use std::process::Output;
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess};
use serde_json::Value;

use super::program::{BELLWETHER, bellwether, text};

/// Dropped in this order.
struct Bench {
    proxy: ProxyProcess,
    cluster: Cluster,
}

impl Bench {
    fn start() -> Bench {
        let cluster = Cluster::start(Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let options = ProxyOptions::new(BELLWETHER).with("http.token = \"s3cret\"");
        let mut proxy = ProxyProcess::start(&cluster, options).unwrap_or_else(|error| panic!("{error}"));
        proxy.wait_ready(&cluster).unwrap_or_else(|error| panic!("{error}"));
        Bench { proxy, cluster }
    }

    /// Runs the program with the proxy's own configuration, which has the address and the token.
    fn run(&self, arguments: &[&str]) -> Output {
        let file = self.proxy.config_file().to_str().expect("it is text");
        bellwether(&[arguments, &["-c", file]].concat(), &[])
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["-o", "json"]].concat())).expect("one object")
    }

    fn eventually(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < deadline, "did not happen: {what}\n{}", self.proxy.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_cluster_that_is_observed() {
    let bench = Bench::start();
    // What is there.
    let status = bench.done(&["status"]);
    assert!(status.starts_with("main   healthy   primary a for "), "{status}");
    assert_eq!(status.lines().filter(|line| line.contains("standby  streaming")).count(), 2, "{status}");
    assert_eq!(bench.run(&["status", "--check"]).status.code(), Some(0));
    assert_eq!(bench.run(&["health"]).status.code(), Some(0));
    let tree = bench.json(&["topology"]);
    assert_eq!(
        (&tree["primary"]["name"], tree["streaming"].as_array().map(Vec::len)),
        (&"a".into(), Some(2))
    );
    assert!(bench.done(&["explain"]).starts_with("a leads: it is the node that accepts writes\n"));

    // A drain is seen at once, and taken back.
    let drained = bench.done(&["node", "drain", "b", "--reason", "a new disk"]);
    assert!(drained.contains("b gets no new reads") && drained.contains("hint: to undo: "), "{drained}");
    let b = bench.json(&["node", "show", "b"]);
    assert_eq!((&b["drained"], &b["serves_reads"]), (&true.into(), &false.into()));
    let refused = bench.run(&["node", "drain", "a"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).starts_with("refused: a is the primary"));
    bench.done(&["node", "undrain", "b"]);
    assert_eq!(bench.json(&["node", "show", "b"])["drained"], false);

    // Somebody else leads here.
    for verb in [
        &["switchover", "--yes"][..],
        &["failover", "--yes"],
        &["pause"],
        &["preflight"],
        &["adopt", "--yes"],
    ] {
        let output = bench.run(verb);
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
        assert!(text(&output.stderr).contains("this proxy only observes"), "{}", text(&output.stderr));
    }

    // The primary is lost, and a standby is promoted by hand.
    bench.cluster.kill9("a").unwrap_or_else(|error| panic!("{error}"));
    bench.eventually("no primary", || bench.run(&["status", "--check"]).status.code() == Some(4));
    bench.cluster.promote("b").unwrap_or_else(|error| panic!("{error}"));
    bench.eventually("a degraded cluster", || bench.run(&["status", "--check"]).status.code() == Some(3));
    bench.eventually("the change in the history", || bench.json(&["history"])["changes"][0]["to"] == "b");
}

#[test]
fn where_a_statement_would_go() {
    let bench = Bench::start();
    let sql = |text: &str| {
        let made = bench.cluster.sql_at(&bench.proxy.endpoint(), text);
        made.unwrap_or_else(|error| panic!("{error}"));
    };
    sql("create table t (n int)");
    sql("create function f() returns int language sql volatile as 'select 1'");
    let explained = |text: &str| bench.json(&["explain", text, "--database", "demo", "--user", "demo"]);
    bench.eventually("a catalog with the table in it", || {
        explained("select * from t")["rule"] == "plain_read"
    });
    for (text, target, rule) in [
        ("select * from t", "standby", "plain_read"),
        ("select * from t for update", "primary", "locks"),
        ("insert into t values (1)", "primary", "writes"),
        ("select f()", "primary", "function"),
        ("selec 1", "primary", "unparsed"),
    ] {
        let said = explained(text);
        assert_eq!((&said["target"], &said["rule"]), (&target.into(), &rule.into()), "{said}");
        assert_eq!(said["node"] == "a", target == "primary", "{said}");
    }
    let several = explained("select * from t; select f(), 'é'");
    assert_eq!(
        (several["statements"].as_array().map(Vec::len), &several["target"]),
        (Some(2), &"primary".into())
    );
    assert!(
        several["statements"][1]["names"][0].as_str().is_some_and(|name| name.contains("f()")),
        "{several}"
    );
    // Of a database that is not there no catalog can be had, and of the schema nobody hears without the token.
    let missing = bench.json(&["explain", "select * from t", "--database", "nowhere"]);
    assert_eq!((&missing["catalog_loaded"], &missing["target"]), (&false.into(), &"primary".into()));
    let url = bench.proxy.http();
    let closed = bellwether(&["explain", "select * from t", "--api", &url], &[]);
    assert_eq!(closed.status.code(), Some(2), "{}", text(&closed.stdout));
}

#[test]
fn the_rights_are_enough_and_no_more() {
    let options = Options { nodes: 2, ..Options::default() };
    let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
    let printed = bellwether(&["setup-role", "--sql", "--user", "o'lead"], &[]);
    let file = cluster.directory().join("setup.sql");
    std::fs::write(&file, printed.stdout).expect("the cluster's directory can be written to");
    let superuser =
        cluster.conninfo_as("a", "postgres", "postgres").unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..2 {
        cluster.file_at(&superuser, &file).unwrap_or_else(|error| panic!("{error}"));
    }
    cluster
        .sql_at(&superuser, "ALTER ROLE \"o'lead\" PASSWORD 'p'")
        .unwrap_or_else(|error| panic!("{error}"));
    cluster.wait_streaming().unwrap_or_else(|error| panic!("{error}"));
    let login = |node: &str| {
        let port = cluster.port(node).unwrap_or_else(|error| panic!("{error}"));
        format!("host=127.0.0.1 port={port} user='o\\'lead' password=p dbname=postgres")
    };
    for (node, sql) in [
        (
            "a",
            "SELECT rolname, rolpassword, rolcanlogin FROM pg_catalog.pg_authid WHERE rolname = 'demo' AND (rolvaliduntil IS NULL OR rolvaliduntil > now())",
        ),
        ("a", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"),
        ("a", "ALTER SYSTEM RESET synchronous_standby_names"),
        ("a", "ALTER SYSTEM SET restore_command = ''"),
        ("a", "SELECT pg_reload_conf()"),
        ("a", "SELECT pg_create_physical_replication_slot('x')"),
        ("a", "SELECT pg_drop_replication_slot('x')"),
        ("a", "SELECT pg_logical_emit_message(true, 'bellwether', 'x')"),
        ("a", "SELECT timeline_id FROM pg_control_checkpoint()"),
        ("a", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'demo'"),
        ("a", "CHECKPOINT"),
        ("a", "SELECT count(pg_read_binary_file('global/pg_control')) FROM pg_ls_dir('.', true, false)"),
        ("b", "SELECT conninfo, received_tli FROM pg_stat_wal_receiver"),
        ("b", "ALTER SYSTEM SET primary_conninfo = 'host=nowhere'"),
        ("b", "ALTER SYSTEM SET primary_slot_name = 's'"),
        ("b", "SELECT pg_promote(false)"),
    ] {
        cluster.sql_at(&login(node), sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    for sql in [
        "ALTER SYSTEM SET archive_command = 'true'",
        "CREATE ROLE other",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ] {
        assert!(cluster.sql_at(&login("a"), sql).is_err(), "{sql}");
    }
}
