//! Pools that drivers bring along, while the lead moves and while the primary is killed.
//!
//! They look at a connection before they lend it (SQLAlchemy), once a request (Django), or reset it when it comes back
//! (asyncpg). None of that may lose a connection: the endpoint is there all the time.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::driver;
use crate::world::World;

#[test]
#[ignore = "takes the drivers of ./dev drivers"]
fn pools_outlive_the_primary() {
    let world = World::start(1);
    world.insist(0, "CREATE TABLE pooled (who text, n int)");
    let path = world.cluster.directory().join("pools");
    let written = File::create(&path).expect("the lab's directory is ours");
    let again = written.try_clone().expect("a second descriptor");
    let mut command = Command::new(driver::home().join(driver::PYTHON));
    command.arg(driver::home().join("python/pools.py"));
    command.env("PGHOST", "127.0.0.1").env("PGPORT", world.proxies[0].port().to_string());
    command.envs([
        ("PGUSER", "demo"),
        ("PGPASSWORD", "demo"),
        ("PGDATABASE", "demo"),
        ("PGSSLMODE", "disable"),
    ]);
    command.env("PGSSLROOTCERT", "").stdin(Stdio::piped()).stdout(written).stderr(again);
    let mut child = command.spawn().expect("./dev drivers has installed it");
    let told = || fs::read_to_string(&path).unwrap_or_default();

    all_go_on(&world);
    world.until("the switchover is done", |world| {
        world.http(0, "POST", "/api/v1/switchover", r#"{"to": "b"}"#).is_some_and(|(status, _)| status == 200)
    });
    all_go_on(&world);
    assert_eq!(told(), "", "a switchover costs a pause, and no error");

    let leader = world.leader(0).expect("somebody leads");
    world.cluster.kill9(&leader).unwrap_or_else(|error| panic!("{error}"));
    all_go_on(&world);
    drop(child.stdin.take());
    let status = child.wait().expect("it is our child");
    println!("{}", told());
    assert!(status.success(), "{status}");
    for line in told().lines().filter(|line| !line.starts_with("worked\t")) {
        // What was open when the primary died, or whose COMMIT it did not answer.
        let code = line.split('\t').nth(2);
        assert!(matches!(code, Some("40001" | "08007")), "{line}");
    }
    assert_eq!(told().matches("worked\t").count(), 3);
}

/// Waits until each pool has made some more calls.
fn all_go_on(world: &World) {
    let farthest = "SELECT coalesce(max(n), 0) FROM pooled";
    let slowest = "SELECT CASE count(*) WHEN 3 THEN min(n) ELSE 0 END FROM (SELECT max(n) AS n FROM pooled GROUP BY who) AS t";
    let before: u64 = world.insist(0, farthest).parse().expect("a number");
    world.until("each pool has made some more calls", |world| {
        world.sql(0, slowest).is_ok_and(|n| n.parse().is_ok_and(|n: u64| n >= before + 5))
    });
}
