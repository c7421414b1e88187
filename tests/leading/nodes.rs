//! Nodes that come and go while the cluster runs, which no configuration says.

use std::collections::BTreeSet;

use bellwether::lab::{EtcdOptions, Options, Shutdown};

use crate::command_line::{done, text};
use crate::support::World;

#[test]
fn a_node_is_taken_in_set_and_taken_out_and_every_proxy_knows() {
    let mut world = World::naming(
        3,
        2,
        Options { nodes: 4, ..Options::default() },
        EtcdOptions::default(),
        &["routing.consistency = \"eventual\""],
    );
    let url = format!("postgres://127.0.0.1:{}", world.cluster.port("d").expect("d is there"));
    both_read(&world, &["b", "c"]);
    for wrong in [vec!["node", "add", "d", "postgres://h1,h2"], vec!["node", "add", "b", &url]] {
        let refused = world.run(0, &wrong);
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", text(&refused.stderr));
    }

    let added = done(&world, &["node", "add", "d", &url]);
    assert!(added.contains("d is a member"), "{added}");
    both_read(&world, &["b", "c", "d"]);
    // Also through the proxy that was not asked.
    let mut served = BTreeSet::new();
    world.until("d serves reads of clients", |world| {
        served.insert(world.insist(1, "SELECT current_setting('cluster_name')"));
        served.contains("d")
    });
    let slots = || world.cluster.sql("a", SLOTS).unwrap_or_default();
    world.until("every standby has a slot in use", |_| slots() == "3");

    done(&world, &["node", "set", "d", "no_failover=true", "priority=5"]);
    world.until("it is seen to be set", |world| {
        let explained = done(world, &["explain"]);
        explained.lines().any(|line| line.starts_with("d ") && line.contains("no_failover"))
    });
    let unknown = world.run(0, &["node", "set", "d", "weight=3"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("no_failover"), "{}", text(&unknown.stderr));

    let leader = world.run(0, &["node", "remove", "a", "--yes"]);
    assert_eq!(leader.status.code(), Some(5), "{}", text(&leader.stderr));
    assert!(text(&leader.stderr).contains("switch over first"), "{}", text(&leader.stderr));
    let unasked = world.run(0, &["node", "remove", "d"]);
    assert_eq!(unasked.status.code(), Some(2), "nobody can be asked: {}", text(&unasked.stderr));

    let removed = done(&world, &["node", "remove", "d", "--yes"]);
    assert!(removed.contains("d is no member any more"), "{removed}");
    both_read(&world, &["b", "c"]);
    for nth in [0, 1] {
        world
            .until("d is shown to nobody", |world| !world.status(nth)["nodes"].to_string().contains("\"d\""));
        // It is running still, and nobody told it to let go of its slot.
        let status = world.status(nth);
        let mut warnings = status["warnings"].as_array().into_iter().flatten();
        assert!(warnings.all(|warning| warning.to_string().contains("bellwether_d")), "{status}");
    }
    // A slot in use cannot be dropped: it goes once the server has stopped.
    world.cluster.stop("d", Shutdown::Fast).unwrap_or_else(|error| panic!("{error}"));
    world.until("no WAL is kept for it", |world| {
        world.cluster.sql("a", ALL_SLOTS).is_ok_and(|slots| slots == "2")
    });
    world.cluster.start_node("d").unwrap_or_else(|error| panic!("{error}"));

    // It comes back to its seat, and a proxy that starts anew learns of it from the others.
    done(&world, &["node", "add", "d", &url]);
    both_read(&world, &["b", "c", "d"]);
    world.proxies[1].kill9();
    world.proxies[1].run().unwrap_or_else(|error| panic!("{error}"));
    both_read(&world, &["b", "c", "d"]);
}

const SLOTS: &str = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'bellwether%' AND active";
const ALL_SLOTS: &str = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'bellwether%'";

fn both_read(world: &World, wanted: &[&str]) {
    for nth in [0, 1] {
        world.until(&format!("{wanted:?} take reads at proxy {nth}"), |world| world.readers(nth) == wanted);
    }
}
