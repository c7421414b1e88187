//! A cluster that is told what to be, and answers wishes as it is told.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bellwether::api::*;
use bellwether::pg::{Address, Lsn, Timeline};
use bellwether::topology::{Node, NodeId, NodeName, NodeView, Role, Snapshot, Standby};
use tokio::sync::mpsc;

/// How it answers wishes: the events one after the other; no end means that it breaks off.
pub type Answers = fn(&Wish) -> Vec<Progress>;

/// What it knows, and what it was asked.
#[derive(Clone)]
pub struct Scripted {
    pub snapshot: Snapshot,
    pub overview: Overview,
    pub facts: Vec<NodeFacts>,
    pub history: Result<Vec<Past>, End>,
    pub answers: Answers,
    /// Whether the channel stays open when the events are out.
    pub hangs: bool,
    pub asked: Arc<Mutex<Vec<(Wish, Requester)>>>,
}

impl Scripted {
    /// A leads, B streams with no lag and is synchronous, C is 24 MB behind and takes no reads.
    pub fn healthy() -> Scripted {
        let standby = |behind: u64| {
            Role::Standby(Standby {
                streaming: true,
                replayed: Lsn(0x1A_0500_0000 - behind),
                lag_bytes: Some(behind),
                lag_time: Some(Duration::from_millis(behind >> 13)),
            })
        };
        let primary = Role::Primary { position: Lsn(0x1A_0500_0000) };
        let nodes = vec![
            view(0, "a", primary, false),
            view(1, "b", standby(0), true),
            view(2, "c", standby(24 << 20), false),
        ];
        let checked = |tenths: u64| Some(Duration::from_millis(tenths * 100));
        let plain = |tenths| NodeFacts { checked: checked(tenths), ..NodeFacts::default() };
        let facts = vec![
            plain(3),
            NodeFacts { synchronous: true, ..plain(3) },
            NodeFacts { drained: true, no_reads: Some("it is drained".to_owned()), ..plain(4) },
        ];
        let since = SystemTime::now() - Duration::from_secs(3 * 86_400 + 4 * 3600 + 600);
        Scripted {
            snapshot: Snapshot {
                version: 9,
                term: 8,
                primary: Some(NodeId(0)),
                nodes,
                system_identifier: Some(7_277_694_203_142_172_922),
            },
            overview: Overview {
                failover: "automatic",
                primary_since: Some(since),
                store: Some(StoreHealth { kind: "etcd", reachable: 3, members: 3, silent: Vec::new() }),
                proxies: Some(2),
                ..Overview::default()
            },
            facts,
            history: Ok(history()),
            answers: |_| vec![end(Outcome::Done, "done")],
            hangs: false,
            asked: Arc::default(),
        }
    }

    /// B cannot be reached, and nobody leads.
    pub fn headless() -> Scripted {
        let mut world = Scripted::healthy();
        for (node, reason) in [(0, "connection refused"), (1, "no answer within 800ms")] {
            world.snapshot.nodes[node].role = Role::Unknown { reason: reason.to_owned() };
            world.snapshot.nodes[node].serves_reads = false;
        }
        world.snapshot.primary = None;
        world.overview.operation =
            Some("failover: waiting for the old primary's permissions to end".to_owned());
        world
    }

    /// One that answers wishes so.
    pub fn answering(answers: Answers) -> Scripted {
        Scripted { answers, ..Scripted::healthy() }
    }

    /// What it was last asked for.
    pub fn last_asked(&self) -> (Wish, Requester) {
        self.asked.lock().expect("nothing panics here").last().cloned().expect("it was asked for something")
    }
}

