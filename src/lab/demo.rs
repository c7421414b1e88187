//! `bellwether demo`: a cluster with the proxy in front, to look at, to script, and to throw away.

mod ending;
mod output;
mod perform;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::ending::{Ending, Reason};
use self::output::Output;
use self::perform::Tally;
use super::script::{self, Step};
use super::{Cluster, Error, ProxyOptions, ProxyProcess};

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many servers; the first starts as the primary.
    pub nodes: usize,
    /// The endpoint's port; another is taken, and named, when it is not free.
    pub port: u16,
    /// Where to keep the data, in place of a temporary directory.
    pub data: Option<PathBuf>,
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
        Options { nodes: 3, port: 6432, data: None, keep: false, json: false, exit_after: None, script: None }
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
    report(&output, &ending, began, &outcome)
}

/// What happened after the start.
struct Outcome {
    tally: Tally,
    reason: Reason,
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
    let cluster = start_cluster(options)?;
    let mut proxy = start_proxy(options, &cluster)?;
    announce(output, options, &cluster, &proxy, began.elapsed());

    let (endpoint, http_port) = (proxy.endpoint(), proxy.http_port());
    let tally = std::thread::scope(|scope| {
        scope.spawn(|| status::show(&cluster, output, ending));
        let performer = steps.as_deref().map(|steps| {
            scope.spawn(|| perform::perform(steps, &cluster, &endpoint, http_port, output, ending))
        });
        wait_for_the_end(options, &mut proxy, output, ending);
        // Whatever the other threads are waiting for fails now, and they come back.
        proxy.kill9();
        cluster.halt();
        performer.map(|thread| thread.join().expect("the script's thread does not panic")).unwrap_or_default()
    });
    let reason = ending.reason().unwrap_or(Reason::ScriptDone);
    Ok(Outcome { tally, reason })
}

fn start_cluster(options: &Options) -> Result<Cluster, Error> {
    Cluster::start(super::Options {
        nodes: options.nodes,
        directory: options.data.clone(),
        keep: keeps(options),
        ..super::Options::default()
    })
}

/// Data that was kept once is not thrown away because `--keep` was forgotten the second time.
fn keeps(options: &Options) -> bool {
    options.data.as_ref().is_some_and(|path| options.keep || super::holds_a_lab(path))
}

fn start_proxy(options: &Options, cluster: &Cluster) -> Result<ProxyProcess, Error> {
    let binary = std::env::current_exe().map_err(Error::file("cannot find", "/proc/self/exe"))?;
    let mut proxy = ProxyOptions::new(binary);
    proxy.port = Some(options.port);
    proxy.http_port = Some(9632);
    let mut proxy = ProxyProcess::start(cluster, proxy)?;
    proxy.wait_ready(cluster)?;
    Ok(proxy)
}

fn announce(output: &Output, options: &Options, cluster: &Cluster, proxy: &ProxyProcess, took: Duration) {
    output.json(|| ready_event(cluster, proxy, took));
    let endpoint = proxy.endpoint();
    let binaries = cluster.binaries();
    output.text(&format!("PostgreSQL {} from {}", binaries.version(), binaries.directory().display()));
    for (name, role, port) in members(cluster) {
        output.text(&format!("  {name}      127.0.0.1:{port:<6} {role}"));
    }
    output.text(&format!("  proxy  127.0.0.1:{:<6} ready in {:.1} s", proxy.port(), took.as_secs_f64()));
    if proxy.port() != options.port {
        output.text(&format!("         (port {} is taken, so {} it is)", options.port, proxy.port()));
    }
    output.text("");
    output.text(&format!("  psql {endpoint}"));
    output.text(&format!("  psql {endpoint} -c 'create table t (n int)'"));
    output.text(&format!(
        "  psql {endpoint} -c \"select current_setting('cluster_name')\"    # which server read it"
    ));
    output.text(&format!("  curl {}/metrics", proxy.http()));
    output.text("");
    let directory = cluster.directory().display();
    let fate = if cluster.is_kept() { "kept" } else { "removed at the end" };
    output.text(&format!("  data and logs in {directory} ({fate}; fsync is off). Ctrl-C ends it."));
    output.text("");
}

fn ready_event(cluster: &Cluster, proxy: &ProxyProcess, took: Duration) -> Value {
    let nodes: Vec<Value> = members(cluster)
        .map(|(name, role, port)| json!({"name": name, "role": role, "host": "127.0.0.1", "port": port}))
        .collect();
    json!({
        "event": "ready",
        "endpoint": proxy.endpoint(),
        "nodes": nodes,
        "http": proxy.http(),
        "user": "demo",
        "password": "demo",
        "database": "demo",
        "directory": cluster.directory(),
        "proxy_pid": proxy.pid(),
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
fn wait_for_the_end(options: &Options, proxy: &mut ProxyProcess, output: &Output, ending: &Ending) {
    let deadline = options.exit_after.map(|after| Instant::now() + after);
    while ending.wait(Duration::from_millis(100)).is_none() {
        if !proxy.is_running() {
            output.text(&proxy.log_tail());
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

fn report(output: &Output, ending: &Ending, began: Instant, outcome: &Result<Outcome, Failure>) -> ExitCode {
    let (tally, reason) = match outcome {
        Ok(outcome) => (outcome.tally.clone(), outcome.reason),
        Err(_) => (Tally::default(), ending.reason().unwrap_or(Reason::NotStarted)),
    };
    let error = match outcome {
        Err(Failure::Unprepared(text) | Failure::Broken(text)) => Some(text.clone()),
        Ok(outcome) => outcome.error(),
    };
    let code = match outcome {
        Err(Failure::Unprepared(_)) => 2,
        _ => u8::from(error.is_some()),
    };
    output.end_status();
    output.json(|| {
        json!({
            "event": "report",
            "uptime_seconds": round(began.elapsed()),
            "reason": reason.text(),
            "statements": tally.statements,
            "asserts_passed": tally.passed,
            "asserts_failed": tally.failed,
            "error": error,
            "exit_code": code,
        })
    });
    if let Some(error) = &error {
        output.error(error);
    }
    let steps = match tally.statements {
        0 => String::new(),
        ran => format!("; {ran} statements, {} assertions held, {} failed", tally.passed, tally.failed),
    };
    output.text(&format!("{} after {:.1} s{steps}", reason.text(), began.elapsed().as_secs_f64()));
    ExitCode::from(code)
}

impl Outcome {
    /// A script cut short is a failure, whoever cut it.
    fn error(&self) -> Option<String> {
        match self.reason {
            Reason::ProxyDied => Some("the proxy ended by itself".to_owned()),
            _ if self.tally.error.is_some() => self.tally.error.clone(),
            _ => None,
        }
    }
}

fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
