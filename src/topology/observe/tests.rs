// An Instant cannot be made otherwise; from the first one on the tests' clock is driven by hand.
#![allow(clippy::disallowed_methods)]

use super::*;
use crate::pg::{Address, Lsn};
use crate::topology::Facts;

/// A cluster of nodes `a`, `b`, `c` and a hand-driven clock.
struct World {
    observer: Observer,
    now: Instant,
}

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

const LIMITS: Thresholds = Thresholds {
    fall: 3,
    rise: 2,
    lag: LagLimits { bytes: Some(10_000), time: Some(Duration::from_secs(10)) },
};

impl World {
    fn new() -> Self {
        Self::with(|node| node)
    }

    fn with(adjust: impl Fn(Node) -> Node) -> Self {
        let node = |(id, name): (u16, &str)| {
            let address = Address::Tcp { host: name.to_owned(), port: 5432 };
            let node = Node {
                id: NodeId(id),
                name: NodeName::new(name),
                address,
                weight: 1,
                reads: true,
                zone: None,
            };
            Arc::new(adjust(node))
        };
        let nodes = [(0, "a"), (1, "b"), (2, "c")].into_iter().map(node).collect();
        World { observer: Observer::new(nodes, LIMITS), now: Instant::now() }
    }

    /// `a` leads on timeline 1, `b` and `c` stream from it.
    fn settled() -> Self {
        let mut world = World::new();
        world.tell(A, primary(1)).tell(B, standby(1, true)).tell(C, standby(1, true));
        assert_eq!((world.primary(), world.readers(), world.term()), (Some(A), vec![B, C], 1));
        world
    }

    fn tell(&mut self, node: NodeId, report: Report) -> &mut Self {
        self.say(node, report);
        self
    }

    fn say(&mut self, node: NodeId, report: Report) -> Vec<Change> {
        let asked = self.now + Duration::from_millis(10);
        self.now = asked + Duration::from_millis(1);
        self.observer.step(node, report, asked, self.now)
    }

    fn kill(&mut self, node: NodeId) -> &mut Self {
        self.tell(node, failed()).tell(node, failed()).tell(node, failed())
    }

    fn primary(&self) -> Option<NodeId> {
        self.observer.snapshot().primary
    }

    fn term(&self) -> u64 {
        self.observer.snapshot().term
    }

    fn readers(&self) -> Vec<NodeId> {
        self.observer.snapshot().readable_standbys().map(|view| view.node.id).collect()
    }

    fn view(&self, id: NodeId) -> &NodeView {
        self.observer.snapshot().node(id).expect("one of a, b, c")
    }
}

fn facts(system_identifier: u64, standing: Standing) -> Report {
    Report::Answered(Facts { system_identifier, server_version: 150_020, standing })
}

fn primary(timeline: u32) -> Report {
    primary_at(timeline, 1000)
}

fn primary_at(timeline: u32, position: u64) -> Report {
    facts(7, Standing::Primary { timeline: Timeline(timeline), position: Lsn(position) })
}

fn standby(timeline: u32, streaming: bool) -> Report {
    standby_of(7, timeline, streaming)
}

fn standby_of(system_identifier: u64, timeline: u32, streaming: bool) -> Report {
    let (replayed, received) = (Some(Lsn(900)), Some(Lsn(950)));
    let (timeline, replay_age) = (Some(Timeline(timeline)), Some(Duration::from_secs(2)));
    facts(system_identifier, Standing::Standby { timeline, streaming, replayed, received, replay_age })
}

fn failed() -> Report {
    Report::Failed { reason: "connection refused".to_owned() }
}

