mod wire;

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answers::{Answer, Asked};
use super::operations::*;
use super::routes::{Handler, find};
use super::*;
use crate::pg::{Address, Lsn, Timeline};
use crate::telemetry::{Metrics, Names};
use crate::topology::{Node, NodeId, NodeName, NodeView, Role, Snapshot, Standby};

/// `a` is primary if `primary`, else not reached; `b` is a standby that takes reads if `reads`.
fn snapshot(primary: bool, reads: bool) -> Snapshot {
    let node = |id: u16, name: &str| {
        let address = Address::Tcp { host: name.to_owned(), port: 5432 };
        Arc::new(Node {
            id: NodeId(id),
            name: NodeName::new(name),
            address,
            weight: 1,
            reads: true,
            zone: None,
        })
    };
    let role = match primary {
        true => Role::Primary { position: Lsn(0x20) },
        false => Role::Unknown { reason: "connection refused".to_owned() },
    };
    let standby = Standby { streaming: reads, replayed: Lsn(0x10), lag_bytes: Some(16), lag_time: None };
    let view = |node, role, serves_reads| NodeView {
        node,
        role,
        timeline: Some(Timeline(2)),
        server_version: Some(150_000),
        serves_reads,
        back_since: None,
        gone: false,
    };
    Snapshot {
        version: 3,
        term: 2,
        primary: primary.then_some(NodeId(0)),
        nodes: vec![view(node(0, "a"), role, false), view(node(1, "b"), Role::Standby(standby), reads)],
        system_identifier: Some(7_710_326_881_801_155_286),
    }
}

/// Knows that the first node was checked, and does as told.
struct Fake;

impl Operations for Fake {
    fn request(&self, wish: Wish, by: Requester) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(4);
        let step =
            |what: &str| Progress::Step { seconds: 0.25, step: Step { what: what.to_owned(), note: None } };
        let events = match wish {
            Wish::Pause => {
                vec![Progress::End(End::new(Outcome::Refused, "no").instead("yes", "bellwether resume"))]
            }
            Wish::Drain(node) => {
                let by = by.by.unwrap_or_default();
                vec![step(&format!("{node} drained by {by}")), Progress::End(End::new(Outcome::Done, "done"))]
            }
            // Breaks off.
            _ => vec![step("begun")],
        };
        events.into_iter().for_each(|event| sender.try_send(event).expect("there is room"));
        receiver
    }

    fn overview(&self) -> Overview {
        let since = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_061_527));
        Overview { failover: "observe", primary_since: since, ..Overview::default() }
    }

    fn node(&self, node: NodeId) -> NodeFacts {
        let no_reads = (node.0 == 1).then(|| "it does not stream".to_owned());
        NodeFacts { checked: Some(std::time::Duration::from_millis(300)), no_reads, ..NodeFacts::default() }
    }

    fn history(&self) -> Later<Vec<Past>> {
        let past = Past {
            at: std::time::UNIX_EPOCH,
            kind: "observed",
            from: Some(NodeName::new("b")),
            to: Some(NodeName::new("a")),
            timeline: Some(2),
            term: 2,
            down: Some(std::time::Duration::from_millis(1500)),
            steps: Vec::new(),
            lost_bytes: None,
            reason: "it was promoted".to_owned(),
            by: None,
        };
        Box::pin(async move { Ok(vec![past]) })
    }

    fn explain(&self) -> Explanation {
        Explanation { verdict: "all is well".to_owned(), ..Explanation::default() }
    }
}

fn sources(snapshot: Snapshot) -> Sources {
    let names = Names {
        routes: &[],
        rules: &[],
        pins: &[],
        client_states: &[],
        rejections: &[],
        healings: &[],
        cancels: &[],
        fallbacks: &[],
        freshness: &[],
    };
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    let metrics = Arc::new(Metrics::new(&names, snapshot.clone()));
    Sources {
        cluster: "orders".to_owned(),
        snapshot,
        metrics,
        pools: Box::new(Vec::new),
        refusing: Box::new(|| None),
        operations: Arc::new(Fake),
        route: Box::new(|question| {
            let end = End::new(Outcome::Failed, format!("asked for {}", question.sql));
            Box::pin(async move { Err(end) })
        }),
    }
}

