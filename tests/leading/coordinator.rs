//! The proxy that decides is killed at every step of what it does, and the other one goes on from there.

use bellwether::lab::{EtcdOptions, Options};

use crate::support::{Clients, World};

/// Each round waits for the permission of the proxy that died, so it is shorter than in other stories.
const SETTINGS: &[&str] = &[
    "leading.durability = \"sync\"",
    "store.timeout = \"1s\"",
    "leading.probe = \"300ms\"",
    "leading.permission = \"4s\"",
    "leading.hold_max = \"25s\"",
    "leading.between_failovers = \"1s\"",
];

#[test]
fn whoever_takes_over_a_failover_ends_it() {
    let mut world = World::as_it_comes(2, Options::default(), EtcdOptions::default(), SETTINGS);
    for moment in
        ["after Frozen", "after Recruit", "after Chosen", "after Promote", "after ProbeCommit", "after Open"]
    {
        println!("{moment}");
        let old = settle(&world);
        let clients = Clients::start(&world, 4);
        world.die(moment);
        world.cluster.kill9(&old).unwrap();
        let dead = death(&mut world, moment);
        world
            .until("somebody else leads", |world| world.leader(1 - dead).is_some_and(|leader| leader != old));
        clients.write_on(&world);
        clients.end_without_loss(&world);
        world.proxies[dead].run().unwrap();
        world.bring_back(&old);
    }
}

#[test]
fn whoever_takes_over_a_switchover_ends_or_undoes_it() {
    let mut world = World::as_it_comes(2, Options::default(), EtcdOptions::default(), SETTINGS);
    for moment in
        ["after Held", "after Frozen", "after SetSyncNames", "after Chosen", "after Promote", "after Open"]
    {
        println!("{moment}");
        let old = settle(&world);
        let clients = Clients::start(&world, 4);
        world.die(moment);
        let dead = world.active();
        // Its end is none of our business here: the one that is asked sees another coordinator take over.
        let _ = world.http(1 - dead, "POST", "/api/v1/switchover", "{}");
        assert_eq!(death(&mut world, moment), dead);
        world.until("somebody leads", |world| world.leader(1 - dead).is_some());
        clients.write_on(&world);
        clients.end_without_loss(&world);
        world.proxies[dead].run().unwrap();
        let leader = world.leader(1 - dead).expect("somebody leads");
        println!("  {old} -> {leader}");
        if leader != old {
            world.bring_back(&old);
        }
    }
}

/// Waits until everything is as it should be, and returns who leads.
fn settle(world: &World) -> String {
    let mut leader = String::new();
    world.until("both standbys take reads, and commits wait for either", |world| {
        leader = world.leader(0).unwrap_or_default();
        let names = world.cluster.sql(&leader, "SHOW synchronous_standby_names").unwrap_or_default();
        [0, 1].iter().all(|nth| world.readers(*nth).len() == 2)
            && names.matches('"').count() == 4
            && !names.contains("nobody")
            && world.record("sync")["next"].is_null()
            && world.record("op")["step"].as_str().is_none_or(|step| step == "Settled")
    });
    leader
}

/// Waits until one of the proxies has died there, and returns which.
fn death(world: &mut World, moment: &str) -> usize {
    let mut dead = None;
    let give_up = std::time::Instant::now() + crate::support::PATIENCE;
    while dead.is_none() {
        dead = world.proxies.iter_mut().position(|proxy| !proxy.is_running());
        assert!(std::time::Instant::now() < give_up, "nobody died {moment}\n{}", world.evidence());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let dead = dead.expect("it was waited for");
    let log = world.proxies[dead].log();
    assert!(log.contains(&format!("dies {moment}")), "{log}");
    dead
}
