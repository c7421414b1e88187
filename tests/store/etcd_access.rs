//! Lost answers, users and passwords, TLS, and what calls cost.

use std::time::{Duration, Instant};

use bellwether::lab::{Etcd as Lab, EtcdOptions, EtcdTls};
use bellwether::store::etcd::{Etcd, Settings, SettingsError, TlsFiles};
use bellwether::store::{Compare, Failure, Outcome, Store, Txn, Wanted};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::etcd::{lab, settings};
use crate::promises::{self, applied, get};
use crate::relay::Relay;

#[tokio::test]
async fn a_lost_answer_is_unknown_and_was_applied() {
    let lab = lab(1);
    let relay = Relay::start(settings(&lab).endpoints[0].port).await;
    let through = format!("http://127.0.0.1:{}", relay.port).parse().unwrap();
    let store = Etcd::new(&Settings { endpoints: vec![through], ..settings(&lab) }).unwrap();
    let claim = || Txn::new().when(Compare::Absent("a".to_owned())).put("a", "mine");
    assert!(store.read(&[Wanted::key("a")]).await.is_ok(), "connected");

    relay.lose_answers(true);
    let asked = Instant::now();
    let outcome = store.commit(claim()).await;
    assert!(matches!(outcome, Outcome::Unknown(Failure::Silent { .. })), "{outcome:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let read = store.read(&[Wanted::key("a")]).await;
    assert!(matches!(read, Err(Failure::Silent { .. })), "{read:?}");

    relay.lose_answers(false);
    let Outcome::Conflict(seen) = store.commit(claim()).await else { panic!("applied twice") };
    assert_eq!(seen.get("a").map(|entry| entry.value.as_slice()), Some(&b"mine"[..]));
}

#[tokio::test]
async fn users_and_passwords() {
    let lab = lab(1);
    lab.ctl(None, &["user", "add", "root:secret"]).unwrap();
    lab.ctl(None, &["user", "grant-role", "root", "root"]).unwrap();
    lab.ctl(None, &["role", "add", "bellwether"]).unwrap();
    lab.ctl(None, &["role", "grant-permission", "--prefix=true", "bellwether", "readwrite", "/bellwether/"])
        .unwrap();
    lab.ctl(None, &["user", "add", "proxy:hush"]).unwrap();
    lab.ctl(None, &["user", "grant-role", "proxy", "bellwether"]).unwrap();
    let anonymous = Etcd::new(&settings(&lab)).unwrap();
    applied(anonymous.commit(Txn::new().put("a", "1")).await);
    lab.ctl(None, &["auth", "enable"]).unwrap();

    let with = |user: &str, password: &str| Settings {
        login: Some((user.to_owned(), password.to_owned())),
        ..settings(&lab)
    };
    let store = std::sync::Arc::new(Etcd::new(&with("proxy", "hush")).unwrap());
    assert!(!format!("{:?}", with("proxy", "hush")).contains("hush"), "the password is not shown");
    promises::all_hold(store.clone()).await;

    // Tokens live in etcd's memory only; and they grow old when users are changed.
    lab.stop();
    lab.resume().unwrap();
    promises::until("an answer after the restart", async || store.read(&[Wanted::key("a")]).await.is_ok())
        .await;
    lab.ctl(Some("root:secret"), &["user", "add", "other:other"]).unwrap();
    applied(store.commit(Txn::new().put("a", "2")).await);
    let mut watch = store.watch("a");
    tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("a watch with a token");

    for (store, words) in [
        (anonymous, "user name is empty"),
        (Etcd::new(&with("proxy", "wrong")).unwrap(), "invalid user ID or password"),
        (
            Etcd::new(&Settings { namespace: "elsewhere".to_owned(), ..with("proxy", "hush") }).unwrap(),
            "denied",
        ),
    ] {
        let failure = store.read(&[Wanted::key("a")]).await.unwrap_err();
        assert!(failure.to_string().contains(words), "{failure}");
        let outcome = store.commit(Txn::new().put("a", "3")).await;
        assert!(matches!(outcome, Outcome::NotApplied(Failure::Refused { .. })), "{outcome:?}");
    }
    assert_eq!(get(&*store, "a").await.unwrap().value, b"2");
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    let ours = Authority::new("ours");
    let (certificate, key) = ours.issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
    let tls = EtcdTls { certificate, key, client_ca: Some(ours.certificate.clone()) };
    let lab = Lab::start(EtcdOptions { tls: Some(tls), ..EtcdOptions::default() }).unwrap();
    let write = |name: &str, text: &str| {
        let path = lab.directory().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = ours.issue("proxy", ExtendedKeyUsagePurpose::ClientAuth);
    let ca = write("ca.pem", &ours.certificate);
    let identity = Some((write("proxy.crt", &certificate), write("proxy.key", &key)));
    let with = |tls| Etcd::new(&Settings { tls, ..settings(&lab) });

    let store = with(Some(TlsFiles { ca: ca.clone(), identity: identity.clone() })).unwrap();
    promises::all_hold(std::sync::Arc::new(store)).await;

    assert!(matches!(with(None), Err(SettingsError::NoAuthorities(_))));
    let missing = with(Some(TlsFiles { ca: "/nowhere/ca.pem".into(), identity: None })).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    let nobody = with(Some(TlsFiles { ca, identity: None })).unwrap();
    assert!(nobody.read(&[Wanted::key("a")]).await.is_err(), "a certificate is asked for");
    let others = write("others.pem", &Authority::new("others").certificate);
    let stranger = with(Some(TlsFiles { ca: others, identity })).unwrap();
    let failure = stranger.read(&[Wanted::key("a")]).await.unwrap_err();
    assert!(failure.to_string().contains("certificate"), "{failure}");
}

/// Not a promise, but a figure: printed, and bounded only so far that a busy machine passes.
#[tokio::test]
async fn calls_are_short() {
    let lab = lab(1);
    let store = Etcd::new(&settings(&lab)).unwrap();
    let mut at = applied(store.commit(Txn::new().put("term", "x".repeat(300))).await);
    let wanted = [Wanted::key("term"), Wanted::key("grants/me")];
    let (mut reads, mut commits) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let start = Instant::now();
        store.read(&wanted).await.unwrap();
        reads.push(start.elapsed());
    }
    for _ in 0..200 {
        let start = Instant::now();
        let unchanged = Compare::Modified("term".to_owned(), at);
        at = applied(store.commit(Txn::new().when(unchanged).put("term", "x".repeat(300))).await);
        commits.push(start.elapsed());
    }
    for (what, times) in [("read of two keys", &mut reads), ("compare and put", &mut commits)] {
        times.sort();
        let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{what}: p50 {half:?}, p99 {most:?}");
        assert!(half < Duration::from_millis(100), "{what}: {half:?}");
    }
}

struct Authority {
    certificate: String,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { certificate, params, key }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }
}
