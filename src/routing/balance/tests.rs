// An Instant cannot be made otherwise; from the first one on the tests' clock is driven by hand.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use super::*;
use crate::pg::Address;
use crate::topology::{Node, NodeName, Role};

/// Standbys 1, 2, ... of the primary 0, what is known of their loads, and who asks.
struct World {
    snapshot: Snapshot,
    loads: BTreeMap<u16, Load>,
    policy: Policy,
    now: Instant,
    random: fastrand::Rng,
    /// When a session that has a home read there.
    read_at: Instant,
}

impl World {
    /// One standby for each weight.
    fn new(weights: &[u16]) -> Self {
        let view = |(id, weight): (u16, u16)| NodeView {
            node: Arc::new(Node {
                id: NodeId(id),
                name: NodeName::new(&id.to_string()),
                address: Address::Tcp { host: "h".into(), port: id },
                weight,
                reads: true,
                zone: None,
            }),
            role: Role::Unknown { reason: String::new() },
            timeline: None,
            server_version: None,
            serves_reads: id > 0 && weight > 0,
            back_since: None,
            gone: false,
        };
        let nodes = (0..).zip([1].iter().chain(weights).copied()).map(view).collect();
        let now = Instant::now();
        World {
            snapshot: Snapshot { primary: Some(NodeId(0)), term: 1, nodes, ..Snapshot::default() },
            loads: BTreeMap::new(),
            policy: Policy::default(),
            now,
            random: fastrand::Rng::with_seed(7),
            read_at: now,
        }
    }

    fn load(&mut self, id: u16, in_flight: u32, latency: f32) {
        self.loads.insert(id, Load { in_flight, latency: Some(latency) });
    }

    fn zone(&mut self, id: u16, zone: &str) {
        let view = &mut self.snapshot.nodes[usize::from(id)];
        view.node = Arc::new(Node { zone: Some(zone.into()), ..(*view.node).clone() });
    }

    fn ask(&mut self, home: Option<u16>, admit: impl Fn(u16) -> bool) -> Result<Choice, NoNode> {
        let pick = self.random.u64(..);
        let home = home.map(|id| (NodeId(id), self.read_at));
        let ask = Ask { target: Target::Standby, home, pick, now: self.now };
        let load = |node: NodeId| self.loads.get(&node.0).copied().unwrap_or_default();
        choose(&self.snapshot, ask, &self.policy, load, |view| admit(view.node.id.0))
    }

    /// How many of 10,000 reads each node gets, in per cent.
    fn shares(&mut self, home: Option<u16>) -> BTreeMap<u16, u32> {
        let mut shares = BTreeMap::new();
        for _ in 0..10_000 {
            let chosen = self.ask(home, |_| true).expect("there are standbys").node.0;
            *shares.entry(chosen).or_insert(0) += 1;
        }
        shares.values_mut().for_each(|count| *count = (*count + 50) / 100);
        shares
    }
}

#[test]
fn at_rest_the_shares_are_those_of_the_weights() {
    assert_eq!(World::new(&[1, 1]).shares(None), [(1, 50), (2, 50)].into());
    let shares = World::new(&[1, 0, 3]).shares(None);
    assert!(matches!(shares[&3], 74..=76) && !shares.contains_key(&2), "{shares:?}");
    let shares = World::new(&[1000, 1000, 2000]).shares(None);
    assert!(matches!((shares[&1], shares[&2]), (24..=26, 24..=26)), "{shares:?}");
}

#[test]
fn the_busier_and_the_slower_one_is_passed_over() {
    let mut world = World::new(&[1, 1]);
    world.load(1, 4, 0.001);
    world.load(2, 1, 0.001);
    assert_eq!(world.shares(None), [(2, 100)].into());
    world.load(1, 0, 0.001);
    world.load(2, 0, 0.010);
    assert_eq!(world.shares(None), [(1, 100)].into());
    // Neither the third best nor a difference within the noise.
    world.load(1, 9, 0.00100);
    world.load(2, 10, 0.00105);
    assert!(world.shares(None).values().all(|share| (48..=52).contains(share)));
    // Of three the worst is never chosen, because any other drawn with it is better.
    let mut world = World::new(&[1, 1, 1]);
    world.load(1, 50, 0.001);
    assert!(!world.shares(None).contains_key(&1));
}

#[test]
fn requests_in_flight_count_by_weight_and_an_unknown_latency_not_at_all() {
    let mut world = World::new(&[1, 4]);
    world.load(1, 2, 0.001);
    world.load(2, 8, 0.001);
    assert!(matches!(world.shares(None)[&1], 18..=22), "as full as it should be");
    world.load(1, 4, 0.001);
    assert_eq!(world.shares(None), [(2, 100)].into());
    world.load(1, 0, 9.0);
    world.load(2, 0, 0.001);
    world.loads.insert(2, Load::default());
    assert!(matches!(world.shares(None)[&1], 18..=22));
}

#[test]
fn a_session_stays_at_home_until_another_is_clearly_better() {
    let mut world = World::new(&[1, 1]);
    // Half of one in 32 goes elsewhere, so that long sessions find a standby that is back.
    assert!(matches!(world.shares(Some(1))[&2], 1..=2));
    world.load(1, 3, 0.001);
    world.load(2, 2, 0.001);
    assert!(matches!(world.shares(Some(1))[&2], 1..=3), "better, but not 1.5 times");
    world.load(2, 1, 0.001);
    assert_eq!(world.shares(Some(1)), [(2, 100)].into());
    // A home that no longer serves, or is the primary now, is none.
    world.snapshot.nodes[1].serves_reads = false;
    assert_eq!(world.shares(Some(1)), [(2, 100)].into());
    assert_eq!(world.shares(Some(0)), [(2, 100)].into());
}

