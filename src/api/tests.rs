use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answers::{Answer, answer};
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
    };
    Snapshot {
        version: 3,
        term: 2,
        primary: primary.then_some(NodeId(0)),
        nodes: vec![view(node(0, "a"), role, false), view(node(1, "b"), Role::Standby(standby), reads)],
        system_identifier: Some(7_710_326_881_801_155_286),
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
    };
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    let metrics = Arc::new(Metrics::new(&names, &[], snapshot.clone()));
    Sources { snapshot, metrics, pools: None, refusing: None }
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
    sources.refusing = Some(Box::new(|| Some("draining".to_owned())));
    let (status, body) = get(&sources, "/readyz");
    assert_eq!((status, &body["reasons"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(["draining"])));
    assert_eq!(get(&sources, "/livez").0, StatusCode::OK);
}

#[test]
fn the_status_shows_the_snapshot() {
    let mut sources = sources(snapshot(true, true));
    sources.pools = Some(Box::new(|| json!([{"node": "a", "idle": 2}])));
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

async fn exchange(request: &[u8]) -> String {
    let address = "127.0.0.1:0".parse().expect("an address");
    let server = bind(address, sources(snapshot(true, true))).await.expect("a free port");
    let bound = server.address();
    let serving = tokio::spawn(server.run());
    let mut stream = TcpStream::connect(bound).await.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    // It may reset the connection when it refuses what is still coming; what it said before counts.
    let _ = stream.read_to_end(&mut answer).await;
    serving.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn get_and_head_differ_by_the_body_only() {
    let got = exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(
        got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\n{\"status\":\"alive\"}\n"),
        "{got}"
    );
    let head = exchange(b"HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("content-length: 19\r\n"), "{head}");
}

#[tokio::test]
async fn oversized_and_bodied_requests_are_refused() {
    let huge = [b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ".as_slice(), &[b'x'; 40_000], b"\r\n\r\n"].concat();
    let refused = exchange(&huge).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let bodied =
        exchange(b"GET /livez HTTP/1.1\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n").await;
    assert!(bodied.starts_with("HTTP/1.1 413 "), "{bodied}");
    let posted = exchange(b"POST /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET, HEAD\r\n"), "{posted}");
}
