//! Where scripts run: one cluster, a database for each way there, and twenty homes in each of them.

use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess};
use tokio_postgres::NoTls;

use crate::message::Numbers;
use crate::session::PATIENCE;

/// How many scripts run at a time, each in schemas of its own.
pub const HOMES: usize = 20;

/// A way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Through a proxy as it is installed, with reads on two standbys.
    Split,
    /// Through one with two servers a node for everybody.
    Crowded,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Direct, Way::Split, Way::Crowded];

    /// The database of its own.
    pub fn database(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::Split => "split",
            Way::Crowded => "crowded",
        }
    }
}

/// The cluster and both proxies. Fields are dropped in order: proxies go first.
pub struct Grounds {
    split: ProxyProcess,
    crowded: ProxyProcess,
    pub cluster: Cluster,
    runtime: tokio::runtime::Runtime,
}

impl Grounds {
    pub fn prepare() -> Grounds {
        let conf =
            ["synchronous_standby_names = '2 (b, c)'", "synchronous_commit = local", "autovacuum = off"];
        let options = Options {
            conf: conf.map(String::from).into(),
            hba: vec!["host all all 127.0.0.1/32 trust".to_owned()],
            ..Options::default()
        };
        let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
        let build = |way: Way| format!("CREATE DATABASE {} OWNER demo", way.database());
        cluster.sql("a", ROLES).expect("roles are made");
        Way::ALL.map(build).iter().for_each(|sql| drop(cluster.sql("a", sql).expect("a database is made")));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        for way in Way::ALL {
            let keeper = runtime.block_on(connect(&cluster, "a", way.database()));
            runtime.block_on(keeper.batch_execute(include_str!("setup.sql"))).expect("homes are made");
        }
        cluster.wait_replayed().expect("standbys replay");
        let split = proxy(&cluster, &[]);
        let crowded = proxy(&cluster, &["pool.size = 2", "pool.reserve = 0"]);
        let grounds = Grounds { split, crowded, cluster, runtime };
        [Way::Split, Way::Crowded].iter().for_each(|way| grounds.wait_for_the_catalog(*way));
        grounds
    }

    /// The port that leads there.
    pub fn port(&self, way: Way) -> u16 {
        match way {
            Way::Direct => self.cluster.port("a").expect("a is ours"),
            Way::Split => self.split.port(),
            Way::Crowded => self.crowded.port(),
        }
    }

    /// Somebody who looks after one home, past the proxies.
    pub fn keeper(&self, way: Way) -> Keeper<'_> {
        let nodes: &[&str] = if way == Way::Direct { &["a"] } else { &["a", "b", "c"] };
        let open = |node: &&str| self.runtime.block_on(connect(&self.cluster, node, way.database()));
        Keeper { runtime: &self.runtime, clients: nodes.iter().map(open).collect() }
    }

    /// How many requests a proxy has sent to standbys.
    pub fn reads_on_standbys(&self, way: Way) -> f64 {
        let proxy = if way == Way::Split { &self.split } else { &self.crowded };
        let text = get(proxy.http_port(), "/metrics");
        let counts =
            text.lines().filter(|line| line.starts_with("bellwether_routed_total{route=\"standby\""));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The proxies' last words.
    pub fn logs(&self) -> String {
        format!("split: {}\ncrowded: {}", self.split.log_tail(), self.crowded.log_tail())
    }

    /// Until then whatever names a table is for the primary.
    fn wait_for_the_catalog(&self, way: Way) {
        let port = self.port(way);
        let question = "SELECT current_setting('cluster_name') FROM base.numbers LIMIT 1";
        let config = format!("host=127.0.0.1 port={port} user=demo dbname={}", way.database());
        self.runtime.block_on(async {
            let client = connect_to(&config).await;
            let limit = Instant::now() + PATIENCE;
            loop {
                let node: String = client.query_one(question, &[]).await.expect("it is read").get(0);
                if node != "a" {
                    return;
                }
                assert!(Instant::now() < limit, "no read went to a standby");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
}

/// A superuser on every server.
pub struct Keeper<'a> {
    runtime: &'a tokio::runtime::Runtime,
    clients: Vec<tokio_postgres::Client>,
}

impl Keeper<'_> {
    /// Makes a home as it was at first. It is so on every server then: a session that is new has seen nothing yet, and
    /// may read on a standby what was there a moment ago.
    pub fn tidy(&self, numbers: Numbers) -> Result<(), String> {
        let waits = if self.clients.len() > 1 { "remote_apply" } else { "local" };
        let text = format!(
            "BEGIN; SET LOCAL synchronous_commit = {waits}; SELECT keeper.tidy('{:02}'), txid_current(); COMMIT",
            numbers.home
        );
        let done = self.runtime.block_on(self.clients[0].batch_execute(&text));
        done.map_err(|error| format!("the home cannot be tidied: {}", told(&error)))
    }

    /// Ends transactions that a script has prepared and left.
    pub fn end_prepared(&self, numbers: Numbers) {
        let primary = &self.clients[0];
        self.runtime.block_on(async {
            let text = "SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts \
                 WHERE database = current_database() AND strpos(gid, $1) > 0";
            let left = primary.query(text, &[&numbers.key.to_string()]).await.expect("a server tells");
            for row in left {
                primary.batch_execute(row.get(0)).await.expect("it can be ended");
            }
        });
    }

    /// Whether some server waits in a statement that names the script's key.
    pub fn sees_waiting(&self, numbers: Numbers) -> bool {
        let text = "SELECT count(*) FROM pg_stat_activity WHERE strpos(query, $1) > 0 AND state = 'active' \
             AND datname = current_database() AND wait_event_type IN ('Timeout', 'Lock')";
        let key = numbers.key.to_string();
        self.clients.iter().any(|client| {
            let row = self.runtime.block_on(client.query_one(text, &[&key])).expect("a server tells");
            row.get::<_, i64>(0) > 0
        })
    }
}

fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

fn proxy(cluster: &Cluster, settings: &[&str]) -> ProxyProcess {
    let mut options = ProxyOptions::new(env!("CARGO_BIN_EXE_bellwether"))
        .with("auth.rules = [\"host all all all trust\"]")
        .with("workers = 2");
    options.settings.extend(settings.iter().map(ToString::to_string));
    let mut proxy = ProxyProcess::start(cluster, options).unwrap_or_else(|error| panic!("{error}"));
    proxy.wait_ready(cluster).unwrap_or_else(|error| panic!("{error}"));
    proxy
}

async fn connect(cluster: &Cluster, node: &str, database: &str) -> tokio_postgres::Client {
    connect_to(&cluster.conninfo_as(node, "postgres", database).expect("it is ours")).await
}

async fn connect_to(conninfo: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await.expect("we are let in");
    tokio::spawn(async move {
        // Errors reach the client's calls as well.
        let _ = connection.await;
    });
    client
}

fn get(port: u16, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("HTTP is served");
    write!(stream, "GET {path} HTTP/1.0\r\nConnection: close\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    answer
}

const ROLES: &str = "CREATE ROLE helper; GRANT helper TO demo; CREATE ROLE stranger";
