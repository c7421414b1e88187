//! Real members of etcd, started, killed and frozen on demand.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::error::tail;
use super::ports::Port;
use super::run_as::RunAs;
use super::spawner::{self, Spawner};
use super::workdir::Workdir;
use super::{Error, Host};

/// What kind of etcd to start. The default is one member, without TLS.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// How many members; they are named `m0`, `m1`, ...
    pub members: usize,
    /// Where all of them run.
    pub host: Host,
    /// Certificates, when clients shall speak TLS. Members talk to each other without.
    pub tls: Option<EtcdTls>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        EtcdOptions { members: 1, host: Host::default(), tls: None }
    }
}

/// Certificates for clients' connections, PEM text.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// The members' certificate, for all the same; must name 127.0.0.1.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Issuer of client certificates: clients must show one.
    pub client_ca: Option<String>,
}

/// A running etcd. Dropping it kills the members and removes their directories; so does the death of this process.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Mutex<Member>>,
    options: EtcdOptions,
    programs: Programs,
    run_as: RunAs,
    spawner: Spawner,
    workdir: Workdir,
}

#[derive(Debug)]
struct Member {
    name: String,
    directory: PathBuf,
    address: Ipv4Addr,
    client: Port,
    peer: Port,
    /// Where `/health` and `/metrics` are, without TLS whatever clients use.
    metrics: Port,
    child: Option<Child>,
}

/// Where etcd and its command are.
#[derive(Clone, Debug)]
struct Programs {
    etcd: PathBuf,
    etcdctl: PathBuf,
}

/// How long a member may take to start, or the members to elect a leader, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

impl Etcd {
    /// Whether there is an etcd on this machine that [`Etcd::start`] could start.
    pub fn is_installed() -> bool {
        Programs::find().is_ok()
    }

    /// Starts the members and waits until they have a leader.
    pub fn start(options: EtcdOptions) -> Result<Etcd, Error> {
        let programs = Programs::find()?;
        let run_as = RunAs::choose();
        super::reap_stale();
        let workdir = Workdir::temporary(run_as)?;
        let address = options.host.address();
        let members = (0..options.members.max(1)).map(|nth| Member::new(nth, address, workdir.path()));
        let members = members.map(|member| member.map(Mutex::new)).collect::<Result<_, _>>()?;
        let spawner = Spawner::on(&options.host);
        let etcd = Etcd { members, options, programs, run_as, spawner, workdir };
        etcd.write_certificates()?;
        for index in 0..etcd.members.len() {
            etcd.spawn(index)?;
        }
        etcd.wait_healthy()?;
        Ok(etcd)
    }

    // ---- commands -------------------------------------------------------------------------------------

    /// Kills a member with SIGKILL, as a crash of its machine would. One that does not run stays so.
    pub fn kill(&self, index: usize) {
        if let Some(mut child) = self.member(index).child.take() {
            spawner::signal(&child, Signal::KILL);
            let _ = child.wait();
        }
    }

    /// Stops a member in its tracks: connections stay open and nobody answers.
    pub fn freeze(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// Lets a frozen member go on as if nothing had been.
    pub fn thaw(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    /// Starts a killed member again on its data, and does not wait for it.
    pub fn start_member(&self, index: usize) -> Result<(), Error> {
        if self.member(index).child.is_some() {
            let node = self.member(index).name.clone();
            return Err(Error::WrongState { node, reason: "is running already".to_owned() });
        }
        self.spawn(index)
    }

    /// Kills all members.
    pub fn stop(&self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }

    /// Starts all members that do not run, and waits until they have a leader.
    pub fn resume(&self) -> Result<(), Error> {
        for index in 0..self.members.len() {
            if self.member(index).child.is_none() {
                self.spawn(index)?;
            }
        }
        self.wait_healthy()
    }

    /// Waits until every member that runs says it is healthy, which takes a leader.
    pub fn wait_healthy(&self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        for index in 0..self.members.len() {
            loop {
                let mut member = self.member(index);
                if member.child.is_none() || member.http("/health").contains(r#""health":"true""#) {
                    break;
                }
                if let Some(Ok(Some(status))) = member.child.as_mut().map(Child::try_wait) {
                    member.child = None;
                    let program = format!("etcd (member {})", member.name);
                    return Err(Error::Failed {
                        program,
                        status: status.to_string(),
                        output: member.log_tail(),
                    });
                }
                if Instant::now() > deadline {
                    let what = format!("health of etcd member {}", member.name);
                    return Err(Error::TimedOut {
                        what,
                        seconds: PATIENCE.as_secs(),
                        detail: member.log_tail(),
                    });
                }
                drop(member);
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// Runs `etcdctl` against the first member, as `user:password` if given, and returns what it prints.
    ///
    /// Not for members with TLS.
    pub fn ctl(&self, user: Option<&str>, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(&self.programs.etcdctl);
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.endpoint(0));
        command.args(user.map(|user| format!("--user={user}"))).args(arguments);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|source| Error::Spawn {
            program: self.programs.etcdctl.display().to_string(),
            source,
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Failed {
            program: "etcdctl".to_owned(),
            status: output.status.to_string(),
            output: tail(&text, 5),
        })
    }

    // ---- questions ------------------------------------------------------------------------------------

    /// Every member's client address, running or not.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|index| self.endpoint(index)).collect()
    }

    /// Which member leads; `None` while none that answers does.
    pub fn leader(&self) -> Option<usize> {
        let leads =
            |index: &usize| self.member(*index).http("/metrics").contains("\netcd_server_is_leader 1");
        (0..self.members.len()).find(leads)
    }

    /// Process id of a member while it runs.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.member(index).child.as_ref().map(Child::id)
    }

    /// The directory of all members.
    pub fn directory(&self) -> &Path {
        self.workdir.path()
    }

    /// Returns where clients of a member connect, as an URL.
    pub fn endpoint(&self, index: usize) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.options.host.address(), self.member(index).client.number())
    }

