//! Tells the service manager how the process is, in systemd's protocol of datagrams.
//!
//! <https://www.freedesktop.org/software/systemd/man/sd_notify.html>. Without `NOTIFY_SOCKET` in the environment
//! nothing is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};

use bellwether::coordinator::Handle;
use bellwether::topology::Snapshot;

/// The way to the service manager.
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants a sign of life; `None` when it does not.
    watchdog: Option<Duration>,
}

/// How often the status is looked at: people read it.
const LOOK: Duration = Duration::from_secs(1);

impl ServiceManager {
    /// Finds the service manager that started this process, if one did and wants to hear from it.
    pub fn from_environment() -> Self {
        let own_pid =
            || std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| own_pid());
        let watchdog = watchdog.and_then(|usec| usec.parse().ok()).map(Duration::from_micros);
        let address = std::env::var("NOTIFY_SOCKET").ok().and_then(|path| address(&path));
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        ServiceManager { socket, watchdog }
    }

    /// Says READY once every node was asked, then keeps the status true and gives signs of life, for ever.
    ///
    /// A cluster without a primary is no reason to wait: the proxy serves what can be served.
    pub async fn keep_informed(&self, topology: &Handle) {
        if self.socket.is_none() {
            return;
        }
        let (mut ready, mut told) = (false, String::new());
        // A third of the time allowed: two may be lost.
        let mut ticks = interval(self.watchdog.map_or(LOOK, |watchdog| (watchdog / 3).min(LOOK)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let snapshot = topology.snapshot();
            let asked = snapshot.members().all(|view| topology.seen(view.node.id).checked_at.is_some());
            if !ready && asked {
                ready = true;
                self.send("READY=1");
            }
            let status = status(&snapshot);
            if status != told {
                self.send(&format!("STATUS={status}"));
                told = status;
            }
            if self.watchdog.is_some() {
                self.send("WATCHDOG=1");
            }
        }
    }

    /// The configuration is being read again; [`reloaded`](Self::reloaded) follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// That is done, whatever came of it.
    pub fn reloaded(&self) {
        self.send("READY=1");
    }

    /// The process begins to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=waiting for transactions to end");
    }

    /// A manager that does not listen is no reason to fail.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

/// A path, or a name behind `@` in the kernel's own namespace.
fn address(path: &str) -> Option<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(path).ok(),
    }
}

/// Returns the line that `systemctl status` shows.
fn status(snapshot: &Snapshot) -> String {
    let standbys = snapshot.members().count() - usize::from(snapshot.primary.is_some());
    let readable = snapshot.readable_standbys().count();
    match snapshot.primary() {
        Some(primary) => {
            format!("primary {}, {readable} of {standbys} standbys take reads", primary.node.name)
        }
        None => format!("no primary, {readable} of {standbys} standbys take reads"),
    }
}
