//! A cluster that Bellwether leads: servers, etcd, proxies, and what they say.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bellwether::lab::workload::{Progress, Report, Workload};
use bellwether::lab::{Cluster, Etcd, EtcdOptions, Host, Options, ProxyOptions, ProxyProcess};
use serde_json::Value;

/// The program under test.
const BELLWETHER: &str = env!("CARGO_BIN_EXE_bellwether");

/// A busy machine must not be taken for a fault.
pub const PATIENT: &[&str] = &[
    "store.timeout = \"1500ms\"",
    "leading.probe = \"400ms\"",
    "leading.permission = \"6s\"",
    "leading.hold_max = \"20s\"",
];

/// How long a busy machine may take for what should happen in a moment.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Fields are dropped in order: proxies go first.
pub struct World {
    pub proxies: Vec<ProxyProcess>,
    pub cluster: Cluster,
    pub etcd: Etcd,
}

impl World {
    /// A primary `a` with standbys `b` and `c`, one member of etcd, and as many proxies, which are leading.
    pub fn start(proxies: usize) -> World {
        World::with(proxies, Options::default(), EtcdOptions::default(), &[])
    }

    /// Any cluster, any etcd, and further settings for the proxies.
    pub fn with(proxies: usize, options: Options, etcd: EtcdOptions, settings: &[&str]) -> World {
        World::as_it_comes(proxies, options, etcd, &[PATIENT, settings].concat())
    }

    /// The same, with proxies whose configuration names the first few of the servers only.
    pub fn naming(
        named: usize,
        proxies: usize,
        options: Options,
        etcd: EtcdOptions,
        settings: &[&str],
    ) -> World {
        World::build(named, vec![Host::default(); proxies], options, etcd, &[PATIENT, settings].concat())
    }

    /// The same with the product's own durations, for stories about time.
    pub fn as_it_comes(proxies: usize, options: Options, etcd: EtcdOptions, settings: &[&str]) -> World {
        World::on(vec![Host::default(); proxies], options, etcd, settings)
    }

    /// The same with a proxy on each of `hosts`.
    pub fn on(hosts: Vec<Host>, options: Options, etcd: EtcdOptions, settings: &[&str]) -> World {
        World::build(usize::MAX, hosts, options, etcd, settings)
    }

    fn build(
        named: usize,
        hosts: Vec<Host>,
        options: Options,
        etcd: EtcdOptions,
        settings: &[&str],
    ) -> World {
        let etcd = Etcd::start(etcd).unwrap_or_else(|error| panic!("{error}"));
        // The proxies make slots; the lab's own are on the first primary only, and a node that comes back would wait there.
        let options = Options { slots: false, ..options };
        let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
        let mut world = World { proxies: Vec::new(), cluster, etcd };
        let proxies = hosts.len();
        for (nth, host) in hosts.into_iter().enumerate() {
            world.add_proxy(nth, host, named, settings);
        }
        world.until("the cluster is taken in", |world| {
            (0..proxies)
                .all(|nth| world.status(nth)["term"] == 1 && world.leader(nth).as_deref() == Some("a"))
        });
        world
    }

    /// Starts one more proxy; `world.proxies[nth]` from then on.
    pub fn add_proxy(&mut self, nth: usize, host: Host, named: usize, settings: &[&str]) {
        let mut options = ProxyOptions::new(BELLWETHER)
            .with(&format!("etcd = {:?}", self.etcd.endpoints()))
            .with("cluster.user = \"coordinator\"")
            .with("cluster.password = \"coordinator\"")
            .with("leading.replication = \"user=replicator password=replicator\"")
            .with(&format!("leading.name = \"p{nth}\""))
            .with("http.token = \"secret\"")
            .with("log.level = \"info,bellwether::coordinator=debug\"");
        options.nodes = named;
        options.settings.extend(settings.iter().map(ToString::to_string));
        options.host = host;
        options.environment.push(("BELLWETHER_FAILPOINT".to_owned(), self.failpoint().display().to_string()));
        let proxy = ProxyProcess::start(&self.cluster, options).unwrap_or_else(|error| panic!("{error}"));
        self.proxies.push(proxy);
    }

