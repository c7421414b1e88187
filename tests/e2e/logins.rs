//! Logins by every rule and method: psql is told through the endpoint what PostgreSQL tells it directly.

use std::process::Command;
use std::time::{Duration, Instant};

use bellwether::lab::Cluster;

use crate::support::{Bench, applied_everywhere, eventually};

/// The same rules for both, as lines of `pg_hba.conf`.
const RULES: &[&str] = &[
    "local all,replication all scram-sha-256",
    "host all barred 127.0.0.1/32 reject",
    "host all trusted 127.0.0.1/32 trust",
    "host all plain 127.0.0.1/32 password",
    "host all md5user,weak,changing 127.0.0.1/32 md5",
    "host all hashed 127.0.0.1/32 scram-sha-256",
    "host replication replicator,bellwether 127.0.0.1/32 scram-sha-256",
    "host all demo,bellwether,postgres,expired,nologin,nopass,nobody,\"Odd Name\" 127.0.0.1/32 scram-sha-256",
];

const ROLES: &str = "
    CREATE ROLE barred LOGIN PASSWORD 'barred'; CREATE ROLE trusted LOGIN;
    CREATE ROLE plain LOGIN PASSWORD 'plain'; CREATE ROLE md5user LOGIN PASSWORD 'md5user';
    CREATE ROLE nopass LOGIN;
    CREATE ROLE expired LOGIN PASSWORD 'expired' VALID UNTIL '2020-01-01';
    CREATE ROLE nologin NOLOGIN PASSWORD 'nologin';
    CREATE ROLE changing LOGIN PASSWORD 'old'; CREATE ROLE \"Odd Name\" LOGIN PASSWORD 'it''s odd';
    CREATE ROLE unruly LOGIN PASSWORD 'unruly';
    SET password_encryption = 'md5'; CREATE ROLE weak LOGIN PASSWORD 'weak'; CREATE ROLE hashed LOGIN PASSWORD 'hashed'";

#[test]
fn psql_is_told_what_postgresql_tells() {
    let bench = with_rules();
    let cases = [
        ("demo", "demo", "demo"),
        ("demo", "wrong", "demo"),
        ("demo", "", "demo"),
        ("demo", "demo", "no_such_database"),
        ("demo", "wrong", "no_such_database"),
        ("nobody", "x", "demo"),
        ("expired", "expired", "demo"),
        ("nologin", "nologin", "demo"),
        ("nopass", "x", "demo"),
        ("unruly", "unruly", "demo"),
        ("barred", "barred", "demo"),
        ("trusted", "", "demo"),
        ("trusted", "ignored", "demo"),
        ("plain", "plain", "demo"),
        ("plain", "wrong", "demo"),
        ("plain", "", "demo"),
        ("md5user", "md5user", "demo"),
        ("md5user", "wrong", "demo"),
        ("weak", "weak", "demo"),
        ("weak", "wrong", "demo"),
        ("hashed", "hashed", "demo"),
        ("Odd Name", "it's odd", "demo"),
        ("demo", "demo", "postgres"),
    ];
    let port = bench.cluster.port("a").unwrap();
    for (user, password, database) in cases {
        let direct = login(&bench.cluster, port, user, password, database);
        let proxied = login(&bench.cluster, bench.proxy.port(), user, password, database);
        assert_eq!(proxied, direct, "{user} {password:?} {database}");
    }
    replication_obeys_the_rules(&bench);
}

/// The same for connections that replicate.
fn replication_obeys_the_rules(bench: &Bench) {
    let ports = [bench.cluster.port("a").unwrap(), bench.proxy.port()];
    for (user, mode) in
        [("demo", "true"), ("replicator", "database"), ("trusted", "true"), ("demo", "database")]
    {
        let said = ports.map(|port| {
            let conninfo = format!(
                "host=127.0.0.1 port={port} user={user} password={user} dbname=demo replication={mode}"
            );
            bench.cluster.sql_at(&conninfo, "IDENTIFY_SYSTEM").map_err(|error| normalised(&error.to_string()))
        });
        // The position moves on; who is refused is refused in the same words.
        assert_eq!(said[1].as_ref().err(), said[0].as_ref().err(), "{user} {mode}");
    }
}

