//! Whole stories of one cluster in a friendly world.

mod keeping;
mod world;

use world::{World, name, proxy_name};

use crate::cluster::{Asked, Durability, Key, Phase, Request, SyncNames, Upstream};

const SYNC: Durability = Durability::Sync { k: 1, strict: true };

#[test]
fn a_cluster_is_taken_in_as_it_is_found() {
    let mut world = World::new(3, 2, Durability::Async);
    world.until("it is adopted", |world| world.is_open(1, "n1"));
    world.run(2000);
    let term = world.term().expect("a term");
    assert_eq!((term.number, term.phase), (1, Phase::Open));
    assert_eq!(world.server("n1").slots, [name("n2"), name("n3")].into());
}

#[test]
fn two_primaries_are_not_taken_in() {
    let mut world = World::new(3, 1, Durability::Async);
    world.server("n2").primary = true;
    world.run(5000);
    assert_eq!(world.term(), None);
}

#[test]
fn a_dead_leader_is_replaced_within_half_a_second() {
    let mut world = World::running(3, 2, Durability::Async);
    world.kill("n1");
    let ms = world.until("another leads", |world| world.is_open(2, "n2") || world.is_open(2, "n3"));
    assert!(ms < 500, "{ms} ms\n{}", world.story());
    let term = world.term().expect("a term").clone();
    assert_eq!(term.lineage.last().timeline.0, 2);
    world.until("the other one follows", |world| {
        let follower = if term.leader == name("n2") { "n3" } else { "n2" };
        let upstream = &world.servers[&name(follower)].upstream;
        matches!(upstream, Upstream::Leader { node, .. } if *node == term.leader)
    });
    world.until("it is settled", |world| world.said.iter().any(|line| line.contains("settled")));
    assert!(world.entries.contains_key(&Key::History(2)));
}

#[test]
fn nobody_is_called_a_stray_while_it_is_promoted() {
    let mut world = World::running(3, 2, Durability::Async);
    let strays = std::cell::Cell::new(0);
    let promoted = std::cell::Cell::new(0);
    world.kill("n1");
    world.until("another leads", |world| {
        let statuses = world.coordinators.values().flat_map(|one| one.explain().nodes.into_values());
        strays.set(strays.get() + statuses.filter(|status| status.role == "stray").count());
        let led = world.is_open(2, "n2") || world.is_open(2, "n3");
        promoted.set(
            promoted.get() + usize::from(!led && world.servers.values().any(|one| one.up && one.primary)),
        );
        led
    });
    assert!(promoted.get() > 0, "the moment in question was never seen");
    assert_eq!(strays.get(), 0);
}

#[test]
fn a_silent_leader_is_replaced_too_and_a_silent_proxy_costs_its_permission() {
    let mut world = World::running(3, 3, Durability::Async);
    world.server("n1").hard = false;
    world.kill("n1");
    // Its host took a proxy along, which acknowledges nothing.
    world.coordinators.remove(&3);
    world.proxies.remove(&3);
    let ms = world.until("another leads", |world| world.is_open(2, "n2"));
    assert!((4000..6000).contains(&ms), "{ms} ms\n{}", world.story());
}

/// What a standby received of the last record is no position at which it could begin its own timeline.
#[test]
fn a_leader_lost_in_the_middle_of_a_record_is_replaced() {
    for durability in [Durability::Async, SYNC] {
        let mut world = World::running(3, 2, durability);
        world.run(5000);
        world.server("n2").torn = 7;
        world.server("n3").torn = 7;
        world.kill("n1");
        let ms = world.until("n2 leads", |world| world.is_open(2, "n2"));
        assert!(ms < 1000, "{ms} ms\n{}", world.story());
    }
}

#[test]
fn a_leader_that_is_there_after_all_goes_on() {
    let mut world = World::running(3, 2, Durability::Async);
    world.proxies.remove(&2);
    world.kill("n1");
    world.until("it is frozen", |world| world.term().is_some_and(|term| term.phase == Phase::Frozen));
    world.server("n1").up = true;
    world.until("it opens again", |world| world.is_open(2, "n1"));
    world.run(2000);
    assert_eq!(world.server("n2").upstream, Upstream::Leader { node: name("n1"), term: 0 });
}

#[test]
fn another_coordinator_goes_on_from_any_moment() {
    for ms in (0..120).step_by(4) {
        let mut world = World::running(3, 3, Durability::Async);
        let active = world.coordinators.iter().find(|(_, one)| one.is_active()).map(|(index, _)| *index);
        world.kill("n1");
        world.run(ms);
        world.coordinators.remove(&active.expect("one is active"));
        world.until("another leads", |world| {
            world.term().is_some_and(|term| term.leader != name("n1") && term.phase == Phase::Open)
        });
    }
}

#[test]
fn a_switchover_moves_the_lead_and_leaves_nobody_behind() {
    for durability in [Durability::Async, SYNC] {
        let mut world = World::running(3, 2, durability);
        world.run(5000);
        let first = world.term().expect("a term").number;
        world.request("a", Request::Switchover { to: Some(name("n3")), asked: Asked::default() });
        let ms = world.until("n3 leads", |world| world.is_open(first + 1, "n3"));
        assert!(ms < 300, "{ms} ms\n{}", world.story());
        assert_eq!(world.answer("a").map(|(accepted, _)| accepted), Some(true));
        assert_eq!(world.server("n1").names, SyncNames::Fence, "the old one is kept from committing");
        world.until("n2 follows", |world| {
            matches!(&world.servers[&name("n2")].upstream, Upstream::Leader { node, .. } if *node == name("n3"))
        });
        // An operator brings the old one back.
        let rejoined = world.servers[&name("n3")].lineage.clone();
        let old = world.server("n1");
        (old.primary, old.lineage, old.started, old.upstream) = (false, rejoined, 2, Upstream::Foreign);
        world.until("n1 follows", |world| {
            matches!(&world.servers[&name("n1")].upstream, Upstream::Leader { node, .. } if *node == name("n3"))
        });
    }
}

