//! A running proxy: signals, for which its servers need not exist, and probes over TLS to one that does.
// The lint is for the pure groups; a test has a clock and threads.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, Tls};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);

struct Proxy {
    child: Child,
    log: Receiver<serde_json::Value>,
    file: PathBuf,
}

impl Proxy {
    fn start(name: &str, settings: &str) -> Self {
        Proxy::start_with(name, settings, &[])
    }

    fn start_with(name: &str, settings: &str, environment: &[(&str, &str)]) -> Self {
        let file = std::env::temp_dir().join(format!("bellwether-serve-{}-{name}.toml", std::process::id()));
        let mut proxy = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        write(&file, settings);
        // The log is JSON, since it is no terminal.
        proxy.args(["proxy", "--config"]).arg(&file).env_clear();
        proxy.envs(environment.iter().copied());
        let mut child = proxy.stderr(Stdio::piped()).spawn().expect("the program was built with this test");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            let parse =
                |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            lines.map_while(Result::ok).map(parse).try_for_each(|line| sender.send(line))
        });
        Proxy { child, log, file }
    }

    /// Waits for a line of the log that begins with `message`.
    fn wait_for(&self, message: &str) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("\"{message}\" was not logged"));
            if line["message"].as_str().is_some_and(|text| text.starts_with(message)) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).expect("the child is still there");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A node where nobody listens.
const NOBODY: &str = "nodes.a = \"postgres://127.0.0.1:1\"";

fn write(file: &std::path::Path, settings: &str) {
    let rest = "listen = \"127.0.0.1:0\"\nhttp.listen = \"127.0.0.1:0\"\n";
    std::fs::write(file, format!("{settings}\n{rest}")).expect("the temporary directory can be written to");
}

#[test]
fn reloads_on_hangup_all_or_nothing() {
    let proxy = Proxy::start("reload", &["pool.size = 3", NOBODY].join("\n"));
    proxy.wait_for("started");

    write(&proxy.file, &["pool.size = 4\nworkers = 3", NOBODY].join("\n"));
    proxy.signal(Signal::HUP);
    assert_eq!(proxy.wait_for("this key was changed and takes effect when")["key"], "workers");
    assert_eq!(proxy.wait_for("configuration reloaded")["changed"], "pool.size");

    write(&proxy.file, &["pool.size = 5\npool.min = \"x\"", NOBODY].join("\n"));
    proxy.signal(Signal::HUP);
    let refused = proxy.wait_for("reload refused");
    assert!(refused["message"].as_str().is_some_and(|text| text.contains(":2:12: expected a whole number")));

    write(&proxy.file, &["pool.size = 5", NOBODY].join("\n"));
    proxy.signal(Signal::HUP);
    assert_eq!(proxy.wait_for("configuration reloaded")["changed"], "pool.size");
}

#[test]
fn keeps_the_service_manager_informed() {
    let path = std::env::temp_dir().join(format!("bellwether-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("the temporary directory can hold a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // Waits until all of these were said, in whichever order.
    let hears = |wanted: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while !wanted.iter().all(|wanted| said.iter().any(|line: &String| line.starts_with(wanted))) {
            assert!(Instant::now() < deadline, "not all of {wanted:?} among {said:?}");
            let mut message = [0; 512];
            let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("{wanted:?}: {error}"));
            said.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
    };
    let environment =
        [("NOTIFY_SOCKET", path.to_str().expect("a path of ours is text")), ("WATCHDOG_USEC", "3000000")];
    let mut proxy = Proxy::start_with("notify", NOBODY, &environment);
    hears(&["READY=1", "STATUS=no primary, 0 of 1 standbys take reads", "WATCHDOG=1"]);
    proxy.signal(Signal::HUP);
    hears(&["RELOADING=1", "MONOTONIC_USEC=", "READY=1"]);
    proxy.signal(Signal::TERM);
    hears(&["STOPPING=1"]);
    assert_eq!(proxy.child.wait().expect("it can be waited for").code(), Some(0));
    let _ = std::fs::remove_file(&path);
}

#[test]
fn stops_with_0_when_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::start(&format!("stop-{}", signal.as_raw()), NOBODY);
        proxy.wait_for("started");
        proxy.signal(signal);
        proxy.wait_for("stopped");
        assert_eq!(proxy.child.wait().expect("it can be waited for").code(), Some(0));
    }
}

#[test]
fn probes_over_tls_and_checks_the_certificate() {
    let key = KeyPair::generate().expect("a key can be made");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address is a valid name");
    let certificate = params.self_signed(&key).expect("the key signs").pem();
    let tls = Tls { certificate: certificate.clone(), key: key.serialize_pem(), client_ca: None };
    let hba = vec!["hostnossl all bellwether all reject".to_owned()];
    let cluster = Cluster::start(Options { nodes: 1, tls: Some(tls), hba, ..Options::default() });
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let roots = cluster.directory().join("roots.crt");
    std::fs::write(&roots, certificate).expect("the cluster's directory can be written to");

    let settings = |host: &str| {
        let port = cluster.port("a").expect("the first node is called a");
        format!(
            "cluster.password = \"bellwether\"\nserver_tls = {{ mode = \"verify-full\", root_cert = {roots:?} }}\n\
             nodes.a = \"postgres://{host}:{port}\""
        )
    };
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = 'bellwether'";
    let seen = || cluster.sql("a", encrypted).unwrap_or_else(|error| panic!("{error}"));

    let proxy = Proxy::start("tls", &settings("127.0.0.1"));
    let deadline = Instant::now() + PATIENCE;
    while seen() == "0" {
        assert!(Instant::now() < deadline, "no probe came in over TLS: {:?}", proxy.log.try_iter().last());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(proxy);

    // The certificate is not for this name.
    let proxy = Proxy::start("tls-name", &settings("localhost"));
    let http = proxy.wait_for("serving HTTP")["address"].as_str().map(str::to_owned).expect("it is text");
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        let told = get(&http, "/api/v1/status");
        if told.contains("TLS") || Instant::now() > deadline {
            break told;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(told.contains("TLS handshake with server failed"), "{told}");
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("HTTP is served");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .expect("it takes requests");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
