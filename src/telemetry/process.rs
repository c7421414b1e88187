//! What can be said of the process itself: version, start, configuration, and what the system tells of it.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::values::{Values, flag};

/// What is known of the process from the inside.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
    reload_taken: AtomicBool,
    /// When the configuration in force was read, in milliseconds since 1970.
    loaded_ms: AtomicU64,
}

impl Process {
    pub(super) fn new() -> Self {
        let started = SystemTime::now();
        Process {
            started,
            reload_taken: AtomicBool::new(true),
            loaded_ms: AtomicU64::new(since_epoch(started).as_millis() as u64),
        }
    }

    pub(super) fn reloaded(&self, taken: bool) {
        self.reload_taken.store(taken, Ordering::Relaxed);
        if taken {
            let now = since_epoch(SystemTime::now()).as_millis() as u64;
            self.loaded_ms.store(now, Ordering::Relaxed);
        }
    }

    /// Returns the families that carry our prefix.
    pub(super) fn own(&self) -> Vec<Values> {
        let loaded = self.loaded_ms.load(Ordering::Relaxed) as f64 / 1e3;
        vec![
            Values::gauge(
                "build_info",
                "What is running.",
                vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
                1.0,
            ),
            Values::single(
                "start_timestamp_seconds",
                "When this process started.",
                since_epoch(self.started).as_secs_f64(),
            ),
            Values::single(
                "config_reload_success",
                "Whether the configuration that was read last was taken.",
                flag(self.reload_taken.load(Ordering::Relaxed)),
            ),
            Values::single(
                "config_loaded_timestamp_seconds",
                "When the configuration in force was read.",
                loaded,
            ),
        ]
    }

    /// Returns the families under the names that every exporter gives them. What the system does not tell is
    /// absent.
    pub(super) fn standard(&self) -> Vec<Values> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| field(&status, name);
        let open = fs::read_dir("/proc/self/fd").map(|list| list.count() as f64).ok();
        let most = getrlimit(Resource::Nofile).current.map(|most| most as f64);
        [
            Some(Values::counter_of("process_cpu_seconds", "CPU time used, user and system.", cpu)),
            Some(Values::single(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
                since_epoch(self.started).as_secs_f64(),
            )),
            field("VmRSS").map(|kib| {
                Values::single("process_resident_memory_bytes", "Memory resident in RAM.", kib * 1024.0)
            }),
            field("Threads").map(|count| Values::single("process_threads", "Threads of the process.", count)),
            open.map(|count| Values::single("process_open_fds", "File descriptors in use.", count)),
            most.map(|most| Values::single("process_max_fds", "File descriptors the process may use.", most)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Reads the number behind `name:` in the form of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_systems_own_page_are_found() {
        let status = "Name:\tbellwether\nVmRSS:\t    1234 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmRSS"), Some(1234.0));
        assert_eq!(field(status, "Threads"), Some(3.0));
        assert_eq!(field(status, "Vm"), None);
    }

    #[test]
    fn a_refused_reload_leaves_the_time_of_the_one_in_force() {
        let process = Process::new();
        let loaded = process.loaded_ms.load(Ordering::Relaxed);
        process.reloaded(false);
        assert!(!process.reload_taken.load(Ordering::Relaxed));
        assert_eq!(process.loaded_ms.load(Ordering::Relaxed), loaded);
        process.reloaded(true);
        assert!(process.reload_taken.load(Ordering::Relaxed));
    }
}