#[test]
fn a_new_password_counts_at_once() {
    let bench = with_rules();
    let ports = [bench.cluster.port("a").unwrap(), bench.proxy.port()];
    let try_login = |password: &str| login(&bench.cluster, ports[1], "changing", password, "demo");
    assert_eq!(try_login("old"), "changing\n");
    for (now, before) in [("new", "old"), ("newer", "new"), ("md5", "newer"), ("back", "md5")] {
        let encryption = if now == "md5" { "SET password_encryption = 'md5'; " } else { "" };
        bench.cluster.sql("a", &format!("{encryption}ALTER ROLE changing PASSWORD '{now}'")).unwrap();
        let began = Instant::now();
        eventually("the new password lets in", || try_login(now) == "changing\n");
        eventually("the old one does not", || try_login(before).contains("password authentication failed"));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        // Servers logged in to with the old one go; the pool opens others with what it has learned.
        bench
            .cluster
            .sql("a", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'changing'")
            .unwrap();
        eventually("the pool recovers", || try_login(now) == "changing\n");
    }
}

#[test]
fn a_file_of_verifiers_comes_before_the_primary() {
    let cluster = Cluster::start(applied_everywhere()).unwrap_or_else(|error| panic!("{error}"));
    let file = cluster.directory().join("users.txt");
    let demo = cluster.sql("a", "SELECT rolpassword FROM pg_authid WHERE rolname = 'demo'").unwrap();
    // The verifier of another password than the primary's, to tell which of both counted.
    let other = cluster.sql(
        "a",
        "ALTER ROLE postgres PASSWORD 'listed'; SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'",
    );
    std::fs::write(&file, format!("\"demo\" \"{demo}\"\n\"bellwether\" \"{}\"\n", other.unwrap())).unwrap();
    let bench = Bench::before(cluster, &[&format!("auth.verifier_file = {:?}", file.display().to_string())]);
    let port = bench.proxy.port();
    assert_eq!(login(&bench.cluster, port, "demo", "demo", "demo"), "demo\n");
    assert!(login(&bench.cluster, port, "demo", "wrong", "demo").contains("password authentication failed"));
    assert!(
        login(&bench.cluster, port, "bellwether", "bellwether", "demo")
            .contains("password authentication failed")
    );
}

/// A cluster and a proxy that go by [`RULES`].
fn with_rules() -> Bench {
    let bench = {
        let rules: Vec<String> = RULES.iter().map(|rule| format!("{rule:?}")).collect();
        Bench::with(applied_everywhere(), &[&format!("auth.rules = [{}]", rules.join(", "))])
    };
    bench.cluster.sql("a", ROLES).unwrap();
    for node in bench.cluster.names() {
        let path = bench.cluster.data_directory(node).unwrap().join("pg_hba.conf");
        let rules = format!("local all postgres trust\n{}\n", RULES.join("\n"));
        std::fs::write(path, rules).expect("the lab's files are ours");
        bench.cluster.sql(node, "SELECT pg_reload_conf()").unwrap();
        let refused = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL";
        assert_eq!(bench.cluster.sql(node, refused).unwrap(), "");
    }
    // The postmaster takes the new rules a moment after it was told.
    let port = bench.cluster.port("a").unwrap();
    eventually("PostgreSQL goes by the rules", || {
        login(&bench.cluster, port, "unruly", "unruly", "demo").contains("no pg_hba.conf entry")
    });
    bench
}

/// Logs in with psql and returns all it says, without the place.
fn login(cluster: &Cluster, port: u16, user: &str, password: &str, database: &str) -> String {
    let mut command = Command::new(cluster.binaries().program("psql"));
    command.args(["-X", "-w", "-At", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-d", database]);
    command.args(["-c", "SELECT current_user"]).env_remove("PGPASSWORD").env("PGCONNECT_TIMEOUT", "10");
    if !password.is_empty() {
        command.env("PGPASSWORD", password);
    }
    let output = command.output().expect("psql can be started");
    normalised(
        &[output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat(),
    )
}

fn normalised(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let port = |at: usize| at > 0 && words[at - 1] == "port";
    let kept = words.iter().enumerate().map(|(at, word)| if port(at) { "N" } else { word });
    kept.collect::<Vec<_>>().join(" ")
}
