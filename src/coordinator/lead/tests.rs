//! Questions and commands on real servers, as a role without superuser rights.

use std::collections::BTreeSet;
use std::time::Instant;

use super::aside::Aside;
use super::hand::Hand;
use super::prober::Prober;
use super::*;
use crate::cluster::{
    CallId, Command, Done, Epoch, Facts, Key, Order, ProxyName, Record, Report, Revision, Standing,
    SyncNames, Txn, TxnAnswer, Upstream,
};
use crate::coordinator::connector::{Connecting, PlainConnector};
use crate::lab::{Cluster, Options};
use crate::pg::Timeline;
use crate::store::{Memory, records};
use crate::topology::NodeName;

/// A cluster, and everything to ask and command its nodes with.
struct World {
    cluster: Cluster,
    reach: Arc<Reach>,
    epoch: Revision,
}

impl World {
    async fn new(nodes: usize) -> World {
        let cluster = Cluster::start(Options { nodes, ..Options::default() }).expect("a cluster");
        let store = Arc::new(Memory::new(Duration::from_millis(10)));
        let login = |name: &str| Login {
            user: name.to_owned(),
            password: Some(name.to_owned()),
            database: "postgres".to_owned(),
        };
        let reach = Arc::new(Reach {
            login: login("coordinator"),
            connector: Arc::new(PlainConnector),
            store,
            replication: "user=replicator password=replicator".parse().expect("a connection string"),
            lock: (LOCK_CLASS, lock_key("test")),
            timings: Timings { command: Duration::from_secs(1), ..Timings::agentless() },
            counts: OnceLock::new(),
            failpoint: Failpoint::from_environment(),
        });
        let mut world = World { cluster, reach, epoch: Revision(0) };
        world.set_epoch(1).await;
        world
    }

    async fn set_epoch(&mut self, number: u64) {
        let epoch = Epoch { number, coordinator: ProxyName::new("p"), incarnation: 1 };
        let txn = Txn::new().if_at(Key::Epoch, self.epoch).put(Key::Epoch, Record::Epoch(epoch));
        let outcome = records::commit(self.reach.store.as_ref(), &txn).await;
        let TxnAnswer::Applied(at) = records::answer(&outcome) else { panic!("nobody else writes") };
        self.epoch = at;
    }

    fn node(&self, name: &str) -> Arc<Node> {
        target::node(&NodeName::new(name), &self.address(name))
    }

    fn address(&self, name: &str) -> String {
        format!("127.0.0.1:{}", self.cluster.port(name).expect("a node of the cluster"))
    }

    fn prober(&self, name: &str) -> Prober {
        Prober::new(self.node(name), self.reach.clone(), Aside::new(self.node(name), self.reach.clone()))
    }

    fn hand(&self, name: &str) -> Hand {
        Hand::new(self.node(name), self.reach.clone())
    }

    fn order(&self, name: &str, epoch: u64, command: Command) -> Order {
        Order { call: CallId(0), node: NodeName::new(name), address: self.address(name), epoch, command }
    }

    async fn done(&self, hand: &mut Hand, name: &str, command: Command) -> Done {
        hand.carry_out(&self.order(name, 1, command)).await
    }
}