#[test]
fn one_that_is_back_gets_its_share_by_and_by() {
    let mut world = World::new(&[1, 1]);
    let back = world.now;
    world.snapshot.nodes[1].back_since = Some(back);
    let share = |world: &mut World, seconds| {
        world.now = back + Duration::from_secs(seconds);
        world.shares(None)[&1]
    };
    let shares = [0, 2, 5, 10, 3600].map(|seconds| share(&mut world, seconds));
    assert!(
        shares.is_sorted() && matches!(shares, [8..=10, 15..=18, 32..=35, 48..=52, 48..=52]),
        "{shares:?}"
    );
    // Under load, too, and though it looks idle and quick: else everybody would go there at once.
    world.now = back;
    world.load(1, 0, 0.001);
    world.load(2, 8, 0.003);
    assert!(matches!(world.shares(None)[&1], 8..=10));
    // What is there already counts ten times.
    world.load(1, 1, 0.001);
    world.load(2, 4, 0.001);
    assert_eq!(world.shares(None), [(2, 100)].into());
    world.policy.slow_start = Duration::ZERO;
    assert_eq!(world.shares(None), [(1, 100)].into());
}

#[test]
fn long_sessions_come_to_one_that_is_back_by_its_share() {
    let mut world = World::new(&[1, 1]);
    let back = world.now;
    world.snapshot.nodes[1].back_since = Some(back);
    world.load(1, 0, 0.001);
    world.load(2, 8, 0.003);
    // Those at home elsewhere: one in 32 by the share, and none because it is idle.
    assert!(world.shares(Some(2)).get(&1).is_none_or(|share| *share <= 1));
    // Those that read on it before it went away, which may be a half of all: by the share.
    world.read_at = back - Duration::from_secs(60);
    assert!(matches!(world.shares(Some(1))[&1], 8..=10));
    // Those that came since stay, as far as it is not too much for it.
    (world.read_at, world.now) = (back + Duration::from_millis(1), back + Duration::from_secs(1));
    assert!(world.shares(Some(1))[&1] >= 96);
    world.load(1, 1, 0.001);
    world.load(2, 1, 0.001);
    assert_eq!(world.shares(Some(1)), [(2, 100)].into());
    // When it has grown it is as good as any.
    world.now = back + Duration::from_secs(10);
    world.load(1, 0, 0.001);
    assert_eq!(world.shares(Some(2)), [(1, 100)].into());
    // Of two that came one after the other, the one that came last waits for the other.
    world.snapshot.nodes[2].back_since = Some(back + Duration::from_secs(5));
    world.load(1, 8, 0.001);
    world.load(2, 0, 0.001);
    assert!(matches!(world.shares(None)[&2], 30..=36));
}

#[test]
fn standbys_of_the_same_zone_go_first() {
    let mut world = World::new(&[1, 1, 1]);
    world.zone(1, "east");
    world.zone(2, "west");
    world.load(1, 100, 1.0);
    assert_eq!(world.shares(None).len(), 2, "without a zone of its own the proxy does not care");
    world.policy.zone = Some("east".into());
    assert_eq!(world.shares(Some(3)), [(1, 100)].into());
    // None of the zone is admitted: any other.
    let elsewhere = world.ask(None, |id| id != 1).map(|choice| choice.node.0);
    assert!(matches!(elsewhere, Ok(2 | 3)), "{elsewhere:?}");
    world.policy.zone = Some("north".into());
    assert_eq!(world.shares(None).len(), 2);
}

#[test]
fn without_a_standby_the_primary_serves_or_the_policy_forbids() {
    let to_primary = |fallback| Ok(Choice { node: NodeId(0), fallback: Some(fallback) });
    let mut world = World::new(&[1, 1]);
    assert_eq!(world.ask(None, |_| false), to_primary(Fallback::NoneAdmitted));
    world.policy.no_standby = NoStandby::Error;
    assert_eq!(
        world.ask(None, |_| false),
        to_primary(Fallback::NoneAdmitted),
        "that is the caller's to decide"
    );

    let mut world = World::new(&[0]);
    assert_eq!(world.ask(None, |_| true), to_primary(Fallback::NoneServes));
    world.policy.no_standby = NoStandby::Error;
    assert_eq!(world.ask(None, |_| true), Err(NoNode::NoStandby));
    world.snapshot = Snapshot { nodes: world.snapshot.nodes, ..Snapshot::default() };
    assert_eq!(
        world.ask(None, |_| true),
        Err(NoNode::NoPrimary),
        "nothing was seen yet: that is worth a wait"
    );
}

#[test]
fn the_primary_is_not_needed_for_reads_nor_standbys_for_the_primary() {
    let mut world = World::new(&[1]);
    let ask = Ask { target: Target::Primary, home: Some((NodeId(1), world.now)), pick: 0, now: world.now };
    let choose = |world: &World| choose(&world.snapshot, ask, &world.policy, |_| Load::default(), |_| true);
    assert_eq!(choose(&world), Ok(Choice { node: NodeId(0), fallback: None }));
    world.snapshot.primary = None;
    assert_eq!(choose(&world), Err(NoNode::NoPrimary));
    assert_eq!(world.ask(None, |_| true).map(|choice| choice.node), Ok(NodeId(1)));
}
