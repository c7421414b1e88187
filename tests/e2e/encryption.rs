//! TLS on both sides, Unix sockets, and cancels over each: psql and a rustls client against the real thing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess, Tls};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::certificates::{self, Authority};
use crate::support::raw::{self, Raw};
use crate::support::{BELLWETHER, Bench, applied_everywhere, eventually};

#[test]
fn tls_towards_clients_and_servers() {
    let encrypted = Encrypted::start("require");
    every_mode_of_libpq(&encrypted);
    channel_binding(&encrypted);
    tls_from_the_first_byte(&encrypted);
    new_certificates_while_clients_stay(&encrypted);
}

fn every_mode_of_libpq(encrypted: &Encrypted) {
    let ca = format!("sslrootcert={}", encrypted.path("ca.crt"));
    for mode in ["disable", "allow", "prefer", "require"] {
        assert_eq!(encrypted.psql("demo", &format!("sslmode={mode}")), Ok("demo t".to_owned()), "{mode}");
    }
    for mode in ["verify-ca", "verify-full"] {
        assert_eq!(
            encrypted.psql("demo", &format!("sslmode={mode} {ca}")),
            Ok("demo t".to_owned()),
            "{mode}"
        );
    }
    let other = Authority::new("another authority");
    certificates::write(&encrypted.files, "other.crt", &other.pem(), 0o644);
    let wrong = format!("sslmode=verify-full sslrootcert={}", encrypted.path("other.crt"));
    assert!(encrypted.psql("demo", &wrong).unwrap_err().contains("certificate verify failed"));
    let refused = encrypted.psql("secret", "sslmode=disable").unwrap_err();
    assert!(refused.contains("no pg_hba.conf entry") && refused.contains("no encryption"), "{refused}");
    assert_eq!(encrypted.psql("secret", "sslmode=require"), Ok("secret t".to_owned()));
}

/// By certificate alone, and as well as by password.
fn client_certificates(encrypted: &Encrypted) {
    for name in ["carded", "twofold", "somebody"] {
        encrypted.issue(name);
    }
    // PostgreSQL words the refusal of another's certificate by the method of the rule.
    for (user, method) in [("carded", "certificate"), ("twofold", "password")] {
        assert_eq!(encrypted.psql(user, &encrypted.with_certificate(user)), Ok(format!("{user} t")));
        let without = encrypted.psql(user, "sslmode=require sslcert=none.crt").unwrap_err();
        assert!(without.contains("connection requires a valid client certificate"), "{without}");
        let foreign = encrypted.psql(user, &encrypted.with_certificate("somebody")).unwrap_err();
        let refusal = format!("{method} authentication failed for user \"{user}\"");
        assert!(foreign.contains(&refusal), "{foreign}");
    }
}

fn channel_binding(encrypted: &Encrypted) {
    // Towards servers it is required here, so one that asks for no password cannot be the right one.
    encrypted.issue("carded");
    let unproven = encrypted.psql("carded", &encrypted.with_certificate("carded")).unwrap_err();
    assert!(unproven.contains("without channel binding"), "{unproven}");
    for wish in ["require", "prefer", "disable"] {
        let options = format!("sslmode=require channel_binding={wish}");
        assert_eq!(encrypted.psql("demo", &options), Ok("demo t".to_owned()), "{wish}");
    }
    let unbound = encrypted.psql("demo", "sslmode=disable channel_binding=require").unwrap_err();
    assert!(unbound.contains("channel binding required"), "{unbound}");
}

fn tls_from_the_first_byte(encrypted: &Encrypted) {
    let mut raw = encrypted.direct_tls(&[b"postgresql"]);
    let greeting = {
        raw.send(&raw::startup(raw::V3_0, &[("user", "plain"), ("database", "demo")]));
        raw.greeted("plain")
    };
    assert_eq!(raw.value("SELECT repeat('wide', 1000000)").len(), 4_000_000);
    // A cancel may come over TLS as well.
    raw.send(&raw::query("SELECT pg_sleep(60)"));
    encrypted.wait_sleeping();
    let mut cancel = encrypted.direct_tls(&[b"postgresql"]);
    cancel.send(&raw::cancel(greeting.pid, &greeting.key));
    cancel.closed();
    assert_eq!(
        raw.until_ready().iter().find(|message| message.tag == 'E').expect("an error").error().0,
        "57014"
    );
    // TLS that does not say it is for PostgreSQL may be meant for someone else.
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut raw = encrypted.direct_tls(alpn);
        let _ = raw.stream.write_all(&raw::startup(raw::V3_0, &[("user", "plain")]));
        assert!(raw.try_read().is_err(), "{alpn:?}");
    }
}