    fn signal(&self, index: usize, signal: Signal) {
        if let Some(child) = &self.member(index).child {
            spawner::signal(child, signal);
        }
    }

    fn spawn(&self, index: usize) -> Result<(), Error> {
        let (client, all) = (self.endpoint(index), self.initial_cluster());
        let mut member = self.member(index);
        fs::create_dir_all(&member.directory).map_err(Error::file("cannot create", &member.directory))?;
        self.run_as.own(&member.directory)?;
        let log = File::options().create(true).append(true).open(member.log());
        let log = log.map_err(Error::file("cannot open", member.log()))?;
        let again = log.try_clone().map_err(Error::file("cannot open", member.log()))?;
        let peer = member.peer_url();
        let metrics = format!("http://{}:{}", member.address, member.metrics.number());
        let mut command = Command::new(&self.programs.etcd);
        command.args(["--name", &member.name, "--initial-cluster", &all, "--initial-cluster-state", "new"]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-metrics-urls", &metrics]).arg("--data-dir").arg(&member.directory);
        for (option, file) in self.certificate_files() {
            command.arg(option).arg(file);
        }
        if self.options.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) {
            command.arg("--client-cert-auth");
        }
        command.current_dir(&member.directory).stdin(Stdio::null()).stdout(log).stderr(again);
        self.run_as.apply(&mut command);
        member.child = Some(self.spawner.spawn(command, Signal::KILL)?);
        Ok(())
    }

    fn initial_cluster(&self) -> String {
        let members = self.members.iter().map(|member| {
            let member = lock(member);
            format!("{}={}", member.name, member.peer_url())
        });
        members.collect::<Vec<_>>().join(",")
    }

    fn certificate_files(&self) -> Vec<(&'static str, PathBuf)> {
        let Some(tls) = &self.options.tls else { return Vec::new() };
        let file = |name| self.workdir.path().join(name);
        let mut files = vec![("--cert-file", file("etcd.crt")), ("--key-file", file("etcd.key"))];
        files.extend(tls.client_ca.as_ref().map(|_| ("--trusted-ca-file", file("client-ca.crt"))));
        files
    }

    fn write_certificates(&self) -> Result<(), Error> {
        let Some(tls) = &self.options.tls else { return Ok(()) };
        let texts = [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()];
        for ((_, file), text) in self.certificate_files().iter().zip(texts.into_iter().flatten()) {
            fs::write(file, text).map_err(Error::file("cannot write", file))?;
            self.run_as.own(file)?;
        }
        Ok(())
    }

    fn member(&self, index: usize) -> MutexGuard<'_, Member> {
        lock(&self.members[index])
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Member {
    fn new(nth: usize, address: Ipv4Addr, directory: &Path) -> Result<Member, Error> {
        let name = format!("m{nth}");
        Ok(Member {
            directory: directory.join(&name),
            name,
            address,
            client: Port::reserve()?,
            peer: Port::reserve()?,
            metrics: Port::reserve()?,
            child: None,
        })
    }

    fn peer_url(&self) -> String {
        format!("http://{}:{}", self.address, self.peer.number())
    }

    fn log(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    fn log_tail(&self) -> String {
        tail(&fs::read_to_string(self.log()).unwrap_or_default(), 12)
    }

    /// What the member says at `path`; nothing when it does not answer.
    fn http(&self, path: &str) -> String {
        let ask = || {
            let mut stream = TcpStream::connect((self.address, self.metrics.number()))?;
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        ask().unwrap_or_default()
    }
}

impl Programs {
    /// Looks in `PATH`, then in `/usr/bin`.
    fn find() -> Result<Programs, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
        let found = directories.find(|directory| directory.join("etcd").is_file());
        let found = found.ok_or_else(|| Error::NotInstalled {
            what: "etcd",
            looked_in: "PATH, /usr/bin".to_owned(),
            install: "Run ./dev setup, or: apt-get install etcd-server etcd-client".to_owned(),
        })?;
        Ok(Programs { etcd: found.join("etcd"), etcdctl: found.join("etcdctl") })
    }
}

/// A panic elsewhere does not make the state wrong: every change of it is a single assignment.
fn lock(member: &Mutex<Member>) -> MutexGuard<'_, Member> {
    member.lock().unwrap_or_else(PoisonError::into_inner)
}
