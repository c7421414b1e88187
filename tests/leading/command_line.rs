//! The command line moves the lead, and brings the old primary back.

use std::fs;
use std::process::{Command, Output};

use crate::support::World;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn done(world: &World, arguments: &[&str]) -> String {
    let output = world.run(0, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}\n{}", world.evidence());
    text(&output.stdout)
}

#[test]
fn the_lead_moves_and_the_old_primary_comes_back() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    world.until("both standbys take reads", |world| {
        world.readers(0).len() == 2 && world.readers(1).len() == 2
    });
    let status = done(&world, &["status"]);
    assert!(status.contains("primary a") && status.contains("failover automatic   etcd 1/1"), "{status}");
    let planned = done(&world, &["switchover", "--to", "b", "--dry-run"]);
    assert!(
        planned.starts_with("Plan (nothing has been done yet)\n") && planned.contains("b is promoted"),
        "{planned}"
    );
    let itself = world.run(0, &["switchover", "--to", "a", "--yes"]);
    assert_eq!(itself.status.code(), Some(2), "{}", text(&itself.stderr));
    let nobody = world.run(0, &["switchover", "--to", "x", "--yes"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", text(&nobody.stderr));

    done(&world, &["switchover", "--to", "b", "--yes", "--reason", "a new disk"]);
    world.until("b leads", |world| {
        world.leader(0).as_deref() == Some("b") && world.leader(1).as_deref() == Some("b")
    });
    world.insist(0, "INSERT INTO t VALUES (2)");
    let history = done(&world, &["history"]);
    assert!(
        history.lines().nth(1).is_some_and(|line| line.contains("switchover") && line.contains("  b  ")),
        "{history}"
    );

    // The old primary still runs, fenced. The login that leads has no rights to rewind by; then it has.
    let data = world.cluster.data_directory("a").expect("it is there");
    let rejoin = ["rejoin", "a", "--yes", "--no-start", "-D", data.to_str().expect("it is text")];
    let poor = world.run(0, &rejoin);
    assert_eq!(poor.status.code(), Some(2), "{}", text(&poor.stderr));
    assert!(text(&poor.stderr).contains("pg_ls_dir(text, boolean, boolean)"), "{}", text(&poor.stderr));
    let printed = setup_role();
    let file = world.cluster.directory().join("setup.sql");
    fs::write(&file, printed.stdout).expect("the cluster's directory can be written to");
    let superuser = world.cluster.conninfo_as("b", "postgres", "postgres").expect("b is there");
    world.cluster.file_at(&superuser, &file).unwrap_or_else(|error| panic!("{error}"));
    let prepared = done(&world, &rejoin);
    assert!(prepared.contains("stopped\n") && prepared.contains("rewound\n"), "{prepared}");
    world.cluster.start_node("a").unwrap_or_else(|error| panic!("{error}"));
    done(&world, &rejoin);
    world.until("a takes reads again", |world| world.readers(0).contains(&"a".to_owned()));
    assert_eq!(world.cluster.sql("a", "SELECT pg_is_in_recovery()").unwrap_or_default(), "t");

    // And back.
    done(&world, &["switchover", "--to", "a", "--yes"]);
    world.until("a leads", |world| world.leader(0).as_deref() == Some("a"));
    assert_eq!(world.insist(0, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t"), "1,2");
}

/// It takes no configuration.
fn setup_role() -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(["setup-role", "--sql", "--user", "coordinator"]).output().expect("it was built")
}