/// Files are read again on SIGHUP; who is connected stays, and a bad file changes nothing.
fn new_certificates_while_clients_stay(encrypted: &Encrypted) {
    let mut stays = encrypted.direct_tls(&[b"postgresql"]);
    stays.send(&raw::startup(raw::V3_0, &[("user", "plain"), ("database", "demo")]));
    stays.greeted("plain");
    let newer = Authority::new("the next authority");
    let issued = newer.issue("proxy");
    certificates::write(&encrypted.files, "newer.crt", &newer.pem(), 0o644);
    certificates::write(&encrypted.files, "proxy.crt", &issued.certificate, 0o644);
    certificates::write(&encrypted.files, "proxy.key", &issued.key, 0o644);
    encrypted.bench.proxy.signal(Signal::HUP);
    let by_newer = format!("sslmode=verify-full sslrootcert={}", encrypted.path("newer.crt"));
    eventually("the new certificate is shown", || encrypted.psql("demo", &by_newer).is_ok());
    assert_eq!(stays.query("SELECT 1"), "TDCZI");
    certificates::write(&encrypted.files, "proxy.crt", "no certificate\n", 0o644);
    encrypted.bench.proxy.signal(Signal::HUP);
    eventually("the refusal is logged", || {
        let log = encrypted.bench.proxy.log();
        log.lines().any(|line| line.contains("reload refused") && line.contains("proxy.crt"))
    });
    assert!(encrypted.psql("demo", &by_newer).is_ok());
    assert_eq!(stays.query("SELECT 1"), "TDCZI");
}

#[test]
fn unix_sockets_and_client_certificates() {
    let encrypted = Encrypted::start("prefer");
    client_certificates(&encrypted);
    let directory = encrypted.socket.parent().expect("a directory").display();
    let conninfo = format!("host={directory} port=6432 user=demo password=demo dbname=demo");
    assert_eq!(encrypted.bench.cluster.sql_at(&conninfo, "SELECT current_user").unwrap(), "demo");
    let stream = || {
        let stream = UnixStream::connect(&encrypted.socket).expect("the socket is there");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a timeout can be set");
        Raw { stream }
    };
    let mut raw = stream();
    for code in [raw::SSL_REQUEST, raw::GSSENC_REQUEST] {
        raw.send(&raw::packet(code, &[]));
        let mut answer = [0];
        raw.stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, *b"N", "there is nothing to encrypt");
    }
    raw.send(&raw::startup(raw::V3_0, &[("user", "plain"), ("database", "demo")]));
    let greeting = raw.greeted("plain");
    raw.send(&raw::query("SELECT pg_sleep(60)"));
    encrypted.wait_sleeping();
    let mut cancel = stream();
    cancel.send(&raw::cancel(greeting.pid, &greeting.key));
    cancel.closed();
    assert_eq!(
        raw.until_ready().iter().find(|message| message.tag == 'E').expect("an error").error().0,
        "57014"
    );
}

/// A cluster and a proxy, both with TLS, and where the certificates are.
struct Encrypted {
    bench: Bench,
    authority: Authority,
    files: PathBuf,
    socket: PathBuf,
}

/// The proxy's rules; PostgreSQL itself takes nobody but its own without TLS.
const RULES: &str = r#"auth.rules = [
    "local all all password",
    "hostssl all carded all cert",
    "hostssl all twofold all scram-sha-256 clientcert=verify-full",
    "hostssl all secret all scram-sha-256",
    "host all plain all password",
    "host all demo,bellwether all scram-sha-256",
]"#;

