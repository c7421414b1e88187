//! What the demo is made of, and what can be done to it: by a script or by keys.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::proxy_process::is_ready;
use super::super::script::{Figure, Whom};
use super::super::workload::{Report, Workload};
use super::super::{Cluster, Error, Etcd, ProxyProcess, Shutdown, proxy_view};
use super::ending::Ending;
use super::output::Output;

/// The servers, the proxies, and who works with them.
pub(super) struct Stage<'a> {
    pub cluster: &'a Cluster,
    pub etcd: Option<&'a Etcd>,
    pub proxies: Vec<Seat>,
    pub workload: Mutex<Option<Workload>>,
    pub output: &'a Output,
    pub ending: &'a Ending,
}

/// Where a proxy is.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub endpoint: String,
    pub http_port: u16,
}

impl Seat {
    pub fn of(proxy: &ProxyProcess) -> Seat {
        Seat { endpoint: proxy.endpoint(), http_port: proxy.http_port() }
    }
}

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

impl Stage<'_> {
    pub fn endpoint(&self) -> &str {
        &self.proxies[0].endpoint
    }

    /// Asks the proxies who leads, and takes note of it.
    pub fn primary(&self) -> Option<String> {
        let named = self.proxies.iter().find_map(|seat| proxy_view::primary(seat.http_port))?;
        let _ = self.cluster.note_primary(&named);
        Some(named)
    }

    pub fn name(&self, whom: &Whom) -> Result<String, String> {
        match whom {
            Whom::Node(name) => Ok(name.clone()),
            Whom::Primary => self.primary().ok_or_else(|| "there is no primary now".to_owned()),
        }
    }

    pub fn kill(&self, node: &str) -> Result<(), Error> {
        self.cluster.kill9(node)
    }

    pub fn stop_etcd(&self) -> Result<(), String> {
        self.etcd.map(Etcd::stop).ok_or_else(no_etcd)
    }

    pub fn start_etcd(&self) -> Result<(), String> {
        let etcd = self.etcd.ok_or_else(no_etcd)?;
        etcd.resume().map_err(|error| error.to_string())
    }

    /// Has the proxies move the lead, by the command an operator types; shows what that says.
    pub fn switchover(&self, to: Option<&str>) -> Result<(), String> {
        let mut arguments = vec!["switchover", "--yes"];
        arguments.extend(to.map(|to| ["--to", to]).into_iter().flatten());
        self.bellwether(&arguments)
    }

    /// Brings the old primary back as a standby after a switchover, as an operator would: nobody can demote a running
    /// primary over SQL.
    pub fn demote(&self, old: &str) -> Result<(), String> {
        self.until("other primary", PATIENCE, || self.primary().filter(|new| new != old))?;
        self.stop(old).map_err(|error| error.to_string())?;
        self.rejoin(old)
    }

    /// Promotes `node` by the command an operator types: planned while there is a primary, else forced.
    pub fn promote(&self, node: &str) -> Result<(), String> {
        match self.primary() {
            Some(old) => {
                self.switchover(Some(node))?;
                self.demote(&old)
            }
            None => self.bellwether(&["failover", "--to", node, "--yes"]),
        }
    }

    /// Runs one of the operator's verbs against the first proxy that is there, and shows what it says.
    pub fn bellwether(&self, arguments: &[&str]) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let seat = self.proxies.iter().find(|seat| proxy_view::primary(seat.http_port).is_some());
        let port = seat.unwrap_or(&self.proxies[0]).http_port;
        let (verb, options) = arguments.split_first().ok_or("no verb")?;
        let mut command = Command::new(program);
        command
            .arg(verb)
            .args(["--api", &format!("http://127.0.0.1:{port}"), "--color", "never"])
            .args(options);
        command.env("BELLWETHER_HTTP_TOKEN", TOKEN).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot run bellwether: {error}"))?;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                self.output.text(&format!("         {line}"));
            }
        }
        let ended = child.wait_with_output().map_err(|error| error.to_string())?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; ")),
        }
    }

    pub fn stop(&self, node: &str) -> Result<(), Error> {
        self.cluster.stop(node, Shutdown::Fast)
    }

    /// Starts a stopped server as a standby of whoever leads now.
    pub fn rejoin(&self, node: &str) -> Result<(), String> {
        self.wait_for_primary()?;
        self.cluster.rejoin(node).map_err(|error| error.to_string())
    }

    /// Waits until the proxies name a primary that is up.
    pub fn wait_for_primary(&self) -> Result<String, String> {
        self.until("primary", PATIENCE, || self.primary().filter(|name| self.cluster.is_running(name)))
    }

    /// Waits until a write through the endpoint succeeds.
    pub fn wait_writable(&self, limit: Duration) -> Result<(), String> {
        let probe = "CREATE TABLE IF NOT EXISTS bellwether_writable (n int); INSERT INTO bellwether_writable VALUES (1)";
        let write = || self.cluster.sql_at(self.endpoint(), probe).ok();
        self.until("write", limit, write)?;
        self.primary();
        Ok(())
    }

    /// Waits until the standbys stream, and all proxies answer and see every server as it is.
    pub fn wait_ready(&self) -> Result<(), String> {
        self.primary();
        self.cluster.wait_streaming().map_err(|error| error.to_string())?;
        let mut seen = String::new();
        let ready = || {
            let mut views =
                self.proxies.iter().map(|seat| is_ready(self.cluster, &seat.endpoint, seat.http_port));
            match views.find_map(Result::err) {
                None => Some(()),
                Some(why) => {
                    seen = why;
                    None
                }
            }
        };
        let waited = self.until("agreement of the proxies", PATIENCE, ready);
        waited.map_err(|error| format!("{error}: {seen}"))
    }

    fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut found: impl FnMut() -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = found() {
                return Ok(found);
            }
            if Instant::now() > deadline || self.ending.wait(Duration::from_millis(20)).is_some() {
                return Err(format!("there was no {what} within {} s", limit.as_secs_f64()));
            }
        }
    }

    /// Has this many clients write and read from now on.
    pub fn work(&self, clients: usize) -> Result<(), String> {
        let mut workload = self.workload();
        match &*workload {
            Some(workload) => workload.resize(clients),
            None => {
                let endpoints = self.proxies.iter().map(|seat| seat.endpoint.clone()).collect();
                let started = Workload::start(self.cluster, endpoints, clients);
                *workload = Some(started.map_err(|error| error.to_string())?);
            }
        }
        Ok(())
    }

    /// Compares what the clients were told with what is there; `None` when none ever ran.
    pub fn audit(&self) -> Result<Option<Report>, String> {
        let workload = self.workload();
        let audit = workload.as_ref().map(|workload| workload.audit(self.cluster)).transpose();
        audit.map_err(|error| error.to_string())
    }

    /// Ends the clients and does the last audit, as far as there is a primary to ask.
    pub fn last_audit(&self) -> Option<Report> {
        if let Some(workload) = &mut *self.workload() {
            workload.stop();
        }
        match self.audit() {
            Ok(report) => report,
            Err(why) => {
                self.output.text(&format!("the workload could not be checked: {why}"));
                None
            }
        }
    }

    pub fn figure(&self, figure: Figure) -> Result<u64, String> {
        let report = self.audit()?.ok_or("no workload has run: say `workload 8` before")?;
        let pause = report.progress.write_pause.max(report.progress.read_pause);
        Ok(match figure {
            Figure::Lost => report.lost,
            Figure::Duplicated => report.duplicated,
            Figure::Stale => report.progress.stale,
            Figure::Errors => report.progress.error_count(),
            Figure::Pause => u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            Figure::Writes => report.progress.writes,
        })
    }

    pub fn workload(&self) -> MutexGuard<'_, Option<Workload>> {
        self.workload.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the demo's own commands change something over HTTP.
pub(super) const TOKEN: &str = "demo";

fn no_etcd() -> String {
    "this demo has no etcd".to_owned()
}
