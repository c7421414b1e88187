//! Stories of the time between failovers, and of those that must not happen.

use super::world::{World, name};
use crate::cluster::decide::{Action, Event};
use crate::cluster::lineage::{Branch, Lineage};
use crate::cluster::{Asked, Config, Durability, Member, Phase, Request, SyncNames, Upstream};
use crate::pg::{Lsn, Timeline};

fn waits(world: &World) -> String {
    let all = world.coordinators.values().find(|one| one.is_active()).map(|one| one.explain().waits);
    all.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn configure(world: &mut World, id: &str, paused: bool, durability: Durability) {
    world.request(id, Request::Configure(Config { paused, durability }));
    world.until("it is configured", |world| world.answer(id).is_some());
}

fn member(address: &str) -> Member {
    Member { address: address.to_owned(), ..Member::default() }
}

#[test]
fn a_paused_cluster_is_left_alone() {
    let mut world = World::running(3, 1, Durability::Async);
    configure(&mut world, "a", true, Durability::Async);
    world.kill("n1");
    world.run(5000);
    assert_eq!(world.term().map(|term| (term.number, term.phase)), Some((1, Phase::Open)));
    assert!(waits(&world).contains("nothing follows from p1: gone") && waits(&world).contains("paused"));
    configure(&mut world, "b", false, Durability::Async);
    world.until("another leads", |world| world.is_open(2, "n2"));
}

#[test]
fn the_second_failover_waits_unless_the_evidence_is_hard() {
    let failed_over = || {
        let mut world = World::running(4, 2, Durability::Async);
        world.kill("n1");
        world.until("n2 leads", |world| world.is_open(2, "n2"));
        world.run(5000);
        world
    };
    let mut world = failed_over();
    world.kill("n2");
    let ms = world.until("n3 leads", |world| world.is_open(3, "n3"));
    assert!(ms < 500, "{ms} ms");

    let mut world = failed_over();
    world.server("n2").hard = false;
    world.kill("n2");
    world.run(10_000);
    assert!(waits(&world).contains("the last failover was a moment ago"), "{}", waits(&world));
    let ms = world.until("n3 leads", |world| world.is_open(3, "n3"));
    assert!((35_000..50_000).contains(&ms), "{ms} ms");
}

#[test]
fn among_equals_priority_decides_and_no_failover_is_heeded() {
    let mut world = World::running(4, 1, Durability::Async);
    let request = |node: &str, member: Member| Request::Set { node: name(node), member };
    world.request("a", request("n2", Member { no_failover: true, priority: 9, ..member("n2:5432") }));
    world.request("b", request("n4", Member { priority: 1, ..member("n4:5432") }));
    world.until("both are set", |world| world.answer("b").is_some());
    world.run(2000);
    world.kill("n1");
    world.until("n4 leads", |world| world.is_open(2, "n4"));
}

#[test]
fn a_node_that_is_ahead_of_the_new_leader_is_named_and_not_followed() {
    let mut world = World::running(3, 1, Durability::Async);
    world.request(
        "a",
        Request::Set { node: name("n3"), member: Member { no_failover: true, ..member("n3:5432") } },
    );
    world.until("it is set", |world| world.answer("a").is_some());
    world.server("n2").lags = true;
    world.run(50);
    world.kill("n1");
    world.until("n2 leads", |world| world.is_open(2, "n2"));
    world.run(3000);
    assert!(waits(&world).contains("n3 has WAL after"), "{}", waits(&world));
    assert_eq!(world.server("n3").upstream, Upstream::DeadEnd { term: 2 });
    assert_eq!(world.coordinators[&1].explain().nodes[&name("n3")].role, "diverged");
}

#[test]
fn a_failover_that_would_lose_too_much_waits_for_an_operator() {
    let mut world = World::running(3, 1, Durability::Async);
    world.server("n2").lags = true;
    world.server("n3").lags = true;
    world.server("n1").position.0 += 3_000_000;
    world.run(1000);
    world.kill("n1");
    world.run(5000);
    assert_eq!(world.term().map(|term| term.phase), Some(Phase::Frozen));
    assert!(waits(&world).contains("n2 lacks 300"), "{}", waits(&world));
    world.request("a", Request::Failover { to: None, accept_loss: true, asked: Asked::default() });
    world.until("n2 leads", |world| world.is_open(2, "n2"));
}

#[test]
fn without_strictness_commits_go_on_and_only_the_leader_may_lead() {
    let durability = Durability::Sync { k: 1, strict: false };
    let mut world = World::running(3, 1, durability);
    let counts = |world: &World| matches!(world.servers[&name("n1")].names, SyncNames::Any { .. });
    world.until("followers count", counts);
    world.run(1000);
    world.kill("n2");
    world.kill("n3");
    world.until("nobody is waited for", |world| world.servers[&name("n1")].names == SyncNames::Nobody);
    world.run(1000);
    world.kill("n1");
    world.server("n2").up = true;
    world.run(6000);
    assert_eq!(world.term().map(|term| term.phase), Some(Phase::Frozen), "{}", world.story());
    assert!(waits(&world).contains("only n1 is certain to have them"), "{}", waits(&world));
    world.server("n1").up = true;
    world.until("n1 goes on", |world| world.is_open(2, "n1"));
    world.until("n2 counts again", counts);
}

#[test]
fn a_switchover_waits_until_followers_count() {
    let mut world = World::new(3, 1, Durability::Sync { k: 1, strict: true });
    world.server("n1").counts_nobody = true;
    world.until("n1 leads", |world| world.is_open(1, "n1"));
    world.request("a", Request::Switchover { to: Some(name("n2")), asked: Asked::default() });
    world.until("it is refused", |world| world.answer("a").is_some());
    let told = Some((false, "commits waited for no follower, so only n1 is certain to have them".to_owned()));
    assert_eq!(world.answer("a"), told);

    world.request("b", Request::Switchover { to: Some(name("n2")), asked: Asked::default() });
    world.run(500);
    assert_eq!((world.answer("b"), world.is_open(1, "n1")), (None, true), "nobody is held while it waits");
    world.server("n1").counts_nobody = false;
    world.until("n2 leads", |world| world.is_open(2, "n2"));
}

#[test]
fn a_switchover_asks_a_node_that_was_down_once_more() {
    let mut world = World::running(3, 1, Durability::Async);
    world.kill("n2");
    world.run(20_000);
    world.request("a", Request::Switchover { to: Some(name("n2")), asked: Asked::default() });
    let ms = world.until("it is refused", |world| world.answer("a").is_some());
    assert_eq!(world.answer("a"), Some((false, "n2 does not answer: no answer to probes".to_owned())));
    assert!(ms < 500, "{ms} ms");

    world.server("n2").up = true;
    world.request("b", Request::Switchover { to: Some(name("n2")), asked: Asked::default() });
    world.until("n2 leads", |world| world.is_open(2, "n2"));
}

#[test]
fn nodes_come_and_go() {
    let mut world = World::running(3, 1, Durability::Sync { k: 1, strict: true });
    let voters = |world: &World| match &world.servers[&name("n1")].names {
        SyncNames::Any { names, .. } => names.len(),
        _ => 0,
    };
    world.until("two count", |world| voters(world) == 2);
    world.request("a", Request::Remove { node: name("n3") });
    world.until("one counts", |world| voters(world) == 1);
    world.until("its slot is gone", |world| world.servers[&name("n1")].slots == [name("n2")].into());
    world.request("b", Request::Set { node: name("n3"), member: member("n3:5432") });
    world.until("two count again", |world| voters(world) == 2);
    world.request("c", Request::Remove { node: name("n1") });
    world.until("it is refused", |world| world.answer("c").is_some_and(|(accepted, _)| !accepted));
}

#[test]
fn a_coordinator_that_says_goodbye_is_followed_at_once() {
    let mut world = World::running(3, 2, Durability::Async);
    let active = *world.coordinators.iter().find(|(_, one)| one.is_active()).expect("one is active").0;
    let actions = world.coordinators.get_mut(&active).expect("it is there").step(world.now, Event::Goodbye);
    assert!(actions.iter().any(|action| matches!(action, Action::Commit { .. })), "{actions:?}");
    for action in actions {
        world.act(active, action);
    }
    let ms = world.until("another decides", |world| {
        world.coordinators.iter().any(|(index, one)| *index != active && one.is_active())
    });
    assert!(ms < 300, "{ms} ms");
}

#[test]
fn a_coordinator_that_sees_no_node_leaves_it_to_one_that_does() {
    let mut world = World::running(3, 3, Durability::Async);
    let active = *world.coordinators.iter().find(|(_, one)| one.is_active()).expect("one is active").0;
    world.blind.insert(active);
    let ms = world.until("another decides", |world| {
        world.coordinators.iter().any(|(index, one)| *index != active && one.is_active())
    });
    assert!(ms < 1500, "{ms} ms");
    world.run(3000);
    assert!(!world.coordinators[&active].is_active());
    world.kill("n1");
    world.until("another leads", |world| world.is_open(2, "n2"));
}

#[test]
fn what_may_have_followed_a_promotion_that_never_led_needs_a_new_copy() {
    let mut world = World::running(3, 1, Durability::Async);
    world.kill("n1");
    world.until("n2 is promoted", |world| world.servers[&name("n2")].primary);
    world.kill("n2");
    world.until("n3 leads", |world| world.is_open(3, "n3"));
    let theirs = world.servers[&name("n3")].lineage.clone();
    assert_eq!(theirs.last().timeline, Timeline(2), "the same number twice");
    assert!(world.term().is_some_and(|term| term.suspects.contains_key(&name("n2"))), "{}", world.story());
    // It comes back looking like a follower.
    let back = world.server("n2");
    (back.up, back.primary, back.lineage, back.upstream) = (true, false, theirs, Upstream::Foreign);
    world.run(3000);
    assert_eq!(world.server("n2").upstream, Upstream::Foreign);
    assert_eq!(world.coordinators[&1].explain().nodes[&name("n2")].role, "suspect");
    world.request("a", Request::Rebuilt { node: name("n2") });
    world.until("it follows", |world| {
        matches!(&world.servers[&name("n2")].upstream, Upstream::Leader { node, .. } if *node == name("n3"))
    });
}

#[test]
fn an_old_primary_with_wal_of_its_own_is_not_followed() {
    let mut world = World::running(3, 1, Durability::Async);
    world.kill("n1");
    world.until("n2 leads", |world| world.is_open(2, "n2"));
    let fork = world.servers[&name("n2")].lineage.last().forked_at;
    let back = world.server("n1");
    (back.up, back.primary, back.position) = (true, false, Lsn(fork.0 + 100));
    back.lineage =
        Lineage::new(vec![Branch { timeline: Timeline(1), forked_at: Lsn(0) }]).expect("one branch");
    world.run(3000);
    assert_eq!(world.coordinators[&1].explain().nodes[&name("n1")].role, "diverged");
}

#[test]
fn nobody_is_pointed_at_a_leader_that_has_no_slot_for_it() {
    for durability in [Durability::Async, Durability::Sync { k: 1, strict: true }] {
        let mut world = World::running(3, 1, durability);
        world.run(5000);
        world.kill("n1");
        world.until("n2 leads", |world| world.is_open(2, "n2"));
        let follows = |world: &World| matches!(&world.servers[&name("n3")].upstream, Upstream::Leader { node, .. } if *node == name("n2"));
        world.until("n3 follows", follows);
        assert_eq!(world.slotless, [], "{durability:?}\n{}", world.story());
    }
}