    /// Runs SQL through a proxy as `demo`, and returns the rows.
    pub fn sql(&self, nth: usize, sql: &str) -> Result<String, String> {
        self.cluster.sql_at(&self.proxies[nth].endpoint(), sql).map_err(|error| error.to_string())
    }

    /// Runs SQL that must succeed within some tries.
    pub fn insist(&self, nth: usize, sql: &str) -> String {
        let mut answer = None;
        self.until(sql, |world| {
            answer = world.sql(nth, sql).ok();
            answer.is_some()
        });
        answer.expect("it was waited for")
    }

    /// `/api/v1/status` of a proxy; null when it does not answer.
    pub fn status(&self, nth: usize) -> Value {
        self.http(nth, "GET", "/api/v1/status", "")
            .map_or(Value::Null, |(_, body)| serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The node a proxy takes for the primary.
    pub fn leader(&self, nth: usize) -> Option<String> {
        let status = self.status(nth);
        let nodes = status["nodes"].as_array()?;
        let leads = |node: &&Value| node["name"] == status["primary"];
        Some(nodes.iter().find(leads)?["name"].as_str()?.to_owned())
    }

    /// The nodes that take reads, as a proxy sees it.
    pub fn readers(&self, nth: usize) -> Vec<String> {
        let status = self.status(nth);
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let reads = |node: &Value| {
            (node["serves_reads"] == true).then(|| node["name"].as_str().unwrap_or_default().to_owned())
        };
        nodes.iter().filter_map(reads).collect()
    }

    /// Runs the program with a proxy's own configuration: its address, token and login.
    pub fn run(&self, nth: usize, arguments: &[&str]) -> Output {
        let mut command = Command::new(BELLWETHER);
        command.args(arguments).arg("-c").arg(self.proxies[nth].config_file());
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| name.as_encoded_bytes().starts_with(b"BELLWETHER_")) {
            command.env_remove(name);
        }
        command.output().expect("the program was built with this test")
    }

    /// Has the proxy that gets to `moment` first die there: `after Promote` (see `coordinator::lead::failpoint`).
    pub fn die(&self, moment: &str) {
        let file = self.failpoint();
        fs::write(&file, moment).unwrap_or_else(|error| panic!("{error}"));
        // The proxies run as somebody else.
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap_or_else(|error| panic!("{error}"));
    }

    fn failpoint(&self) -> PathBuf {
        self.cluster.directory().join("failpoint")
    }

    /// Which proxy decides, as the store has it.
    pub fn active(&self) -> usize {
        let name = self.record("epoch")["coordinator"].as_str().unwrap_or_default().to_owned();
        name.trim_start_matches('p').parse().unwrap_or_else(|_| panic!("{name:?} decides"))
    }

    /// Asks a proxy over HTTP; POST brings the token along. Returns the status and the body.
    pub fn http(&self, nth: usize, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream =
            TcpStream::connect((self.proxies[nth].address(), self.proxies[nth].http_port())).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(90))).ok()?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer secret\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        // A stream of events comes in chunks: their sizes stand on lines of their own, which no event looks like.
        Some((status, body.to_owned()))
    }

    /// Waits until every proxy takes another node than `old` for the primary, and returns that one.
    pub fn led_by_another(&self, old: &str) -> String {
        let mut leader = None;
        self.until("somebody else leads", |world| {
            leader = world.leader(0).filter(|leader| leader != old);
            (0..world.proxies.len()).all(|nth| leader.is_some() && world.leader(nth) == leader)
        });
        leader.expect("it was waited for")
    }

    /// Stops a node, if it runs, and brings it back as a standby of whoever leads.
    pub fn bring_back(&self, node: &str) {
        self.led_by_another(node);
        if self.cluster.is_running(node) {
            self.cluster.kill9(node).unwrap_or_else(|error| panic!("{error}"));
        }
        // Children of a killed postmaster may hold on for a moment.
        self.until("it is rewound and started", |world| {
            let leader = world.leader(0).unwrap_or_default();
            world.cluster.note_primary(&leader).is_ok() && world.cluster.rejoin(node).is_ok()
        });
    }

    /// Waits until commits on `node` wait for `names`, in the form PostgreSQL shows, and a failover counts with that.
    pub fn until_names(&self, node: &str, names: &str) {
        self.until(&format!("commits wait for {names}"), |world| {
            let shown = world.cluster.sql(node, "SHOW synchronous_standby_names");
            shown.is_ok_and(|shown| shown == names) && world.record("sync")["next"].is_null()
        });
    }

    /// A record of the cluster in etcd; null when there is none.
    pub fn record(&self, key: &str) -> Value {
        let key = format!("/bellwether/main/{key}");
        let text = self.etcd.ctl(None, &["get", "--print-value-only", &key]).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Waits for something to come true.
    pub fn until(&self, what: &str, mut wanted: impl FnMut(&World) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !wanted(self) {
            if Instant::now() > give_up {
                panic!("not seen: {what}\n{}", self.evidence());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What there is to look at when something does not come true.
    pub fn evidence(&self) -> String {
        let mut text = String::new();
        for (nth, proxy) in self.proxies.iter().enumerate() {
            let log = proxy.log();
            let told: Vec<&str> = log.lines().filter(|line| !is_routine(line)).collect();
            let tail = told[told.len().saturating_sub(80)..].join("\n");
            text.push_str(&format!("proxy {nth}: {}\n{tail}\n", self.status(nth)));
            if let Some((_, body)) = self.http(nth, "GET", "/api/v1/explain", "") {
                text.push_str(&format!("{body}\n"));
            }
        }
        for node in self.cluster.names() {
            let log = self.cluster.log_file(node).map(std::fs::read_to_string);
            let Ok(Ok(log)) = log else { continue };
            let said: Vec<&str> = log.lines().collect();
            text.push_str(&format!("server {node}:\n{}\n", said[said.len().saturating_sub(20)..].join("\n")));
        }
        text
    }
}

/// Clients that write numbered rows and read them back while something happens.
pub struct Clients(Workload);

impl Clients {
    /// Starts them at all proxies, and returns once they work.
    pub fn start(world: &World, clients: usize) -> Clients {
        let endpoints = world.proxies.iter().map(ProxyProcess::endpoint).collect();
        let started = Workload::start(&world.cluster, endpoints, clients);
        let clients = Clients(started.unwrap_or_else(|error| panic!("{error}\n{}", world.evidence())));
        clients.write_on(world);
        clients
    }

    /// Waits until they have written some more.
    pub fn write_on(&self, world: &World) {
        let before = self.0.progress().writes;
        world.until("the clients write", |_| self.0.progress().writes > before + 50);
    }

    /// How far they are.
    pub fn progress(&self) -> Progress {
        self.0.progress()
    }

    /// Ends them, and holds their books against the table: nothing twice, nothing that failed, and nothing gone that was
    /// not lost. Whether something may be lost is for the caller to say.
    pub fn end(mut self, world: &World) -> Report {
        self.0.stop();
        let mut report = None;
        world.until("the table can be read", |world| {
            report = self.0.audit(&world.cluster).ok();
            report.is_some()
        });
        let report = report.expect("it was waited for");
        println!("{report:?}");
        assert_eq!(report.duplicated, 0, "{report:?}\n{}", world.evidence());
        assert!(report.progress.stale <= report.lost, "{report:?}\n{}", world.evidence());
        report
    }

    /// The same, where no acknowledged write may be lost.
    pub fn end_without_loss(self, world: &World) -> Report {
        let report = self.end(world);
        assert_eq!(report.lost, 0, "{report:?}\n{}", world.evidence());
        report
    }
}

/// What goes on all the time and tells nothing.
pub fn is_routine(line: &str) -> bool {
    line.contains("Heartbeat") || line.contains("\"probe: ")
}