/// Answers what needs no waiting.
fn answer(sources: &Sources, method: &Method, target: &str, accept: Option<&str>) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked { node: None, query: query.to_owned(), accept: accept.map(str::to_owned) };
    match find(method, path, &mut asked) {
        Ok(Handler::Now(answer)) => answer(sources, &asked),
        Ok(_) => panic!("{path} is not answered at once"),
        Err(answer) => answer,
    }
}

fn get(sources: &Sources, path: &str) -> (StatusCode, Value) {
    let Answer { status, body, .. } = answer(sources, &Method::GET, path, None);
    (status, serde_json::from_str(&body).expect("the answer is JSON"))
}

#[test]
fn readiness_follows_what_could_be_served() {
    let cases = [
        ((true, true), StatusCode::OK, (true, true)),
        ((true, false), StatusCode::OK, (true, true)),
        ((false, true), StatusCode::OK, (true, false)),
        ((false, false), StatusCode::SERVICE_UNAVAILABLE, (false, false)),
    ];
    for ((primary, reads), expected, (readable, writable)) in cases {
        let (status, body) = get(&sources(snapshot(primary, reads)), "/readyz");
        assert_eq!(status, expected);
        assert_eq!((&body["reads"], &body["writes"]), (&json!(readable), &json!(writable)));
    }
    let (_, body) = get(&sources(snapshot(false, false)), "/healthz");
    let expected = json!(["there is no primary, and no standby takes reads", "a: connection refused"]);
    assert_eq!(body["reasons"], expected);
}

#[test]
fn a_draining_proxy_is_alive_but_not_ready() {
    let mut sources = sources(snapshot(true, true));
    sources.refusing = Box::new(|| Some("draining".to_owned()));
    let (status, body) = get(&sources, "/readyz");
    assert_eq!((status, &body["reasons"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(["draining"])));
    assert_eq!(get(&sources, "/livez").0, StatusCode::OK);
}

#[test]
fn the_status_shows_the_snapshot() {
    let mut sources = sources(snapshot(true, true));
    let pool = PoolStatus { node: "a".to_owned(), idle: 2, ..PoolStatus::default() };
    sources.pools = Box::new(move || vec![pool.clone()]);
    let (status, body) = get(&sources, "/api/v1/status");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["primary"], "a");
    assert_eq!(body["system_identifier"], "7710326881801155286");
    assert_eq!((&body["nodes"][0]["role"], &body["nodes"][0]["lsn"]), (&json!("primary"), &json!("0/20")));
    let b = &body["nodes"][1];
    assert_eq!(
        (&b["role"], &b["state"], &b["replay_lsn"]),
        (&json!("standby"), &json!("streaming"), &json!("0/10"))
    );
    assert_eq!((&b["lag_bytes"], &b["lag_seconds"], &b["timeline"]), (&json!(16), &Value::Null, &json!(2)));
    assert_eq!(body["pools"][0]["idle"], 2);
}

#[test]
fn what_is_not_there_is_refused_in_json() {
    let sources = sources(snapshot(true, true));
    assert_eq!(get(&sources, "/nothing").0, StatusCode::NOT_FOUND);
    let refused = answer(&sources, &Method::POST, "/metrics", None);
    assert_eq!((refused.status, refused.content_type), (StatusCode::METHOD_NOT_ALLOWED, "application/json"));
}

#[test]
fn metrics_are_written_as_asked() {
    let sources = sources(snapshot(true, true));
    let plain = answer(&sources, &Method::GET, "/metrics", Some("text/plain"));
    assert!(plain.content_type.starts_with("text/plain") && plain.body.contains("bellwether_writable 1.0\n"));
    let open = answer(&sources, &Method::GET, "/metrics", Some("application/openmetrics-text;version=1.0.0"));
    assert!(open.content_type.starts_with("application/openmetrics-text") && open.body.ends_with("# EOF\n"));
}