impl Operations for Scripted {
    fn request(&self, wish: Wish, by: Requester) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(32);
        (self.answers)(&wish).into_iter().for_each(|event| sender.try_send(event).expect("there is room"));
        self.asked.lock().expect("nothing panics here").push((wish, by));
        if self.hangs {
            // Whoever asked goes away at some time.
            tokio::spawn(async move { sender.closed().await });
        }
        receiver
    }

    fn overview(&self) -> Overview {
        self.overview.clone()
    }

    fn node(&self, node: NodeId) -> NodeFacts {
        self.facts[usize::from(node.0)].clone()
    }

    fn history(&self) -> Later<Vec<Past>> {
        let history = self.history.clone();
        Box::pin(async move { history })
    }

    fn explain(&self) -> Explanation {
        let candidate = |name: &str, may_lead, reason: &str| Candidate {
            name: name.to_owned(),
            may_lead,
            reason: reason.to_owned(),
        };
        Explanation {
            verdict: "a leads in term 8".to_owned(),
            waits_for: vec!["c to be less than 16 MB behind".to_owned()],
            nodes: vec![
                candidate("a", None, "it leads"),
                candidate("b", Some(true), "it has all that a has acknowledged"),
                candidate("c", Some(false), "24 MB behind, and max_lag_on_failover is 16 MB"),
            ],
        }
    }
}

/// The end of a wish.
pub fn end(outcome: Outcome, message: &str) -> Progress {
    Progress::End(End::new(outcome, message))
}

/// A step that is behind us.
pub fn step(seconds: f64, what: &str, note: Option<&str>) -> Progress {
    Progress::Step { seconds, step: planned(what, note) }
}

/// A step to come.
pub fn planned(what: &str, note: Option<&str>) -> Step {
    Step { what: what.to_owned(), note: note.map(str::to_owned) }
}

/// Where it would send a statement.
pub fn route(question: RouteQuestion) -> Later<RouteAnswer> {
    Box::pin(async move {
        if question.sql == "fail" {
            return Err(End::new(Outcome::Unreachable, "this proxy is starting or stopping"));
        }
        let statement = |sql: &str, rule, because, names: &[&str]| RouteStatement {
            sql: sql.to_owned(),
            rule,
            because,
            names: names.iter().map(ToString::to_string).collect(),
        };
        let locks = "It locks rows or tables, which a standby cannot.";
        Ok(RouteAnswer {
            database: question.database.unwrap_or_else(|| "postgres".to_owned()),
            user: question.user.unwrap_or_else(|| "bellwether".to_owned()),
            target: "primary",
            node: Some("a".to_owned()),
            rule: "locks",
            because: locks,
            statements: vec![
                statement(&question.sql, "locks", locks, &[]),
                statement(
                    "select f()",
                    "function",
                    "It calls one.",
                    &["function f() is not known to be harmless"],
                ),
            ],
            catalog_loaded: false,
        })
    })
}

fn view(id: u16, name: &str, role: Role, serves_reads: bool) -> NodeView {
    let node = Node {
        id: NodeId(id),
        name: NodeName::new(name),
        address: Address::Tcp { host: format!("10.0.0.{}", id + 1), port: 5432 },
        weight: 1,
        reads: true,
        zone: None,
    };
    NodeView {
        node: Arc::new(node),
        role,
        timeline: Some(Timeline(7)),
        server_version: Some(150_018),
        serves_reads,
        back_since: None,
        gone: false,
    }
}

fn history() -> Vec<Past> {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let name = |name| Some(NodeName::new(name));
    vec![
        Past {
            at: at(1_795_061_527),
            kind: "failover",
            from: name("b"),
            to: name("a"),
            timeline: Some(7),
            term: 8,
            down: Some(Duration::from_millis(4200)),
            steps: vec![("freeze", Duration::from_millis(3900)), ("promote", Duration::from_millis(300))],
            lost_bytes: Some(0),
            reason: "b: 3 health checks missed (connection refused)".to_owned(),
            by: Some("automatic".to_owned()),
        },
        Past {
            at: at(1_793_613_600),
            kind: "switchover",
            from: name("a"),
            to: name("b"),
            timeline: Some(6),
            term: 6,
            down: Some(Duration::from_millis(400)),
            steps: Vec::new(),
            lost_bytes: None,
            reason: "kernel patch".to_owned(),
            by: Some("ops@bastion".to_owned()),
        },
    ]
}
