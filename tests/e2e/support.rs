//! What every end-to-end test needs: a cluster, the proxy in front, and clients.

pub mod certificates;
pub mod raw;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess};

/// The program under test.
pub const BELLWETHER: &str = env!("CARGO_BIN_EXE_bellwether");

/// A cluster with a proxy in front. Fields are dropped in order: the proxy goes first.
pub struct Bench {
    pub proxy: ProxyProcess,
    pub cluster: Cluster,
}

impl Bench {
    /// A primary `a`, standbys `b` and `c`, and a proxy with default settings that knows them.
    pub fn start() -> Bench {
        Bench::with(Options::default(), &[])
    }

    /// Any cluster, and further settings for the proxy (`pool.size = 5`).
    pub fn with(options: Options, settings: &[&str]) -> Bench {
        Bench::before(Cluster::start(options).unwrap_or_else(|error| panic!("{error}")), settings)
    }

    /// A proxy in front of a cluster that runs already.
    pub fn before(cluster: Cluster, settings: &[&str]) -> Bench {
        let mut proxy = ProxyOptions::new(BELLWETHER);
        proxy.settings = settings.iter().map(ToString::to_string).collect();
        let mut proxy = ProxyProcess::start(&cluster, proxy).unwrap_or_else(|error| panic!("{error}"));
        proxy.wait_ready(&cluster).unwrap_or_else(|error| panic!("{error}"));
        Bench { proxy, cluster }
    }

    /// Runs SQL through the proxy as `demo`, in a psql of its own, and returns the rows.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}\nproxy log:\n{}", self.proxy.log_tail()))
    }

    /// The same where an error is what the test is after; the text is psql's.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.cluster.sql_at(&self.proxy.endpoint(), sql).map_err(|error| error.to_string())
    }

    /// Runs pgbench against the proxy and returns what it printed; it must succeed.
    pub fn pgbench(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.cluster.binaries().program("pgbench"));
        finish(command.args(arguments).arg(self.proxy.endpoint()), &self.proxy)
    }

    /// Runs one of the programs in `tests/e2e/python` with the endpoint as its argument; it must succeed.
    pub fn python(&self, program: &str) -> String {
        let program = repository().join("tests/e2e/python").join(program);
        finish(Command::new(python()).arg(program).arg(self.proxy.endpoint()), &self.proxy)
    }

    /// Connects through the proxy with tokio-postgres as `demo`.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.proxy.conninfo_as("demo", "demo")).await
    }
}

/// A primary and a standby where a commit returns only once the standby shows it: tests that compare what they
/// read with what they wrote need not wait.
pub fn applied_everywhere() -> Options {
    let conf = ["synchronous_standby_names = 'b'", "synchronous_commit = remote_apply"];
    Options { nodes: 2, conf: conf.map(String::from).into(), ..Options::default() }
}

/// Connects to any server; the connection's task ends with the client.
pub async fn connect(conninfo: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(conninfo, tokio_postgres::NoTls).await.expect("the endpoint lets us in");
    tokio::spawn(async move {
        // Errors reach the client's calls as well.
        let _ = connection.await;
    });
    client
}

/// Polls until `done` says so; panics with `what` when it never does.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn finish(command: &mut Command, proxy: &ProxyProcess) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program can be started");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}\nproxy log:\n{}", proxy.log_tail());
    stdout.into_owned()
}

/// The interpreter with the drivers, made by `./dev setup`.
fn python() -> PathBuf {
    let python = repository().join(".venv/bin/python");
    assert!(python.exists(), "the Python drivers are missing: run ./dev setup");
    python
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
