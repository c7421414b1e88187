//! A `bellwether proxy` in front of a lab cluster, as a child process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::error::tail;
use super::ports::Port;
use super::run_as::RunAs;
use super::spawner::{self, Spawner};
use super::{Cluster, Error, Host, proxy_view, template};

/// How to start the proxy.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// The `bellwether` program: `env!("CARGO_BIN_EXE_bellwether")` in tests, the running one in the demo.
    pub binary: PathBuf,
    /// Where it runs.
    pub host: Host,
    /// The port wished for the endpoint; another free one is taken when someone has it.
    pub port: Option<u16>,
    /// The port wished for HTTP, likewise.
    pub http_port: Option<u16>,
    /// A Unix socket to listen on as well, named as libpq looks for it (`.s.PGSQL.6432` in some directory).
    pub unix_socket: Option<PathBuf>,
    /// How many of the cluster's servers, from the first, the configuration names.
    pub nodes: usize,
    /// Further settings, each one line of the configuration file with its key in full: `pool.size = 5`. A key
    /// the lab sets itself is replaced.
    pub settings: Vec<String>,
    /// Variables of its environment, for switches that only builds for tests have.
    pub environment: Vec<(String, String)>,
}

impl ProxyOptions {
    /// A proxy run from `binary`, on any free ports, with default settings.
    pub fn new(binary: impl Into<PathBuf>) -> ProxyOptions {
        ProxyOptions {
            binary: binary.into(),
            host: Host::default(),
            port: None,
            http_port: None,
            unix_socket: None,
            nodes: usize::MAX,
            settings: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds one setting, as in `pool.size = 5`.
    pub fn with(mut self, setting: &str) -> ProxyOptions {
        self.settings.push(setting.to_owned());
        self
    }
}

/// A running proxy. Dropping it kills it; so does the death of this process. Drop it before its cluster.
#[derive(Debug)]
pub struct ProxyProcess {
    child: Option<Child>,
    port: Port,
    http_port: Port,
    options: ProxyOptions,
    base: Vec<(String, String)>,
    config: PathBuf,
    log: PathBuf,
    run_as: RunAs,
    spawner: Spawner,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl ProxyProcess {
    /// Writes a configuration file for `cluster`, starts the proxy on it and waits until it accepts
    /// connections. Whether they are answered is another question: see [`wait_ready`](Self::wait_ready).
    pub fn start(cluster: &Cluster, options: ProxyOptions) -> Result<ProxyProcess, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let port = wished_or_any(options.port)?;
        let http_port = wished_or_any(options.http_port)?;
        let socket = options.unix_socket.as_deref();
        let at = |port: &Port| SocketAddr::from((options.host.address(), port.number()));
        let base = base_settings(cluster, at(&port), at(&http_port), socket, options.nodes)?;
        let spawner = Spawner::on(&options.host);
        let mut proxy = ProxyProcess {
            child: None,
            port,
            http_port,
            options,
            base,
            config: cluster.directory().join(format!("proxy-{nth}.toml")),
            log: cluster.directory().join(format!("proxy-{nth}.log")),
            run_as: RunAs::choose(),
            spawner,
        };
        proxy.run()?;
        Ok(proxy)
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill9`](Self::kill9), on the same ports.
    pub fn run(&mut self) -> Result<(), Error> {
        self.write_config()?;
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(Error::file("cannot open", &self.log))?;
        let again = log.try_clone().map_err(Error::file("cannot open", &self.log))?;
        let (mut command, opened) = self.program()?;
        command.arg("proxy").arg("--config").arg(&self.config).current_dir("/");
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        without_our_environment(&mut command);
        command.envs(self.options.environment.iter().cloned());
        self.run_as.apply(&mut command);
        self.child = Some(self.spawner.spawn(command, Signal::KILL)?);
        drop(opened);
        self.wait_listening()
    }

    /// Waits until the standbys stream, the endpoint answers as the primary, and the proxy sees every running
    /// server in its present role.
    pub fn wait_ready(&mut self, cluster: &Cluster) -> Result<(), Error> {
        cluster.wait_streaming()?;
        let endpoint = self.endpoint();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = match is_ready(cluster, &endpoint, self.http_port()) {
                Ok(()) => return Ok(()),
                Err(seen) => seen,
            };
            self.still_alive()?;
            if Instant::now() > deadline {
                let detail = format!("{seen}\n{}", self.log_tail());
                let what = "an answer from the proxy".to_owned();
                return Err(Error::TimedOut { what, seconds: PATIENCE.as_secs(), detail });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.still_alive().is_ok()
    }

    /// Asks the proxy to end (SIGTERM) and waits; one that does not end in time is killed, which the status
    /// shows.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        spawner::signal(&child, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the proxy with SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Replaces the further settings, writes the file and sends SIGHUP.
    pub fn reload(&mut self, settings: Vec<String>) -> Result<(), Error> {
        self.options.settings = settings;
        self.write_config()?;
        self.signal(Signal::HUP);
        Ok(())
    }

    /// Sends a signal to the proxy, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            spawner::signal(child, signal);
        }
    }

    /// The address it listens at: its host's.
    pub fn address(&self) -> Ipv4Addr {
        self.options.host.address()
    }

    /// The endpoint's port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The endpoint as a `postgres://` URL for user and database `demo`.
    pub fn endpoint(&self) -> String {
        format!("postgres://demo:demo@{}:{}/demo", self.address(), self.port())
    }

    /// The endpoint in keyword form for one of the lab's users (password equal to the name).
    pub fn conninfo_as(&self, user: &str, database: &str) -> String {
        let (address, port) = (self.address(), self.port());
        format!("host={address} port={port} user={user} password={user} dbname={database}")
    }

    /// Port of the proxy's HTTP interface.
    pub fn http_port(&self) -> u16 {
        self.http_port.number()
    }

    /// Base URL of the proxy's HTTP interface.
    pub fn http(&self) -> String {
        format!("http://{}:{}", self.address(), self.http_port())
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The configuration file it reads.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// The last lines it logged.
    pub fn log_tail(&self) -> String {
        tail(&self.log(), 12)
    }

    fn write_config(&self) -> Result<(), Error> {
        template::write(&self.config, &render(&self.base, &self.options.settings), self.run_as)
    }

    /// The program, by its path or, where the unprivileged user cannot reach that (a clone under `/root`), by
    /// an open file of ours; the file must stay open until the child has started.
    fn program(&self) -> Result<(Command, Option<File>), Error> {
        let binary = &self.options.binary;
        if self.run_as.barred_from(binary).is_none() {
            return Ok((Command::new(binary), None));
        }
        let opened = File::open(binary).map_err(Error::file("cannot open", binary))?;
        let mut command = Command::new(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        command.arg0("bellwether");
        Ok((command, Some(opened)))
    }

    fn wait_listening(&mut self) -> Result<(), Error> {
        let address = SocketAddr::from((self.address(), self.port()));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address, PATIENCE).is_err() {
            self.still_alive()?;
            if Instant::now() > deadline {
                let what = format!("the proxy listening on port {}", self.port());
                return Err(Error::TimedOut { what, seconds: PATIENCE.as_secs(), detail: self.log_tail() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.still_alive()
    }

    fn still_alive(&mut self) -> Result<(), Error> {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        match ended {
            Some(status) => {
                self.child = None;
                let program = "bellwether proxy".to_owned();
                Err(Error::Failed { program, status: status.to_string(), output: self.log_tail() })
            }
            None => Ok(()),
        }
    }
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Whether the endpoint reaches a primary and the proxy sees the cluster as it is; if not, says what it sees.
/// `pg_is_in_recovery` is volatile, so the question is not a plain read that a standby might answer.
pub(super) fn is_ready(cluster: &Cluster, endpoint: &str, http_port: u16) -> Result<(), String> {
    match cluster.sql_at(endpoint, "SELECT pg_is_in_recovery()") {
        Ok(answer) if answer == "f" => proxy_view::agrees(cluster, http_port),
        Ok(answer) => Err(format!("pg_is_in_recovery() came back as {answer:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn wished_or_any(wished: Option<u16>) -> Result<Port, Error> {
    match wished.map(Port::exactly).transpose()?.flatten() {
        Some(port) => Ok(port),
        None => Port::reserve(),
    }
}

fn base_settings(
    cluster: &Cluster,
    endpoint: SocketAddr,
    http: SocketAddr,
    socket: Option<&Path>,
    nodes: usize,
) -> Result<Vec<(String, String)>, Error> {
    let socket = socket.map(|path| format!("unix:{}", path.display()));
    let listen: Vec<String> = [endpoint.to_string()].into_iter().chain(socket).collect();
    let mut base = vec![
        ("listen".to_owned(), format!("{listen:?}")),
        ("http.listen".to_owned(), format!("\"{http}\"")),
        ("cluster.user".to_owned(), "\"bellwether\"".to_owned()),
        ("cluster.password".to_owned(), "\"bellwether\"".to_owned()),
        ("cluster.database".to_owned(), "\"postgres\"".to_owned()),
    ];
    for name in cluster.names().iter().take(nodes) {
        let (address, port) = (cluster.address(name)?, cluster.port(name)?);
        base.push((format!("nodes.{name}"), format!("\"postgres://{address}:{port}\"")));
    }
    Ok(base)
}

/// Everything in dotted keys and no table headers, so that a line can be added anywhere.
fn render(base: &[(String, String)], settings: &[String]) -> String {
    let key_of = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let replaced: Vec<String> = settings.iter().map(|line| key_of(line)).collect();
    let ours = base
        .iter()
        .filter(|(key, _)| !replaced.contains(key))
        .map(|(key, value)| format!("{key} = {value}\n"));
    let theirs = settings.iter().map(|line| format!("{line}\n"));
    ours.chain(theirs).collect()
}

/// A `BELLWETHER_LISTEN` in the user's environment would override the file.
fn without_our_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"BELLWETHER_") {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_replaces_the_labs_own() {
        let base = [("listen".to_owned(), "1".to_owned()), ("cluster.user".to_owned(), "2".to_owned())];
        let settings = ["listen = 3".to_owned(), "pool.size = 4".to_owned()];
        assert_eq!(render(&base, &settings), "cluster.user = 2\nlisten = 3\npool.size = 4\n");
    }
}