impl Encrypted {
    fn start(channel_binding: &str) -> Encrypted {
        let authority = Authority::new("a test's authority");
        let server = authority.issue("server");
        let tls = Tls { certificate: server.certificate, key: server.key, client_ca: Some(authority.pem()) };
        let hba = [
            "hostnossl all demo,plain,secret,twofold,carded 127.0.0.1/32 reject",
            "hostssl all carded 127.0.0.1/32 trust",
        ];
        let options = Options { tls: Some(tls), hba: hba.map(String::from).into(), ..applied_everywhere() };
        let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
        let roles = ["plain", "secret", "twofold", "carded"]
            .map(|name| format!("CREATE ROLE {name} LOGIN PASSWORD '{name}';"));
        cluster.sql("a", &roles.concat()).unwrap();
        let files = cluster.directory().to_owned();
        let shown = authority.issue("proxy");
        for (name, text) in
            [("ca.crt", &authority.pem()), ("proxy.crt", &shown.certificate), ("proxy.key", &shown.key)]
        {
            certificates::write(&files, name, text, 0o644);
        }
        let socket = cluster.socket_directory().join(".s.PGSQL.6432");
        let mut proxy = ProxyOptions::new(BELLWETHER);
        proxy.unix_socket = Some(socket.clone());
        let path = |name: &str| files.join(name).display().to_string();
        proxy.settings = vec![
            RULES.to_owned(),
            format!("tls.cert = {:?}", path("proxy.crt")),
            format!("tls.key = {:?}", path("proxy.key")),
            format!("tls.client_ca = {:?}", path("ca.crt")),
            "server_tls.mode = \"verify-full\"".to_owned(),
            format!("server_tls.root_cert = {:?}", path("ca.crt")),
            format!("server_tls.channel_binding = {channel_binding:?}"),
        ];
        let mut proxy = ProxyProcess::start(&cluster, proxy).unwrap_or_else(|error| panic!("{error}"));
        proxy.wait_ready(&cluster).unwrap_or_else(|error| panic!("{error}"));
        Encrypted { bench: Bench { proxy, cluster }, authority, files, socket }
    }

    fn path(&self, name: &str) -> String {
        self.files.join(name).display().to_string()
    }

    /// Makes a client's certificate.
    fn issue(&self, name: &str) {
        let issued = self.authority.issue(name);
        certificates::write(&self.files, &format!("{name}.crt"), &issued.certificate, 0o644);
        certificates::write(&self.files, &format!("{name}.key"), &issued.key, 0o600);
    }

    /// Options for psql to show it.
    fn with_certificate(&self, name: &str) -> String {
        let path = |ending: &str| self.path(&format!("{name}.{ending}"));
        format!("sslmode=require sslcert={} sslkey={}", path("crt"), path("key"))
    }

    /// Logs in with psql; tells who it is, and whether the server's connection to the proxy is encrypted.
    fn psql(&self, user: &str, options: &str) -> Result<String, String> {
        let port = self.bench.proxy.port();
        let conninfo = format!(
            "host=localhost hostaddr=127.0.0.1 port={port} user={user} password={user} dbname=demo {options}"
        );
        let sql = "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let told = self.bench.cluster.sql_at(&conninfo, sql);
        told.map(|who| who.replace("true", "t")).map_err(|error| error.to_string())
    }

    /// Starts TLS with the first byte.
    fn direct_tls(&self, alpn: &[&[u8]]) -> Raw<StreamOwned<ClientConnection, std::net::TcpStream>> {
        let mut roots = RootCertStore::empty();
        for name in ["ca.crt", "newer.crt"] {
            if let Ok(certificate) = CertificateDer::from_pem_file(self.files.join(name)) {
                roots.add(certificate).expect("an authority's certificate");
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the versions are known").with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a sound configuration");
        Raw { stream: StreamOwned::new(connection, Raw::tcp(self.bench.proxy.port()).stream) }
    }

    fn wait_sleeping(&self) {
        let sleeping =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        eventually("the statement runs", || self.bench.cluster.sql("a", sleeping).unwrap() == "1");
    }
}
