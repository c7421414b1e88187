//! A cluster that Bellwether leads: servers, etcd, proxies, and what they say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Etcd, EtcdOptions, Options, ProxyOptions, ProxyProcess};
use serde_json::Value;

/// The program under test.
const BELLWETHER: &str = env!("CARGO_BIN_EXE_bellwether");

/// A busy machine must not be taken for a fault.
const PATIENT: &[&str] = &[
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
        World::build(named, proxies, options, etcd, &[PATIENT, settings].concat())
    }

    /// The same with the product's own durations, for stories about time.
    pub fn as_it_comes(proxies: usize, options: Options, etcd: EtcdOptions, settings: &[&str]) -> World {
        World::build(usize::MAX, proxies, options, etcd, settings)
    }

    fn build(
        named: usize,
        proxies: usize,
        options: Options,
        etcd: EtcdOptions,
        settings: &[&str],
    ) -> World {
        let etcd = Etcd::start(etcd).unwrap_or_else(|error| panic!("{error}"));
        let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
        let mut world = World { proxies: Vec::new(), cluster, etcd };
        for nth in 0..proxies {
            world.add_proxy(nth, named, settings);
        }
        world.until("the cluster is taken in", |world| {
            (0..proxies)
                .all(|nth| world.status(nth)["term"] == 1 && world.leader(nth).as_deref() == Some("a"))
        });
        world
    }

    fn add_proxy(&mut self, nth: usize, named: usize, settings: &[&str]) {
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

    /// Asks a proxy over HTTP; POST brings the token along. Returns the status and the body.
    pub fn http(&self, nth: usize, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.proxies[nth].http_port())).ok()?;
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
        text
    }
}

/// What goes on all the time and tells nothing.
pub fn is_routine(line: &str) -> bool {
    line.contains("Heartbeat") || line.contains("\"probe: ")
}
