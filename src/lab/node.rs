//! One server of the lab: its data directory and its process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::tail;
use super::run_as::RunAs;
use super::spawner::{self, Spawner};
use super::{Binaries, Error, psql};

/// How to stop a server (`pg_ctl stop -m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends sessions, writes a checkpoint, sends the last WAL to the standbys.
    Fast,
    /// Drops everything at once; the next start recovers from WAL.
    Immediate,
}

/// One server. Whether it is a primary or a standby stands in its data directory (`standby.signal`).
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    child: Option<Child>,
}

/// How long a server may take to start or stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

impl Node {
    pub(super) fn new(name: &str, directory: &Path) -> Node {
        Node {
            name: name.to_owned(),
            data: directory.join(name),
            log: directory.join(format!("{name}.log")),
            child: None,
        }
    }

    /// Starts the server without waiting for it. `on_death` is what it gets when we die.
    pub(super) fn spawn(
        &mut self,
        binaries: &Binaries,
        run_as: RunAs,
        spawner: &Spawner,
        on_death: Signal,
    ) -> Result<(), Error> {
        if self.is_running() {
            return Err(self.wrong_state("is running already"));
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(Error::file("cannot open", &self.log))?;
        let again = log.try_clone().map_err(Error::file("cannot open", &self.log))?;
        let mut command = Command::new(binaries.program("postgres"));
        command.arg("-D").arg(&self.data).current_dir(&self.data);
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        psql::without_pg_environment(&mut command);
        run_as.apply(&mut command);
        self.child = Some(spawner.spawn(command, on_death)?);
        Ok(())
    }

    /// Waits until the server answers queries (a standby: until it is consistent).
    ///
    /// Errs with the end of its log when it dies instead.
    pub(super) fn wait_ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(child) = self.child.as_mut() else { return Err(self.wrong_state("was not started")) };
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return Err(self.failed(&status.to_string()));
            }
            if self.reports_ready() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failed("not ready in time"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the server to stop, without waiting. A frozen one is let go on for that.
    pub(super) fn begin_stop(&self, how: Shutdown) {
        if let Some(child) = &self.child {
            spawner::signal(child, how.signal());
            self.thaw();
        }
    }

    /// Waits for the end of a server that was told to stop; one that does not end in time is killed.
    pub(super) fn wait_stopped(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let deadline = Instant::now() + PATIENCE;
        while let Ok(None) = child.try_wait() {
            if Instant::now() > deadline {
                signal_all(&child, Signal::KILL);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills the postmaster and all its children at once, as a crash of the machine would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let children = signal_all(&child, Signal::KILL);
            let _ = child.wait();
            // One that has not ended yet keeps the shared memory, and so the next start from succeeding.
            let is_gone = |pid: &Pid| {
                let state = state(pid.as_raw_nonzero().get().cast_unsigned());
                state.is_none_or(|state| state == 'Z')
            };
            await_that(|| children.iter().all(is_gone));
        }
    }

    /// Kills the postmaster and leaves its children to find out.
    pub(super) fn kill_postmaster(&mut self) {
        if let Some(mut child) = self.child.take() {
            spawner::signal(&child, Signal::KILL);
            let _ = child.wait();
        }
    }

    /// Stops the postmaster, so that it starts no more children, and then these.
    pub(super) fn freeze(&self) {
        if let Some(child) = &self.child {
            signal_all(child, Signal::STOP);
        }
    }

    /// The other way round.
    pub(super) fn thaw(&self) {
        if let Some(child) = &self.child {
            signal_all(child, Signal::CONT);
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => true,
            Some(_) => {
                self.child = None;
                false
            }
            None => false,
        }
    }

    /// Whether the data directory says "standby": true until the server is promoted.
    pub(super) fn is_standby(&self) -> bool {
        self.data.join("standby.signal").exists()
    }

    /// Process id of the postmaster, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Tells the server to read its configuration again.
    pub(super) fn reload(&self) {
        if let Some(child) = &self.child {
            spawner::signal(child, Signal::HUP);
        }
    }

    /// The last lines of the server's log.
    pub(super) fn log_tail(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default(), 12)
    }

    pub(super) fn wrong_state(&self, reason: &str) -> Error {
        Error::WrongState { node: self.name.clone(), reason: reason.to_owned() }
    }

    /// The postmaster writes its state into line 8 of `postmaster.pid` (miscadmin.h: PM_STATUS_READY, padded).
    /// The process id in line 1 tells our server's file from one a killed predecessor left.
    fn reports_ready(&self) -> bool {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let ours = lines.next().and_then(|pid| pid.parse().ok()) == self.pid();
        ours && lines.nth(6).is_some_and(|status| status.trim_end() == "ready")
    }

    fn failed(&self, status: &str) -> Error {
        Error::Failed {
            program: format!("postgres (node {})", self.name),
            status: status.to_owned(),
            output: self.log_tail(),
        }
    }
}

impl Shutdown {
    /// The signal the postmaster takes it by (server-shutdown in the manual).
    pub(super) fn signal(self) -> Signal {
        match self {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        }
    }
}

/// Sends a signal to the postmaster and to each of its children, and returns these. The postmaster is stopped before it is
/// asked for them, so that it starts none that would be missed.
fn signal_all(postmaster: &Child, signal: Signal) -> Vec<Pid> {
    let pid = postmaster.id();
    if signal != Signal::CONT {
        spawner::signal(postmaster, Signal::STOP);
        await_that(|| !matches!(state(pid), Some(state) if !"TZ".contains(state)));
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<Pid> =
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    spawner::signal(postmaster, signal);
    for child in &children {
        let _ = kill_process(*child, signal);
    }
    children
}

/// The state of a process by one letter (proc(5)), while there is one of this number.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits a little for what the kernel is about to do.
fn await_that(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !done() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}
