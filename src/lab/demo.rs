//! `bellwether demo`: a cluster with the proxy in front, to look at, to script, and to throw away.

mod ending;
mod keys;
mod output;
mod perform;
mod report;
mod stage;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::ending::{Ending, Reason};
use self::output::Output;
use self::perform::Tally;
use self::stage::{Seat, Stage};
use super::script::{self, Step};
use super::workload::Report;
use super::{Cluster, Error, Etcd, EtcdOptions, ProxyOptions, ProxyProcess};

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many servers; the first starts as the primary.
    pub nodes: usize,
    /// The endpoint's port; another is taken, and named, when it is not free.
    pub port: u16,
    /// Where to keep the data, in place of a temporary directory.
    pub data: Option<PathBuf>,
    /// Lines for the `postgresql.conf` of every server.
    pub conf: Vec<String>,
    /// Leave `data` there at the end; the next start with it goes on from there.
    pub keep: bool,
    /// One JSON object a line in place of text.
    pub json: bool,
    /// End this long after everything is ready.
    pub exit_after: Option<Duration>,
    /// A script to run once ready, or `@FILE` to read it from; the demo ends with it.
    pub script: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodes: 3,
            port: 6432,
            data: None,
            conf: Vec::new(),
            keep: false,
            json: false,
            exit_after: None,
            script: None,
        }
    }
}

/// Runs the demo to its end and prints as it goes. Blocks; call it from a thread without an async runtime.
///
/// The code is 0 when all went well (also on Ctrl-C), 1 when something failed, an assertion included, and 2
/// when it could not begin: no PostgreSQL, or a script that makes no sense.
pub fn run(options: Options) -> ExitCode {
    let output = Output::new(options.json);
    let ending = Arc::new(Ending::new());
    let began = Instant::now();
    ending::watch_signals(&ending);
    let outcome = steps(&options).and_then(|steps| perform(&options, steps, &output, &ending));
    report::report(&output, &ending, began, &outcome)
}

/// What happened after the start.
struct Outcome {
    tally: Tally,
    reason: Reason,
    /// What the clients were told against what is there.
    report: Option<Report>,
}

/// Why there is no outcome.
enum Failure {
    /// Nothing was started.
    Unprepared(String),
    /// Something broke.
    Broken(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotInstalled { .. } => Failure::Unprepared(error.to_string()),
            _ => Failure::Broken(error.to_string()),
        }
    }
}

fn steps(options: &Options) -> Result<Option<Vec<Step>>, Failure> {
    let Some(given) = &options.script else { return Ok(None) };
    let text = match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Failure::Unprepared(format!("cannot read script {file}: {error}")))?,
        None => given.clone(),
    };
    script::parse(&text).map(Some).map_err(|error| Failure::Unprepared(error.to_string()))
}

fn perform(
    options: &Options,
    steps: Option<Vec<Step>>,
    output: &Output,
    ending: &Arc<Ending>,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let etcd = start_etcd()?;
    let cluster = start_cluster(options)?;
    let mut proxies = start_proxies(options, &cluster, etcd.as_ref())?;
    announce(output, options, &cluster, &proxies, etcd.as_ref(), began.elapsed());

    let stage = Stage {
        cluster: &cluster,
        etcd: etcd.as_ref(),
        proxies: proxies.iter().map(Seat::of).collect(),
        workload: Mutex::default(),
        output,
        ending,
    };
    if steps.is_none() {
        stage.work(CLIENTS).map_err(Failure::Broken)?;
    }
    let (tally, report) = std::thread::scope(|scope| {
        scope.spawn(|| status::show(&stage));
        let performer = steps.as_deref().map(|steps| scope.spawn(|| perform::perform(steps, &stage)));
        if performer.is_none() {
            scope.spawn(|| keys::obey(&stage));
        }
        wait_for_the_end(options, &mut proxies, output, ending);
        let report = stage.last_audit();
        // Whatever the other threads are waiting for fails now, and they come back.
        proxies.iter_mut().for_each(ProxyProcess::kill9);
        cluster.halt();
        let tally = performer.map(|thread| thread.join().expect("the script's thread does not panic"));
        (tally.unwrap_or_default(), report)
    });
    let reason = ending.reason().unwrap_or(Reason::ScriptDone);
    Ok(Outcome { tally, reason, report })
}

/// Clients that work while somebody watches.
const CLIENTS: usize = 4;

/// Where there is no etcd to start, the one proxy there is keeps what would stand there in its own memory.
fn start_etcd() -> Result<Option<Etcd>, Error> {
    if Etcd::is_installed() { Etcd::start(EtcdOptions::default()).map(Some) } else { Ok(None) }
}

fn start_cluster(options: &Options) -> Result<Cluster, Error> {
    Cluster::start(super::Options {
        nodes: options.nodes,
        conf: options.conf.clone(),
        directory: options.data.clone(),
        keep: keeps(options),
        // The proxies make their own.
        slots: false,
        ..super::Options::default()
    })
}

/// Data that was kept once is not thrown away because `--keep` was forgotten the second time.
fn keeps(options: &Options) -> bool {
    options.data.as_ref().is_some_and(|path| options.keep || super::holds_a_lab(path))
}

