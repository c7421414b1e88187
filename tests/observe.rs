//! The coordinator on real servers: roles, streaming, lag, promotion and death are seen by themselves.
#![allow(clippy::disallowed_methods)] // tests have tasks and a clock

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::coordinator::{self, Handle, Hint, Login, PlainConnector, Settings};
use bellwether::lab::{Cluster, Options};
use bellwether::pg::{Address, Timeline};
use bellwether::topology::{Node, NodeId, NodeName, Role, Snapshot};

/// A cluster of `nodes` and a coordinator that watches it.
struct Watched {
    cluster: Cluster,
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn new(nodes: usize) -> Self {
        Self::with_login(nodes, |_| ("bellwether", "bellwether"))
    }

    fn with_login(nodes: usize, login: impl Fn(&Cluster) -> (&'static str, &'static str)) -> Self {
        let cluster = Cluster::start(Options { nodes, ..Options::default() }).expect("a cluster");
        let (user, password) = login(&cluster);
        let node = |(id, name): (usize, &String)| {
            let port = cluster.port(name).expect("a node of the cluster");
            let address = match id % 2 {
                0 => Address::Tcp { host: "127.0.0.1".to_owned(), port },
                _ => Address::Unix { directory: cluster.socket_directory(), port },
            };
            Arc::new(Node {
                id: NodeId(id as u16),
                name: NodeName::new(name),
                address,
                weight: 1,
                reads: true,
                zone: None,
            })
        };
        let nodes = cluster.names().iter().enumerate().map(node).collect();
        let settings = Settings::new(Login {
            user: user.to_owned(),
            password: Some(password.to_owned()),
            database: "postgres".to_owned(),
        });
        let (handle, driver) = coordinator::start(settings, nodes, Arc::new(PlainConnector));
        let driver = tokio::spawn(driver.run());
        Watched { cluster, handle, driver }
    }

    /// Waits until the snapshot is as wanted, and returns it.
    async fn until(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let snapshot = self.handle.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < give_up, "not seen: {what}; the last snapshot is {snapshot:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn sql(&self, node: &str, sql: &str) -> String {
        self.cluster.sql(node, sql).expect("the statement runs")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn primary(snapshot: &Snapshot) -> Option<&str> {
    snapshot.primary().map(|view| view.node.name.as_str())
}

fn readers(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.readable_standbys().map(|view| view.node.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_and_a_death_are_seen() {
    let watched = Watched::new(3);
    let first = watched.until("a leads", |s| primary(s) == Some("a") && readers(s) == ["b", "c"]).await;
    assert_eq!((first.term, first.nodes[0].timeline), (1, Some(Timeline(1))));
    assert!(first.nodes[0].server_version.is_some_and(|version| version >= 130_000), "{first:?}");
    let identifier = watched.sql("a", "SELECT system_identifier FROM pg_control_system()");
    assert_eq!(first.system_identifier.map(|id| id.to_string()).as_deref(), Some(identifier.trim()));

    // Killed without a word: its standbys serve on, then one of them is promoted.
    watched.cluster.kill9("a").expect("a dies");
    watched.handle.hint(Hint::ConnectFailed(NodeId(0)));
    let leaderless = watched.until("a is gone", |s| s.primary.is_none()).await;
    assert_eq!((readers(&leaderless), leaderless.term), (vec!["b", "c"], 1));

    let mut changes = watched.handle.watch();
    changes.mark_unchanged();
    watched.cluster.promote("b").expect("b is promoted");
    let promoted = watched.until("b leads", |s| primary(s) == Some("b")).await;
    assert_eq!((promoted.term, promoted.nodes[1].timeline), (2, Some(Timeline(2))));
    assert!(changes.has_changed().expect("the driver runs"), "whoever waits for a primary is woken");
    watched.cluster.follow("c", "b").expect("c follows b");
    watched.until("c follows b", |s| readers(s) == ["c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_and_a_lost_stream_are_seen() {
    let watched = Watched::new(2);
    watched.until("b reads", |s| readers(s) == ["b"]).await;
    watched.cluster.pause_replay("b").expect("replay pauses");
    watched.sql("a", "CREATE TABLE filling AS SELECT generate_series(1, 10000) AS n");
    let lagging = watched.until("lag", |s| lag_bytes(s).is_some_and(|bytes| bytes > 100_000)).await;
    assert_eq!(readers(&lagging), ["b"], "how much lag is too much is the router's affair");
    watched.cluster.resume_replay("b").expect("replay goes on");
    watched.until("no lag", |s| lag_bytes(s) == Some(0) && lag_time(s) == Some(Duration::ZERO)).await;

    let version = watched.handle.snapshot().version;
    watched.sql("b", "ALTER SYSTEM SET primary_conninfo = ''");
    watched.sql("b", "SELECT pg_reload_conf()");
    let cut = watched.until("b is cut off", |s| readers(s).is_empty()).await;
    assert!(cut.version > version && primary(&cut) == Some("a"), "{cut:?}");
    let streams = |s: &Snapshot| matches!(&s.nodes[1].role, Role::Standby(standby) if standby.streaming);
    assert!(!streams(&cut));
    watched.sql("b", "ALTER SYSTEM RESET primary_conninfo");
    watched.sql("b", "SELECT pg_reload_conf()");
    watched.until("b is back", |s| streams(s) && readers(s) == ["b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_role_sees_enough_and_ending_its_session_is_no_death() {
    let watched = Watched::with_login(2, |cluster| {
        cluster.sql("a", "CREATE ROLE onlooker LOGIN PASSWORD 'onlooker'").expect("a role");
        cluster.wait_replayed().expect("b has it too");
        ("onlooker", "onlooker")
    });
    let seen = watched.until("b reads", |s| primary(s) == Some("a") && readers(s) == ["b"]).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'onlooker'";
    assert_eq!(watched.sql("a", end).trim(), "1");
    watched.handle.hint(Hint::NotPrimary(NodeId(0)));
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'onlooker'";
    let give_up = Instant::now() + Duration::from_secs(30);
    while watched.sql("a", count).trim() != "1" {
        assert!(Instant::now() < give_up, "the probe does not come back");
    }
    assert_eq!(watched.handle.snapshot().version, seen.version, "nothing was lost meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_says_so() {
    let watched = Watched::with_login(1, |_| ("demo", "wrong"));
    let wanted = |s: &Snapshot| match &s.nodes[0].role {
        Role::Unknown { reason } => reason.contains("password authentication failed"),
        _ => false,
    };
    let seen = watched.until("the server's words", wanted).await;
    assert_eq!(seen.primary, None);
}

fn lag_bytes(snapshot: &Snapshot) -> Option<u64> {
    match &snapshot.nodes[1].role {
        Role::Standby(standby) => standby.lag_bytes,
        _ => None,
    }
}

fn lag_time(snapshot: &Snapshot) -> Option<Duration> {
    match &snapshot.nodes[1].role {
        Role::Standby(standby) => standby.lag_time,
        _ => None,
    }
}
