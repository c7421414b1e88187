//! A cluster that is not fit to be led yet: what is missing is named, and the SQL beside it mends it.

use bellwether::lab::{Cluster, Etcd, EtcdOptions, Host, Options, Shutdown};
use serde_json::Value;

use crate::command_line::{done, text};
use crate::support::{PATIENT, World};

#[test]
fn the_sql_of_preflight_is_what_it_takes() {
    let etcd = Etcd::start(EtcdOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let conf = vec!["max_replication_slots = 3".to_owned()];
    let cluster = Cluster::start(Options { conf, slots: false, ..Options::default() });
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    for lost in [
        "REVOKE pg_signal_backend FROM coordinator",
        "REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM coordinator",
        "REVOKE ALTER SYSTEM ON PARAMETER primary_conninfo FROM coordinator",
        "REVOKE pg_checkpoint FROM coordinator",
        "ALTER ROLE coordinator NOREPLICATION",
    ] {
        cluster.sql_at(&superuser(&cluster, "a"), lost).unwrap_or_else(|error| panic!("{lost}: {error}"));
    }
    cluster.wait_replayed().unwrap_or_else(|error| panic!("{error}"));
    let mut world = World { proxies: Vec::new(), cluster, etcd };
    world.add_proxy(0, Host::default(), usize::MAX, PATIENT);
    world.until("every node was asked", |world| world.readers(0).len() == 2);

    let shown = world.run(0, &["preflight"]);
    assert_eq!(shown.status.code(), Some(1), "{}", text(&shown.stdout));
    let told = text(&shown.stdout);
    for missing in [
        "may end sessions",
        "may promote",
        "may be rewound from",
        "may checkpoint",
        "max_replication_slots = 3",
        "wal_sender_timeout",
    ] {
        let line = told.lines().find(|line| line.contains(missing) && line.contains("  a  "));
        assert!(line.is_some_and(|line| line.trim_start().starts_with("missing")), "{missing}: {told}");
    }

    // As an operator would paste it: rights on the primary, settings on each server.
    for node in ["a", "b", "c"] {
        let fixes = fixes(&world, node);
        assert!(fixes.iter().any(|fix| fix.starts_with("ALTER SYSTEM SET")), "{node}: {fixes:?}");
        let here = |fix: &&String| node == "a" || fix.starts_with("ALTER SYSTEM SET");
        let sql: Vec<String> = fixes.iter().filter(here).cloned().collect();
        let file = world.cluster.directory().join(format!("{node}.sql"));
        std::fs::write(&file, sql.join("\n")).expect("the cluster's directory can be written to");
        world
            .cluster
            .file_at(&superuser(&world.cluster, node), &file)
            .unwrap_or_else(|error| panic!("{error}\n{sql:#?}"));
    }
    world.cluster.wait_replayed().unwrap_or_else(|error| panic!("{error}"));
    for node in ["b", "c", "a"] {
        world.cluster.stop(node, Shutdown::Fast).unwrap_or_else(|error| panic!("{error}"));
        world.cluster.start_node(node).unwrap_or_else(|error| panic!("{error}"));
    }
    world.until("nothing is missing", |world| world.run(0, &["preflight"]).status.code() == Some(0));
    world.until("the cluster is led", |world| world.status(0)["primary"].is_string());
    let adopted = done(&world, &["adopt", "--yes"]);
    assert!(adopted.contains("led already"), "{adopted}");
    done(&world, &["switchover", "--to", "b", "--yes"]);
}

fn superuser(cluster: &Cluster, node: &str) -> String {
    cluster.conninfo_as(node, "postgres", "postgres").expect("it is there")
}

fn fixes(world: &World, node: &str) -> Vec<String> {
    let told = world.run(0, &["preflight", "-o", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).expect("it is JSON");
    let checks = told["checks"].as_array().cloned().unwrap_or_default();
    let missing = checks.iter().filter(|check| check["node"] == node && check["good"] == false);
    missing.map(|check| check["fix"].as_str().expect("what is missing can be mended").to_owned()).collect()
}