fn text(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

#[test]
fn no_one_is_primary_until_everyone_was_asked() {
    let mut world = World::new();
    world.tell(A, primary(1)).tell(B, standby(1, true));
    assert_eq!((world.primary(), world.observer.pace()), (None, Pace::Urgent));
    let changes = world.say(C, failed());
    assert_eq!((world.primary(), world.term(), world.observer.pace()), (Some(A), 1, Pace::Calm));
    assert!(text(&changes).contains("primary none -> a, timeline 1, term 1: the only node"), "{changes:?}");
    assert_eq!(world.view(C).role, Role::Unknown { reason: "connection refused".to_owned() });
}

#[test]
fn a_node_never_seen_needs_one_answer_and_one_given_up_needs_more() {
    let mut world = World::new();
    world.tell(A, primary(1)).tell(B, failed()).tell(C, failed());
    world.tell(B, standby(1, true));
    assert_eq!(world.readers(), [B]);
    world.kill(B);
    assert_eq!(world.readers(), []);
    world.tell(B, standby(1, true));
    assert_eq!(world.view(B).role.word(), "unknown");
    world.tell(B, standby(1, true));
    assert_eq!(world.readers(), [B]);
}

#[test]
fn a_primary_that_misses_is_suspected_first_and_given_up_later() {
    let mut world = World::settled();
    world.tell(A, failed()).tell(A, failed());
    assert_eq!((world.primary(), world.observer.pace()), (Some(A), Pace::Urgent));
    world.tell(A, primary(1));
    assert_eq!(world.observer.pace(), Pace::Calm);
    world.kill(A);
    assert_eq!((world.primary(), world.term()), (None, 1));
    // Back on the same timeline it is the same leadership.
    world.tell(A, primary(1)).tell(A, primary(1));
    assert_eq!((world.primary(), world.term()), (Some(A), 1));
}

#[test]
fn standbys_serve_on_when_the_primary_dies_and_until_it_is_known_to_live() {
    let mut world = World::settled();
    // The walreceivers notice before we do.
    world.tell(B, standby(1, false)).tell(C, standby(1, false));
    assert_eq!((world.readers(), world.observer.pace()), (vec![B, C], Pace::Urgent));
    world.kill(A);
    assert_eq!((world.primary(), world.readers()), (None, vec![B, C]));
    world.tell(B, standby(1, false));
    assert_eq!(world.readers(), [B, C]);
    // It comes back, and they do not stream yet.
    world.tell(A, primary(1)).tell(A, primary(1));
    assert_eq!((world.primary(), world.readers()), (Some(A), vec![]));
    world.tell(C, standby(1, true));
    assert_eq!(world.readers(), [C]);
}

#[test]
fn a_standby_that_stopped_streaming_loses_reads_once_the_primary_is_heard() {
    let mut world = World::settled();
    // A probe of the primary that began before the loss proves nothing.
    let (asked_before, lost) = (world.now, world.now + Duration::from_millis(5));
    world.observer.step(B, standby(1, false), asked_before, lost);
    world.observer.step(A, primary(1), asked_before, lost);
    assert_eq!(world.readers(), [B, C]);
    let changes = world.say(A, primary(1));
    assert_eq!((world.readers(), world.observer.pace()), (vec![C], Pace::Calm));
    assert_eq!(text(&changes), "node b takes no reads: it does not stream\n");
}

#[test]
fn a_promotion_is_followed_and_only_its_followers_read() {
    let mut world = World::settled();
    world.kill(A);
    let changes = world.say(B, primary(2));
    assert_eq!((world.primary(), world.term(), world.readers()), (Some(B), 2, vec![]));
    assert!(text(&changes).contains("primary none -> b, timeline 2, term 2"), "{changes:?}");
    world.tell(C, standby(2, true));
    assert_eq!(world.readers(), [C]);
    // The old one comes back as a standby of the new one.
    world.tell(A, standby(2, true)).tell(A, standby(2, true));
    assert_eq!(world.readers(), [A, C]);
}

#[test]
fn of_two_writable_nodes_the_higher_timeline_leads() {
    let mut world = World::settled();
    let changes = world.say(B, primary(2));
    assert_eq!((world.primary(), world.term()), (Some(B), 2));
    assert!(text(&changes).contains("more than one primary, following b: 2 nodes"), "{changes:?}");
    assert!(changes.iter().any(Change::is_alarming));
    assert_eq!(text(&world.say(B, primary(2))), "", "said once");
    world.tell(A, primary(1));
    assert_eq!((world.primary(), world.term()), (Some(B), 2));
}

#[test]
fn of_two_on_one_timeline_the_present_one_stays() {
    let mut world = World::settled();
    let changes = world.say(B, primary_at(1, 5000));
    assert_eq!((world.primary(), world.term()), (Some(A), 1));
    assert!(
        text(&changes).contains("following a: 2 nodes accept writes on timeline 1; it was"),
        "{changes:?}"
    );

    let mut world = World::new();
    world.tell(A, primary_at(1, 10)).tell(B, primary_at(1, 20)).tell(C, failed());
    assert_eq!(world.primary(), Some(B), "with none before, the furthest");
}

#[test]
fn a_dead_branch_is_not_followed_back() {
    let mut world = World::settled();
    world.kill(A).tell(B, primary(2)).tell(C, standby(2, true));
    world.kill(B);
    let mut changes = world.say(A, primary(1));
    changes.extend(world.say(A, primary(1)));
    assert_eq!((world.primary(), world.term()), (None, 2));
    assert!(text(&changes).contains("but b has led on timeline 2: following none"), "{changes:?}");
    // Someone rewound b on purpose.
    world.tell(B, standby(1, true)).tell(B, standby(1, true));
    assert_eq!((world.primary(), world.term()), (Some(A), 3));
}

#[test]
fn a_promotion_in_place_is_a_new_term() {
    let mut world = World::settled();
    world.tell(A, primary(2));
    assert_eq!((world.primary(), world.term(), world.readers()), (Some(A), 2, vec![]));
}

#[test]
fn refusing_a_connection_is_no_death_but_starting_up_voids_the_role() {
    let mut world = World::settled();
    let refused = || Report::Refused { reason: "sorry, too many clients already".to_owned() };
    for _ in 0..5 {
        world.tell(A, refused()).tell(B, refused());
    }
    assert_eq!((world.primary(), world.readers()), (Some(A), vec![C]));

    world.tell(A, Report::NotReady { reason: "the database system is starting up".to_owned() });
    assert_eq!((world.primary(), world.view(A).role.word()), (None, "unknown"));
    world.tell(A, primary(1));
    assert_eq!((world.primary(), world.term()), (Some(A), 1));
}

#[test]
fn nodes_of_another_cluster_are_refused() {
    let mut world = World::new();
    world.tell(A, facts(8, Standing::Primary { timeline: Timeline(9), position: Lsn(9) }));
    world.tell(B, primary(1)).tell(C, standby(1, true));
    assert_eq!((world.primary(), world.readers()), (Some(B), vec![C]));
    assert_eq!(world.observer.snapshot().system_identifier, Some(7));
    let reason = "system identifier 8 is not that of the cluster, 7".to_owned();
    assert_eq!(world.view(A).role, Role::Unknown { reason });
    // Later majorities do not turn the cluster over.
    world.tell(C, standby_of(8, 1, true));
    assert_eq!((world.primary(), world.readers()), (Some(B), vec![]));
}

#[test]
fn who_may_not_read_does_not() {
    let mut world = World::with(|node| match node.name.as_str() {
        "b" => Node { reads: false, ..node },
        "c" => Node { weight: 0, ..node },
        _ => node,
    });
    world.tell(A, primary(1)).tell(B, standby(1, true)).tell(C, standby(1, true));
    assert_eq!(world.readers(), []);
}

#[test]
fn without_any_primary_only_streaming_standbys_read() {
    let mut world = World::new();
    world.tell(A, failed()).tell(B, standby(3, true)).tell(C, standby(3, false));
    assert_eq!((world.primary(), world.readers()), (None, vec![B]));
}

#[test]
fn positions_move_within_one_version() {
    let mut world = World::settled();
    let version = world.observer.snapshot().version;
    let lag = |world: &World| match &world.view(B).role {
        Role::Standby(standby) => (standby.lag_bytes, standby.lag_time),
        other => panic!("b is {other:?}"),
    };
    assert_eq!(lag(&world), (Some(100), Some(Duration::from_secs(2))));
    world.tell(A, primary_at(1, 3000));
    assert_eq!((lag(&world).0, world.observer.snapshot().version), (Some(2100), version));
    let caught_up = Standing::Standby {
        timeline: Some(Timeline(1)),
        streaming: true,
        replayed: Some(Lsn(3000)),
        received: Some(Lsn(2000)),
        replay_age: Some(Duration::from_secs(60)),
    };
    world.tell(B, facts(7, caught_up));
    assert_eq!((lag(&world), world.readers()), ((Some(0), Some(Duration::ZERO)), vec![B, C]));
    world.kill(A);
    assert!(world.observer.snapshot().version > version);
    assert_eq!(lag(&world).0, None, "without a primary the distance is unknown");
}

#[test]
fn one_that_lags_too_far_takes_no_reads_until_it_is_half_way_back() {
    let at = |replayed| {
        let (timeline, replayed) = (Some(Timeline(1)), Some(Lsn(replayed)));
        let received = Some(Lsn(1_000_000));
        facts(7, Standing::Standby { timeline, streaming: true, replayed, received, replay_age: None })
    };
    let mut world = World::settled();
    world.tell(A, primary_at(1, 20_000)).tell(B, at(10_000)).tell(C, at(20_000));
    assert_eq!(world.readers(), [B, C]);
    world.tell(A, primary_at(1, 20_001));
    assert_eq!(world.readers(), [B, C], "it may have gone on as well");
    let changes = world.say(B, at(10_000));
    assert_eq!(
        (world.readers(), text(&changes).as_str()),
        (vec![C], "node b takes no reads: it lags too far behind\n")
    );
    world.tell(B, at(15_000));
    assert_eq!(world.readers(), [C]);
    world.tell(B, at(15_001));
    assert_eq!(world.readers(), [B, C]);
    assert_eq!(world.view(B).back_since, Some(world.now));
    // By time: b stays where it is, and the primary writes a little.
    for second in 0..12 {
        world.now += Duration::from_secs(1);
        world.tell(A, primary_at(1, 20_001 + second)).tell(B, at(20_001)).tell(C, at(20_001 + second));
        assert_eq!(world.readers().contains(&B), second < 10, "{second}");
    }
    // Without a primary it stays so, and whoever has not got its last words serves on.
    world.tell(A, primary_at(1, 900_000)).kill(A);
    world.now += Duration::from_secs(60);
    world.tell(B, at(20_001)).tell(C, at(20_010));
    assert_eq!((world.primary(), world.readers()), (None, vec![C]));
}

#[test]
fn one_that_comes_to_others_is_known_as_new() {
    let mut world = World::settled();
    assert!([B, C].iter().all(|id| world.view(*id).back_since.is_none()), "all came at the start");
    world.kill(B).tell(B, standby(1, true)).tell(B, standby(1, true));
    assert_eq!((world.view(B).back_since, world.readers()), (Some(world.now), vec![B, C]));
    let since = world.now;
    world.tell(B, standby(1, true)).tell(C, standby(1, true));
    assert_eq!((world.view(B).back_since, world.view(C).back_since), (Some(since), None));
    // With no other there is nobody to leave a share to.
    world.kill(B).kill(C).tell(C, standby(1, true)).tell(C, standby(1, true));
    assert_eq!((world.view(C).back_since, world.readers()), (None, vec![C]));
}
