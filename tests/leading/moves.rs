//! Moves of the lead by an operator: at a time, refused with numbers, forced; and what is told of them afterwards.

use std::time::{Duration, SystemTime};

use bellwether::config::display_time;
use serde_json::Value;

use crate::command_line::{done, text};
use crate::support::World;

#[test]
fn a_move_is_refused_with_numbers_forced_and_told_of() {
    let world = World::start(2);
    world.insist(0, "CREATE TABLE t (n int)");
    world.until("both standbys take reads", |world| world.readers(0).len() == 2);
    for (path, node) in [("/primary", "a"), ("/replica", ""), ("/read-only", ""), ("/async", "")] {
        let (status, body) = world.http(0, "GET", path, "").expect("an answer");
        assert!(status == 200 && body.contains(node), "{path}: {status} {body}");
    }
    assert_eq!(status_of(&world, "/sync"), 503, "commits wait for nobody");
    for (node, primary, replica) in [("a", 200, 503), ("b", 503, 200)] {
        assert_eq!(status_of(&world, &format!("/nodes/{node}/primary")), primary, "{node}");
        assert_eq!(status_of(&world, &format!("/nodes/{node}/replica?lag=1GB")), replica, "{node}");
    }

    // Whoever is marked leads only when named.
    for node in ["b", "c"] {
        done(&world, &["node", "set", node, "no_failover=true"]);
    }
    let unfit = world.run(0, &["switchover", "--yes"]);
    let said = text(&unfit.stderr);
    assert_eq!(unfit.status.code(), Some(5), "{said}");
    assert!(said.contains("b is marked no_failover; c is marked no_failover"), "{said}");

    world.cluster.pause_replay("b").unwrap_or_else(|error| panic!("{error}"));
    world.insist(0, "INSERT INTO t SELECT generate_series(1, 20000)");
    world.until("b is seen to lag", |world| lag(world, "b") > 100_000);
    let refused = world.run(0, &["failover", "--to", "b", "--yes", "--allow-data-loss=1kB"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("1024 are allowed") && said.contains("--allow-data-loss"), "{said}");
    world.cluster.resume_replay("b").unwrap_or_else(|error| panic!("{error}"));
    world.until("b has replayed", |world| lag(world, "b") < 1000);

    // A switchover that waits can be looked at and given up.
    let later = display_time(SystemTime::now() + Duration::from_secs(3600));
    let accepted = world.run(0, &["switchover", "--to", "b", "--at", &later, "--yes"]);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted.stderr));
    assert_eq!(world.status(0)["scheduled"]["to"], "b", "{}", world.status(0));
    done(&world, &["switchover", "--cancel", "--yes"]);
    assert_eq!(world.status(0)["scheduled"], Value::Null);
    let soon = display_time(SystemTime::now() + Duration::from_secs(2));
    let accepted =
        world.run(0, &["switchover", "--to", "b", "--at", &soon, "--yes", "--reason", "kernel patch"]);
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted.stderr));
    world.until("b leads when the time has come", |world| world.leader(1).as_deref() == Some("b"));
    assert_eq!(world.run(0, &["status", "--check"]).status.code(), Some(3), "a takes writes beside it");

    // The leader is lost while nobody may be promoted by itself; then somebody is told to be.
    done(&world, &["pause"]);
    world.cluster.kill9("b").unwrap_or_else(|error| panic!("{error}"));
    world.until("the loss is seen", |world| world.leader(0).is_none());
    assert_eq!(world.run(0, &["status", "--check"]).status.code(), Some(4), "there is no primary");
    let planned = world.run(0, &["switchover", "--to", "c", "--yes"]);
    assert_eq!(planned.status.code(), Some(4), "{}", text(&planned.stderr));
    let mut forced = String::new();
    world.until("c is made to lead", |world| {
        let output = world.run(0, &["failover", "--to", "c", "--yes"]);
        forced = text(&output.stdout);
        output.status.success() || world.leader(0).as_deref() == Some("c")
    });
    world.until("c leads", |world| world.leader(0).as_deref() == Some("c"));
    assert!(forced.contains("c is chosen and promoted"), "told step by step: {forced}");

    let history = done(&world, &["history", "-o", "json"]);
    let history: Value = serde_json::from_str(&history).expect("it is JSON");
    let changes = history["changes"].as_array().expect("a list");
    let told: Vec<String> =
        changes.iter().map(|change| format!("{} {}", change["kind"], change["to"])).collect();
    assert_eq!(told, [r#""failover" "c""#, r#""switchover" "b""#, r#""adopted" "a""#], "{history}");
    assert!(changes[0]["down_seconds"].as_f64() > Some(0.0), "{history}");
    assert!(changes[0]["lost_bytes"].is_u64() && changes[0]["reason"].is_string(), "{history}");
    // Who wanted what, and where the time went.
    let by = |nth: usize| changes[nth]["by"].as_str().unwrap_or_default();
    assert!(!by(0).is_empty() && by(0) != "automatic", "{history}");
    assert_eq!(by(0), by(1), "{history}");
    assert!(
        changes[1]["reason"].as_str().is_some_and(|why| why.ends_with(" (\"kernel patch\")")),
        "{history}"
    );
    assert!(changes[2]["by"].is_null(), "nobody asked for what was found: {history}");
    let steps = changes[1]["steps"].as_array().expect("a list").iter().map(|step| step["step"].as_str());
    assert_eq!(steps.collect::<Vec<_>>(), [Some("hold"), Some("freeze"), Some("promote")], "{history}");
    let table = done(&world, &["history"]);
    let moved = table.lines().find(|line| line.contains("kernel patch")).unwrap_or_default();
    assert!(moved.contains(" hold ") && moved.contains(by(1)), "{table}");
    let (status, patroni) = world.http(1, "GET", "/history", "").expect("an answer");
    assert!(status == 200 && patroni.contains("\"c\""), "{patroni}");
    let (_, cluster) = world.http(1, "GET", "/cluster", "").expect("an answer");
    let cluster: Value = serde_json::from_str(&cluster).expect("it is JSON");
    let leaders =
        cluster["members"].as_array().expect("a list").iter().filter(|node| node["role"] == "leader");
    assert_eq!(leaders.map(|node| node["name"].clone()).collect::<Vec<_>>(), ["c"], "{cluster}");
    assert_eq!(cluster["pause"], true, "{cluster}");
}

fn status_of(world: &World, path: &str) -> u16 {
    world.http(0, "GET", path, "").expect("an answer").0
}

fn lag(world: &World, node: &str) -> u64 {
    let status = world.status(0);
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    let found = nodes.iter().find(|one| one["name"] == node).and_then(|one| one["lag_bytes"].as_u64());
    found.unwrap_or(0)
}
