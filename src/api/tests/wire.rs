//! Requests as bytes, and who may change something.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{snapshot, sources};
use crate::api::{Access, Places, bind};

async fn exchange(request: &[u8]) -> String {
    exchange_with(request, None).await
}

async fn exchange_with(request: &[u8], token: Option<&str>) -> String {
    let access = Arc::new(Access::default());
    access.set_token(token);
    let places = Places { address: Some("127.0.0.1:0".parse().expect("an address")), socket: None };
    let server = bind(&places, sources(snapshot(true, true)), access).await.expect("a free port");
    let bound = server.address().expect("it is bound");
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
    assert!(
        posted.starts_with("HTTP/1.1 405 ") && posted.contains("allow: GET, HEAD, OPTIONS\r\n"),
        "{posted}"
    );
}

fn post(path: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nConnection: close\r\n{header}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn every_get_takes_head_and_options() {
    for (method, path, body) in [
        ("HEAD", "/history", ""),
        ("OPTIONS", "/primary", ""),
        ("GET", "/history", "[[1,null,\"it was promoted\",\"1970-01-01T00:00:00Z\",\"a\"]]\n"),
    ] {
        let got = exchange(format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with(&format!("\r\n\r\n{body}")), "{got}");
    }
    let own = exchange(b"GET /api/v1/history HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(own.contains(r#""down_seconds":1.5,"from":"b","kind":"observed","lost_bytes":null"#), "{own}");
}

#[tokio::test]
async fn changes_need_the_token() {
    let plain = post("/api/v1/pause", "", "");
    let closed = exchange_with(&plain, None).await;
    assert!(closed.starts_with("HTTP/1.1 403 ") && closed.contains("no http.token"), "{closed}");
    for (header, status) in [
        ("", "401 Unauthorized"),
        ("Authorization: Bearer wrong\r\n", "401 Unauthorized"),
        ("Authorization: Basic secret\r\n", "401 Unauthorized"),
        ("Authorization: bearer secret\r\n", "409 Conflict"),
    ] {
        let got = exchange_with(&post("/api/v1/pause", header, ""), Some("secret")).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{header}{got}");
        assert_eq!(got.contains("www-authenticate: Bearer"), status.starts_with("401"), "{got}");
    }
}

#[tokio::test]
async fn who_does_not_say_who_they_are_is_known_by_their_address() {
    for (body, by) in [(r#"{"by": "ops"}"#, "ops"), (r#"{"by": "\u0007"}"#, "127.0.0.1"), ("", "127.0.0.1")] {
        let drain = post("/api/v1/nodes/b/drain", "Authorization: Bearer x\r\n", body);
        let got = exchange_with(&drain, Some("x")).await;
        assert!(got.contains(&format!("b drained by {by}\"")), "{got}");
    }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_needs_no_token() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("bellwether-api-{}.sock", std::process::id()));
    // One that was left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket can be made"));
    let places = Places { address: None, socket: Some(path.clone()) };
    let server = bind(&places, sources(snapshot(true, true)), Arc::default()).await.expect("it is replaced");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let in_use =
        bind(&places, sources(snapshot(true, true)), Arc::default()).await.err().expect("it is in use");
    assert_eq!((in_use.source.kind(), in_use.key), (std::io::ErrorKind::AddrInUse, "http.socket"));
    let serving = tokio::spawn(server.run());
    let mut stream = UnixStream::connect(&path).await.expect("it listens");
    stream.write_all(&post("/api/v1/nodes/b/drain", "", r#"{"by": "ops"}"#)).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    serving.abort();
    let _ = serving.await;
    assert!(!path.exists());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("transfer-encoding: chunked"), "{head}");
    let lines: Vec<&str> = body.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines[0], r#"{"event":"step","seconds":0.25,"what":"b drained by ops","note":null}"#);
    assert!(lines[1].starts_with(r#"{"event":"end","outcome":"done","#), "{body}");
}

#[tokio::test]
async fn work_that_breaks_off_ends_unknown() {
    let got = exchange_with(&post("/api/v1/resume", "Authorization: Bearer x\r\n", ""), Some("x")).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains(r#""outcome":"unknown""#), "{got}");
}

#[tokio::test]
async fn wishes_that_are_not_understood_are_refused() {
    for (path, body, expected) in [
        ("/api/v1/failover", r#"{"allow_dataloss": true}"#, "unknown field `allow_dataloss`"),
        ("/api/v1/failover", r#"{"allow_data_loss": -1}"#, "a number of bytes, or true"),
        ("/api/v1/failover", r#"{"at": "2026-11-19T04:12:07Z"}"#, "cannot be scheduled"),
        ("/api/v1/switchover", r#"{"at": "soon"}"#, "no time such as"),
        ("/api/v1/switchover", r#"{"allow_data_loss": 1}"#, "loses no data"),
        ("/api/v1/nodes/b/set", r#"{"settings": {}}"#, "nothing to set"),
        ("/api/v1/nodes/b/add", "{}", "missing field `url`"),
        ("/api/v1/pause", "[", "not understood"),
    ] {
        let got = exchange_with(&post(path, "Authorization: Bearer x\r\n", body), Some("x")).await;
        assert!(got.starts_with("HTTP/1.1 400 ") && got.contains(expected), "{got}");
    }
    let long = post("/api/v1/pause", "Authorization: Bearer x\r\n", &" ".repeat(70_000));
    assert!(exchange_with(&long, Some("x")).await.starts_with("HTTP/1.1 413 "));
}
