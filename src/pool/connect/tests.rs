//! Connecting to a fake server that behaves, misbehaves or says nothing.

use super::*;
use crate::auth::{Credentials, Method, ScramVerifier, Verifier};
use crate::pool::fake::{Fake, Greeting as Greets};
use crate::pool::identity::Identities;
use crate::pool::{CancelHandle, CancelTarget};
use crate::topology::{NodeId, NodeName};

const LIMIT: Duration = Duration::from_secs(5);

fn ann(password: Option<&str>) -> Arc<Identity> {
    let identity = Identities::default().get("shop", "ann");
    if let Some(password) = password {
        identity.credentials().replace(Credentials::from_password(password));
    }
    identity
}

async fn connect(fake: &Fake, identity: &Identity) -> Result<(Stream, Greeting), ConnectError> {
    let endpoint = Arc::new(fake.endpoint.clone());
    raw_connect(&endpoint, identity, ProtocolVersion::V3_0, &[("application_name", "test")], LIMIT).await
}

async fn failure(greets: Greets) -> ConnectFailure {
    let fake = Fake::tcp(greets).await;
    connect(&fake, &ann(Some("secret"))).await.expect_err("must not connect").cause
}

#[tokio::test]
async fn trust_over_tcp_and_unix() {
    for fake in [Fake::tcp(Greets::Trust).await, Fake::unix(Greets::Trust).await] {
        let (mut stream, greeting) = connect(&fake, &ann(None)).await.expect("connects");
        assert!(stream.is_quiet());
        assert_eq!((greeting.pid, &*greeting.key), (1, &b"abcd"[..]));
        assert_eq!(&*greeting.parameters[0].0, "server_version");
        let sent = fake.backend.startup.lock().expect("not poisoned").clone();
        let expected = [("user", "ann"), ("database", "shop"), ("application_name", "test")];
        assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

#[tokio::test]
async fn passwords_are_given_as_asked_for() {
    let scram = Verifier::Scram(ScramVerifier::derive(b"secret", b"some salt", 4096));
    let plain = Verifier::Plain("secret".into());
    for (method, verifier) in
        [(Method::Scram, scram), (Method::Md5, plain.clone()), (Method::Password, plain)]
    {
        let fake = Fake::tcp(Greets::Password(method, verifier)).await;
        connect(&fake, &ann(Some("secret"))).await.expect("the right password");
        let error = connect(&fake, &ann(Some("wrong"))).await.expect_err("the wrong password");
        let ConnectFailure::Server(told) = &error.cause else { panic!("{error}") };
        assert_eq!(told.code, SqlState::INVALID_PASSWORD);
        assert!(error.is_permanent());
        let error = connect(&fake, &ann(None)).await.expect_err("no password");
        assert!(matches!(error.cause, ConnectFailure::Credentials(_)) && error.is_permanent());
    }
}

#[tokio::test]
async fn both_versions_of_the_protocol_are_understood() {
    for (greets, key, version) in [
        (Greets::LongKey, &[7u8; 32][..], ProtocolVersion::V3_2),
        (Greets::Trust, b"abcd", ProtocolVersion::V3_0),
    ] {
        let fake = Fake::tcp(greets).await;
        let endpoint = Arc::new(fake.endpoint.clone());
        let (_, greeting) =
            raw_connect(&endpoint, &ann(None), ProtocolVersion::V3_2, &[], LIMIT).await.expect("connects");
        assert_eq!((&*greeting.key, greeting.version), (key, version));
    }
}

#[tokio::test]
async fn an_error_is_kept_as_the_server_gave_it() {
    for (code, permanent) in [(b"3D000", true), (b"57P03", false), (b"53300", false)] {
        let error = ConnectError { node: NodeName::new("a"), cause: failure(Greets::Error(code)).await };
        assert_eq!(error.is_permanent(), permanent);
        let told = error.to_pg_error();
        assert_eq!((told.code.as_str().as_bytes(), &*told.message), (&code[..], "says the server"));
    }
}

#[tokio::test]
async fn misbehaviour_ends_the_attempt() {
    assert!(matches!(failure(Greets::Close).await, ConnectFailure::Unreachable(_)));
    let message = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    let mut oversized = message(b'N', 100_000);
    oversized.resize(100_001, b'x');
    let mut endless = Vec::new();
    for _ in 0..40 {
        endless.extend_from_slice(&message(b'N', 60_000));
        endless.resize(endless.len() + 60_000 - 4, b'x');
    }
    let mut early = message(b'Z', 5);
    early.push(b'I');
    let ok = [message(b'R', 8), vec![0; 4]].concat();
    for bytes in [
        message(b'R', 3),
        message(b'R', 4),
        oversized,
        endless,
        early,
        [&ok[..], &message(b'K', 8), &[0; 4]].concat(),
        [&ok[..], &ok[..]].concat(),
        [&ok[..], &message(b'D', 6), &[0; 2]].concat(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let start = bytes.get(..20).unwrap_or(&bytes).to_vec();
        let cause = failure(Greets::Bytes(bytes)).await;
        assert!(matches!(cause, ConnectFailure::Protocol(_)), "{start:?}: {cause:?}");
    }
    assert!(matches!(failure(Greets::Talkative).await, ConnectFailure::Protocol(_)));
}

#[tokio::test]
async fn an_attempt_is_bounded_in_time_and_names_the_node_not_the_address() {
    let fake = Fake::tcp(Greets::Silence).await;
    let endpoint = Arc::new(fake.endpoint.clone());
    let limit = Duration::from_millis(50);
    let error = raw_connect(&endpoint, &ann(None), ProtocolVersion::V3_0, &[], limit).await;
    let error = error.expect_err("nobody answers");
    assert!(matches!(error.cause, ConnectFailure::Timeout) && !error.is_permanent());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let address = Address::Tcp { host: "127.0.0.1".into(), port };
    let endpoint = Arc::new(Endpoint::plain(NodeId(0), NodeName::new("a"), address));
    let error = raw_connect(&endpoint, &ann(None), ProtocolVersion::V3_0, &[], LIMIT).await;
    let error = error.expect_err("nobody listens");
    assert_eq!(error.to_string(), "node \"a\": connection refused");
    assert_eq!(error.to_pg_error().message, "could not connect to node \"a\"");
}

#[tokio::test]
async fn a_cancel_has_landed_when_the_postmaster_closes() {
    let fake = Fake::tcp(Greets::Trust).await;
    let endpoint = Arc::new(fake.endpoint.clone());
    let target = CancelTarget { endpoint, pid: 42, key: Box::new(*b"abcd") };
    let handle = Arc::new(CancelHandle::new(target));
    fake.backend.stuck.send_replace(true);
    let sending = tokio::spawn(handle.begin().send());
    let seen = || !fake.backend.cancels.lock().expect("not poisoned").is_empty();
    crate::pool::fake::eventually("the request arrives", seen).await;
    assert!(handle.is_in_flight() && !sending.is_finished());
    fake.backend.stuck.send_replace(false);
    sending.await.expect("no panic").expect("sent");
    assert!(!handle.is_in_flight());
    assert_eq!(*fake.backend.cancels.lock().expect("not poisoned"), [(42, b"abcd".to_vec())]);
}