fn start_proxies(
    options: &Options,
    cluster: &Cluster,
    etcd: Option<&Etcd>,
) -> Result<Vec<ProxyProcess>, Error> {
    let binary = std::env::current_exe().map_err(Error::file("cannot find", "/proc/self/exe"))?;
    let store = etcd.map_or("memory:".to_owned(), |etcd| etcd.endpoint(0));
    let mut proxies = Vec::new();
    for nth in 0..if etcd.is_some() { 2 } else { 1 } {
        let mut proxy = ProxyOptions::new(&binary)
            .with(&format!("etcd = [\"{store}\"]"))
            .with(&format!("leading.name = \"p{nth}\""))
            // Nothing acknowledged is lost while there is a standby; with none, or after its loss, work goes on.
            .with("leading.durability = \"sync\"")
            .with("leading.strict = false")
            // Whoever presses keys wants to see what comes of them now.
            .with("leading.between_failovers = \"1s\"")
            .with(&format!("http.token = \"{}\"", stage::TOKEN));
        proxy.port = Some(options.port.saturating_add(nth));
        proxy.http_port = Some(HTTP_PORT + nth);
        proxies.push(ProxyProcess::start(cluster, proxy)?);
    }
    for proxy in &mut proxies {
        proxy.wait_ready(cluster)?;
    }
    Ok(proxies)
}

const HTTP_PORT: u16 = 9632;

fn announce(
    output: &Output,
    options: &Options,
    cluster: &Cluster,
    proxies: &[ProxyProcess],
    etcd: Option<&Etcd>,
    took: Duration,
) {
    output.json(|| ready_event(cluster, proxies, etcd, took));
    let first = &proxies[0];
    let endpoint = first.endpoint();
    let binaries = cluster.binaries();
    output.text(&format!("PostgreSQL {} from {}", binaries.version(), binaries.directory().display()));
    for (name, role, port) in members(cluster) {
        output.text(&format!("  {name}      127.0.0.1:{port:<6} {role}"));
    }
    match etcd {
        Some(etcd) => output.text(&format!("  etcd   {}", etcd.endpoint(0))),
        None => {
            output.text("  etcd   not installed: the one proxy keeps the cluster's records in its memory")
        }
    }
    for (nth, proxy) in proxies.iter().enumerate() {
        let when = match nth + 1 == proxies.len() {
            true => format!("ready in {:.1} s", took.as_secs_f64()),
            false => String::new(),
        };
        output.text(&format!("  proxy  127.0.0.1:{:<6} {when}", proxy.port()));
    }
    if first.port() != options.port {
        output.text(&format!("         (port {} is taken, so {} it is)", options.port, first.port()));
    }
    output.text("");
    output.text(&format!("  psql {endpoint}"));
    output.text(&format!("  psql {endpoint} -c 'create table t (n int)'"));
    output.text(&format!(
        "  psql {endpoint} -c \"select current_setting('cluster_name')\"    # which server read it"
    ));
    output.text(&format!("  curl {}/metrics", first.http()));
    // As it was called, which can be pasted; it need not be on the path.
    let program = std::env::args().next().unwrap_or_else(|| "bellwether".to_owned());
    output.text(&format!("  {program} status --api {}", first.http()));
    output.text("");
    let directory = cluster.directory().display();
    let fate = if cluster.is_kept() { "kept" } else { "removed at the end" };
    output.text(&format!("  data and logs in {directory} ({fate}; fsync is off). Ctrl-C ends it."));
    if output.is_terminal() && options.script.is_none() {
        output.text(&format!("  {CLIENTS} clients write numbered rows and read them back."));
        keys::HELP.iter().for_each(|line| output.text(&format!("  {line}")));
    }
    output.text("");
}

fn ready_event(cluster: &Cluster, proxies: &[ProxyProcess], etcd: Option<&Etcd>, took: Duration) -> Value {
    let nodes: Vec<Value> = members(cluster)
        .map(|(name, role, port)| json!({"name": name, "role": role, "host": "127.0.0.1", "port": port}))
        .collect();
    let first = &proxies[0];
    let all: Vec<Value> = proxies
        .iter()
        .map(|proxy| json!({"endpoint": proxy.endpoint(), "http": proxy.http(), "pid": proxy.pid()}))
        .collect();
    json!({
        "event": "ready",
        "endpoint": first.endpoint(),
        "nodes": nodes,
        "http": first.http(),
        "proxies": all,
        "etcd": etcd.map(|etcd| etcd.endpoint(0)),
        "user": "demo",
        "password": "demo",
        "database": "demo",
        "directory": cluster.directory(),
        "proxy_pid": first.pid(),
        "seconds": round(took),
    })
}

/// Name, role and port of every server.
fn members(cluster: &Cluster) -> impl Iterator<Item = (&str, &'static str, u16)> {
    cluster.names().iter().map(|name| {
        let standby = cluster.is_standby(name).unwrap_or(false);
        let role = if standby { "standby" } else { "primary" };
        (name.as_str(), role, cluster.port(name).unwrap_or(0))
    })
}

/// Returns when there is a reason to end.
fn wait_for_the_end(options: &Options, proxies: &mut [ProxyProcess], output: &Output, ending: &Ending) {
    let deadline = options.exit_after.map(|after| Instant::now() + after);
    while ending.wait(Duration::from_millis(100)).is_none() {
        if let Some(dead) =
            proxies.iter_mut().find_map(|proxy| (!proxy.is_running()).then(|| proxy.log_tail()))
        {
            output.text(&dead);
            ending.end(Reason::ProxyDied);
        } else if ending.parent_is_gone() {
            ending.end(Reason::ParentGone);
        } else if output.is_broken() {
            ending.end(Reason::OutputClosed);
        } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            ending.end(Reason::TimeIsUp);
        }
    }
}

fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