#[test]
fn checks_answer_for_this_proxys_view() {
    let ok = |sources: &Sources, path: &str| get(sources, path).0 == StatusCode::OK;
    let every = [
        "/primary",
        "/replica",
        "/read-only",
        "/sync",
        "/async",
        "/health",
        "/nodes/a/primary",
        "/nodes/b/replica",
    ];
    for (world, expected) in [
        ((true, true), [true, true, true, false, true, true, true, true]),
        ((true, false), [true, false, true, false, false, true, true, false]),
        ((false, true), [false, true, true, false, true, true, false, true]),
        ((false, false), [false; 8]),
    ] {
        let sources = sources(snapshot(world.0, world.1));
        assert_eq!(every.map(|path| ok(&sources, path)), expected, "{world:?}");
    }
    let mut sources = sources(snapshot(true, true));
    // b is 16 bytes behind.
    for (path, expected) in [
        ("/replica?lag=16", true),
        ("/replica?lag=15", false),
        ("/replica?other=1&lag=1kB", true),
        ("/read-only?lag=0", true),
        ("/nodes/b/replica?lag=15", false),
        ("/nodes/b/primary", false),
        ("/nodes/a/replica", false),
    ] {
        assert_eq!(ok(&sources, path), expected, "{path}");
    }
    assert_eq!(get(&sources, "/replica?lag=much").0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&sources, "/nodes/c/primary").0, StatusCode::NOT_FOUND);
    sources.refusing = Box::new(|| Some("draining".to_owned()));
    assert_eq!(get(&sources, "/primary").1["reason"], "draining");
}

#[test]
fn sizes_are_read_as_postgresql_writes_them() {
    let sizes = ["0", "10", "1kB", "10MB", "2 GB", "1TB", "", "kB", "1.5MB", "1XB", "99999999999TB"];
    let bytes = sizes.map(super::checks::size);
    let expected = [Some(0), Some(10), Some(1024), Some(10 << 20), Some(2 << 30), Some(1 << 40)];
    assert_eq!((&bytes[..6], &bytes[6..]), (&expected[..], &[None; 5][..]));
}

#[test]
fn the_verdict_names_what_is_wrong() {
    let (_, body) = get(&sources(snapshot(true, true)), "/api/v1/status");
    assert_eq!(
        (&body["schema"], &body["verdict"], &body["failover"]),
        (&json!(1), &json!("healthy"), &json!("observe"))
    );
    assert_eq!(body["summary"], "a is the primary, 1 standby takes reads");
    assert_eq!(
        (&body["primary_since"], &body["nodes"][0]["checked_seconds"]),
        (&json!("2026-11-19T04:12:07Z"), &json!(0.3))
    );
    let (_, body) = get(&sources(snapshot(true, false)), "/api/v1/status");
    assert_eq!(body["verdict"], "degraded");
    assert_eq!(body["warnings"], json!(["b: takes no reads: it does not stream"]));
    let (_, body) = get(&sources(snapshot(false, true)), "/api/v1/status");
    assert_eq!(
        (&body["verdict"], &body["primary"], &body["primary_since"]),
        (&json!("no_primary"), &Value::Null, &Value::Null)
    );
    // Unknown is null, whatever it is.
    let a = &body["nodes"][0];
    assert_eq!(
        (&a["role"], &a["state"], &a["reason"]),
        (&Value::Null, &Value::Null, &json!("connection refused"))
    );
}

#[test]
fn members_have_patronis_shape() {
    let (_, body) = get(&sources(snapshot(true, true)), "/cluster");
    assert_eq!((&body["scope"], &body["members"][0]["role"]), (&json!("orders"), &json!("leader")));
    let b = &body["members"][1];
    assert_eq!(
        (&b["role"], &b["state"], &b["lag"], &b["host"], &b["port"]),
        (&json!("replica"), &json!("streaming"), &json!(16), &json!("b"), &json!(5432))
    );
}