/// Asks until the facts are as wanted.
async fn until(prober: &mut Prober, what: &str, wanted: impl Fn(&Facts) -> bool) -> Facts {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let report = prober.ask(Duration::from_secs(5)).await;
        match report {
            Report::Answered(facts) if wanted(&facts) => return *facts,
            other => assert!(Instant::now() < give_up, "not seen: {what}; the last report is {other:?}"),
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Takes its time to connect, as a busy server does.
struct Slow;

impl Connect for Slow {
    fn connect<'a>(&'a self, node: &'a Node) -> Connecting<'a> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            PlainConnector.connect(node).await
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_slow_to_log_in_is_seen_in_the_end() {
    let mut world = World::new(1).await;
    Arc::get_mut(&mut world.reach).expect("nobody shares it yet").connector = Arc::new(Slow);
    let mut prober = world.prober("a");
    let give_up = Instant::now() + Duration::from_secs(60);
    let mut silences = 0;
    while prober.ask(Duration::from_millis(100)).await == Report::Silent {
        silences += 1;
        assert!(Instant::now() < give_up, "never seen");
    }
    assert!(silences >= 2, "each took longer than was waited for");
    assert!(matches!(prober.ask(Duration::from_secs(5)).await, Report::Answered(_)));
}

fn names(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| NodeName::new(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_recruited_promoted_and_followed() {
    let world = World::new(3).await;
    let (mut a, mut b, mut c) = (world.prober("a"), world.prober("b"), world.prober("c"));
    let leader = until(&mut a, "a leads", Facts::is_primary).await;
    let follower =
        until(&mut b, "b streams", |facts| facts.standby().is_some_and(|standby| standby.receiver.is_some()))
            .await;
    assert_eq!(leader.system_identifier, follower.system_identifier);
    assert_eq!((&leader.lineage, leader.lineage.last().timeline), (&follower.lineage, Timeline(1)));
    assert_eq!(follower.standby().map(|standby| standby.upstream.clone()), Some(Upstream::Foreign));
    assert!(follower.slots.is_empty(), "the lab's own slots are not ours: {:?}", follower.slots);

    let (mut hand_b, mut hand_c) = (world.hand("b"), world.hand("c"));
    let refused = world.done(&mut world.hand("a"), "a", Command::Recruit { term: 2 }).await;
    assert_eq!(refused, Done::Failed("it is not in recovery".to_owned()));
    for (hand, name) in [(&mut hand_b, "b"), (&mut hand_c, "c")] {
        assert_eq!(world.done(hand, name, Command::Recruit { term: 2 }).await, Done::Well, "{name}");
    }
    let recruited = |facts: &Facts| {
        facts.standby().is_some_and(|standby| {
            let away = standby.upstream == Upstream::DeadEnd { term: 2 } && standby.receiver.is_none();
            away && standby.idle && !standby.restores
        })
    };
    until(&mut b, "b is recruited", recruited).await;
    until(&mut c, "c is recruited", recruited).await;

    let stale = world.done(&mut hand_b, "b", Command::Promote { term: 3 }).await;
    assert_eq!(stale, Done::Failed("it was not recruited for term 3".to_owned()));
    assert!(until(&mut b, "b stays", |_| true).await.standby().is_some());
    assert_eq!(world.done(&mut hand_b, "b", Command::SetSlots(names(&["a", "c"]))).await, Done::Well);
    assert_eq!(world.done(&mut hand_b, "b", Command::Promote { term: 2 }).await, Done::Well);
    let leads = until(&mut b, "b leads", Facts::is_primary).await;
    assert_eq!(world.done(&mut hand_b, "b", Command::Promote { term: 2 }).await, Done::Well, "twice is once");
    let branch = leads.lineage.last();
    assert_eq!((branch.timeline, leads.slots), (Timeline(2), names(&["a", "c"])));
    assert!(branch.forked_at > crate::pg::Lsn(0) && branch.forked_at <= leads.lineage.last().forked_at);

    let follow = Command::Follow { leader: NodeName::new("b"), address: world.address("b"), term: 2 };
    assert_eq!(world.done(&mut hand_c, "c", follow).await, Done::Well);
    let follows = until(&mut c, "c streams from b", |facts| {
        facts.standby().is_some_and(|standby| standby.receiver.is_some()) && facts.lineage == leads.lineage
    })
    .await;
    let upstream = follows.standby().map(|standby| standby.upstream.clone());
    assert_eq!(upstream, Some(Upstream::Leader { node: NodeName::new("b"), term: 2 }));
    let seen =
        "SELECT application_name FROM pg_stat_replication JOIN pg_replication_slots ON pid = active_pid";
    assert_eq!(world.cluster.sql("b", seen).unwrap(), "c", "by its own name, over a slot of ours");
    assert_eq!(world.done(&mut hand_b, "b", Command::SetSlots(names(&["c"]))).await, Done::Well);
    until(&mut b, "the slot of a is gone", |facts| facts.slots == names(&["c"])).await;
    assert_eq!(world.done(&mut hand_b, "b", Command::Heartbeat).await, Done::Well);
    until(&mut c, "the beat is heard", |facts| {
        facts
            .standby()
            .and_then(|standby| standby.receiver)
            .is_some_and(|one| one.heard < Duration::from_secs(1))
    })
    .await;
}

/// Whatever the startup process is at when it is asked: a walreceiver that has just been started, or has just failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_not_slept_over() {
    let world = World::new(5).await;
    for (name, after) in [("b", 0), ("c", 15), ("d", 30), ("e", 45)] {
        for sql in ["ALTER SYSTEM SET wal_retrieve_retry_interval = '60s'", "SELECT pg_reload_conf()"] {
            world.cluster.sql(name, sql).expect("a superuser's");
        }
        let (mut hand, mut prober) = (world.hand(name), world.prober(name));
        assert_eq!(world.done(&mut hand, name, Command::Recruit { term: 2 }).await, Done::Well, "{name}");
        tokio::time::sleep(Duration::from_millis(after)).await;
        assert_eq!(world.done(&mut hand, name, Command::Promote { term: 2 }).await, Done::Well, "{name}");
        let asked = Instant::now();
        until(&mut prober, "it leads", Facts::is_primary).await;
        assert!(asked.elapsed() < Duration::from_secs(30), "{name} slept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_bites_and_commits_that_hang_are_ended() {
    let world = World::new(2).await;
    let (mut a, mut hand) = (world.prober("a"), world.hand("a"));
    assert_eq!(world.done(&mut hand, "a", Command::ProbeCommit).await, Done::Well);
    until(&mut a, "nobody is waited for", |facts| facts.sync_names == SyncNames::Nobody).await;
    assert_eq!(world.done(&mut hand, "a", Command::SetSyncNames(SyncNames::Fence)).await, Done::Well);
    until(&mut a, "the fence is in force", |facts| facts.sync_names == SyncNames::Fence).await;

    assert_eq!(world.done(&mut hand, "a", Command::ProbeCommit).await, Done::Unknown);
    // The commit that hangs is ended before the next order, and is not taken for a success.
    assert_eq!(world.done(&mut hand, "a", Command::Own).await, Done::Well);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    assert_eq!(world.cluster.sql("a", waiting).unwrap(), "0");
    assert_eq!(world.done(&mut hand, "a", Command::Heartbeat).await, Done::Well, "a beat waits for nobody");

    let quorum = SyncNames::Any { k: 1, names: names(&["b"]) };
    assert_eq!(world.done(&mut hand, "a", Command::SetSyncNames(quorum.clone())).await, Done::Well);
    until(&mut a, "b is waited for", |facts| facts.sync_names == quorum).await;
    assert_eq!(world.done(&mut hand, "a", Command::ProbeCommit).await, Done::Well);
    let flushed = until(&mut a, "a leads", Facts::is_primary).await;
    assert!(matches!(flushed.standing, Standing::Primary { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_clients_are_ended_and_ours_stay() {
    let world = World::new(1).await;
    let (mut hand, mut prober) = (world.hand("a"), world.prober("a"));
    until(&mut prober, "a leads", Facts::is_primary).await;
    let login =
        Login { user: "demo".to_owned(), password: Some("demo".to_owned()), database: "demo".to_owned() };
    let client = Session::open(&world.node("a"), &login, &PlainConnector, "an application").await;
    let client = client.expect("a client");
    assert_eq!(world.done(&mut hand, "a", Command::TerminateSessions).await, Done::Well);
    let give_up = Instant::now() + Duration::from_secs(10);
    while client.run("SELECT 1").await.is_ok() {
        assert!(Instant::now() < give_up, "the client is still there");
    }
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'coordinator'";
    assert_eq!(world.cluster.sql("a", ours).unwrap(), "2");
    assert_eq!(world.done(&mut hand, "a", Command::Checkpoint).await, Done::Well);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_yesterday_loses_its_session_and_then_its_right() {
    let mut world = World::new(1).await;
    let (mut old, mut new) = (world.hand("a"), world.hand("a"));
    assert_eq!(world.done(&mut old, "a", Command::Own).await, Done::Well);
    world.set_epoch(2).await;
    let own = world.order("a", 2, Command::Own);
    assert_eq!(new.carry_out(&own).await, Done::Well);
    // Its session is gone: the first order may find out only by sending, the next one asks the store.
    let first = world.done(&mut old, "a", Command::Heartbeat).await;
    assert!(matches!(first, Done::Unknown | Done::Deposed), "{first:?}");
    assert_eq!(world.done(&mut old, "a", Command::Heartbeat).await, Done::Deposed);
    assert_eq!(new.carry_out(&own).await, Done::Well, "the right one takes it back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_of_not_answering_are_told_apart() {
    let world = World::new(1).await;
    let mut prober = world.prober("a");
    until(&mut prober, "a leads", Facts::is_primary).await;
    world.cluster.freeze("a").unwrap();
    assert_eq!(prober.ask(Duration::from_millis(300)).await, Report::Silent);
    world.cluster.thaw("a").unwrap();
    until(&mut prober, "a is back", Facts::is_primary).await;
    world.cluster.kill_postmaster("a").unwrap();
    // A backend that is busy answers once more before it notices.
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        match prober.ask(Duration::from_secs(5)).await {
            Report::Gone => break,
            other => assert!(Instant::now() < give_up, "{other:?}"),
        }
    }
}