#[test]
fn a_switchover_that_cannot_drain_is_cancelled() {
    let mut world = World::running(3, 2, Durability::Async);
    world.busy.insert(2);
    world.request("a", Request::Switchover { to: None, asked: Asked::default() });
    world.until("it is held", |world| world.term().is_some_and(|term| term.phase == Phase::Hold));
    world.run(100);
    let ms = world.until("it is open", |world| world.is_open(1, "n1"));
    assert!((1800..2600).contains(&ms), "{ms} ms");
    assert!(world.said.iter().any(|line| line.contains("transactions still run at p2")), "{}", world.story());
}

#[test]
fn a_switchover_is_refused_with_the_numbers() {
    let mut world = World::running(3, 1, Durability::Async);
    world.server("n2").lags = true;
    world.server("n1").position.0 += 5_000_000;
    world.run(1000);
    world.request("a", Request::Switchover { to: Some(name("n2")), asked: Asked::default() });
    world.until("it is answered", |world| world.answer("a").is_some());
    let (accepted, text) = world.answer("a").expect("answered");
    assert!(!accepted && text.contains("n2 lacks 50") && text.contains("the limit is 1048576"), "{text}");
}

#[test]
fn a_leader_that_dies_in_a_switchover_is_replaced() {
    for ms in (0..60).step_by(5) {
        let mut world = World::running(3, 2, Durability::Async);
        world.request("a", Request::Switchover { to: Some(name("n3")), asked: Asked::default() });
        world.run(ms);
        world.kill("n1");
        world.until("another leads", |world| {
            world.term().is_some_and(|term| term.leader != name("n1") && term.phase == Phase::Open)
        });
    }
}

#[test]
fn a_candidate_that_hangs_is_given_up_in_another_term() {
    let mut world = World::running(3, 1, Durability::Async);
    world.server("n3").lags = true;
    world.run(10);
    world.server("n2").hangs = true;
    world.kill("n1");
    let ms = world.until("n3 leads", |world| world.is_open(3, "n3"));
    assert!((4000..5500).contains(&ms), "{ms} ms\n{}", world.story());
    assert!(world.said.iter().any(|line| line.contains("n2 is given up")), "{}", world.story());
}

#[test]
fn a_node_that_missed_the_last_promotion_may_lead() {
    let mut world = World::running(3, 1, Durability::Async);
    world.server("n3").lags = true;
    world.server("n1").position.0 += 500;
    world.run(1000);
    world.kill("n1");
    world.until("n2 leads", |world| world.is_open(2, "n2"));
    world.run(1000);
    world.kill("n2");
    // It leaves the first timeline, before the second one did: within the limits, and nobody else is there.
    world.until("n3 leads", |world| world.is_open(3, "n3"));
    assert!(!world.said.iter().any(|line| line.contains("given up")), "{}", world.story());
}

#[test]
fn commits_wait_for_a_follower_and_the_rule_follows_the_nodes() {
    let mut world = World::running(3, 1, SYNC);
    let both = |world: &World| matches!(&world.servers[&name("n1")].names, SyncNames::Any { k: 1, names } if names.len() == 2);
    world.until("both count", both);
    world.run(1000);
    world.kill("n3");
    world.until("one counts", |world| {
        matches!(&world.servers[&name("n1")].names, SyncNames::Any { k: 1, names } if names.len() == 1)
    });
    world.run(1000);
    world.kill("n1");
    world.run(10_000);
    assert_eq!(
        world.term().map(|term| term.phase),
        Some(Phase::Frozen),
        "strict: nobody is left to confirm\n{}",
        world.story()
    );
    world.server("n3").up = true;
    world.until("n2 leads", |world| world.is_open(2, "n2"));
}

#[test]
fn a_failover_needs_enough_of_those_that_may_hold_commits() {
    let mut world = World::running(3, 1, SYNC);
    world.run(5000);
    world.kill("n1");
    world.kill("n2");
    world.run(8000);
    assert_eq!(world.term().map(|term| term.phase), Some(Phase::Frozen));
    let waits: Vec<String> = world.coordinators[&1].explain().waits.iter().map(ToString::to_string).collect();
    assert!(waits.iter().any(|wait| wait.contains("missing: n2")), "{waits:?}");
    world
        .request("a", Request::Failover { to: Some(name("n3")), accept_loss: true, asked: Asked::default() });
    world.run(1000);
    world.server("n2").up = true;
    world.until("n3 leads", |world| world.is_open(2, "n3"));
}

#[test]
fn a_restarted_leader_gets_a_term_of_its_own() {
    let mut world = World::running(3, 1, SYNC);
    world.run(5000);
    world.server("n1").started = 2;
    world.until("it opens again", |world| world.is_open(2, "n1"));
    assert_eq!(world.term().and_then(|term| term.run), Some(2));
}

#[test]
fn a_lost_proxy_is_evicted_and_a_leaving_one_forgotten() {
    let mut world = World::running(2, 3, Durability::Async);
    world.coordinators.remove(&3);
    world.proxies.remove(&3);
    world.until("it is evicted", |world| !world.entries.contains_key(&Key::Grant(proxy_name(3))));
}

#[test]
fn a_stray_primary_is_kept_from_committing() {
    let mut world = World::running(3, 1, Durability::Async);
    world.server("n3").primary = true;
    world.until("it is fenced", |world| world.servers[&name("n3")].names == SyncNames::Fence);
    assert!(world.is_open(1, "n1"));
}
