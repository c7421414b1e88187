//! The lab's own directories: made, guarded, and taken away whatever happens to us.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;
use super::run_as::RunAs;

/// One lab's directory, with a guard process that outlives us for as long as it takes to clean up.
#[derive(Debug)]
pub(super) struct Workdir {
    path: PathBuf,
    keep: bool,
    guard: Option<Child>,
}

impl Workdir {
    /// Makes a fresh directory under the temporary directory, removed at the end.
    pub(super) fn temporary(run_as: RunAs) -> Result<Workdir, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let started = start_time(pid).unwrap_or(0);
        let path = temporary_root(run_as).join(format!("{PREFIX}{pid}-{started}-{nth}"));
        make_private(&path).map_err(Error::file("cannot create", &path))?;
        Workdir::guarded(path, false)
    }

    /// Uses a directory the user named; `keep` leaves it there at the end. It must be new, empty, or a lab's
    /// already: anything else is refused untouched, since without `keep` all of it is removed at the end.
    pub(super) fn named(path: &Path, keep: bool, run_as: RunAs) -> Result<Workdir, Error> {
        if !path.exists() {
            make_private(path).map_err(Error::file("cannot create", path))?;
        }
        let path = path.canonicalize().map_err(Error::file("cannot open", path))?;
        if let Some(barred) = run_as.barred_from(&path) {
            let reason =
                format!("the unprivileged user the servers run as may not enter {}", barred.display());
            return Err(Error::Directory { path, reason });
        }
        let mut entries = fs::read_dir(&path).map_err(Error::file("cannot read", &path))?;
        if entries.next().is_some() && !holds_a_lab(&path) {
            let reason = "is not empty and was not made by `bellwether demo`".to_owned();
            return Err(Error::Directory { path, reason });
        }
        Workdir::guarded(path, keep)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn guarded(path: PathBuf, keep: bool) -> Result<Workdir, Error> {
        let guard = guard_command(&path, if keep { "INT" } else { "QUIT" })
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Spawn { program: "/bin/sh".to_owned(), source })?;
        Ok(Workdir { path, keep, guard: Some(guard) })
    }
}

impl Drop for Workdir {
    /// Comes after the servers have stopped. The guard sees its pipe close, finds nothing running, and ends.
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

/// Whether a lab's data lies in this directory.
pub fn holds_a_lab(directory: &Path) -> bool {
    directory.join(MARKER).exists()
}

/// Removes what labs left behind whose owner and guard were both killed. Returns how many there were.
pub fn reap_stale() -> usize {
    let roots = [temporary_root(RunAs::choose()), std::env::temp_dir()];
    let mut reaped = 0;
    for entry in roots.iter().filter_map(|root| fs::read_dir(root).ok()).flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(owner_is_gone) == Some(true) && is_mine(&entry.path()) {
            let cleaner = guard_command(&entry.path(), "QUIT").stdin(Stdio::null()).status();
            reaped += usize::from(cleaner.is_ok() && !entry.path().exists());
        }
    }
    reaped
}

/// The directory for templates and port locks, shared by this user's labs and kept between runs.
pub(super) fn cache_root() -> Result<PathBuf, Error> {
    let uid = rustix::process::geteuid().as_raw();
    let path = temporary_root(RunAs::choose()).join(format!("bellwether-lab-cache-{uid}"));
    match make_private(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::File { what: "cannot create", path, source: error });
        }
        _ => {}
    }
    if !is_mine(&path) {
        return Err(Error::Directory { path, reason: "belongs to another user".to_owned() });
    }
    Ok(path)
}

const PREFIX: &str = "bellwether-lab-";

/// Marks a directory as a lab's; holds the name of the present primary.
pub(super) const MARKER: &str = "bellwether-lab.primary";

/// Waits for its standard input to close (which it does when the lab's process is gone, however it went), then
/// stops what still runs on the directory and removes it. `$1` is the directory, `$2` the signal: `INT` (fast
/// shutdown) also means that the directory stays.
///
/// A process id from `postmaster.pid` may have been given to another process since; only one that has the
/// directory on its command line is ours.
const GUARD: &str = r#"
trap '' HUP INT TERM
cat >/dev/null 2>&1
[ -d "$1" ] || exit 0
ours() { read -r p <"$1" 2>/dev/null && tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -qF "$2"; }
n=0
while [ $n -lt 100 ]; do
  left=0
  for f in "$1"/*/postmaster.pid; do
    [ -f "$f" ] && ours "$f" "$1" && { left=1; [ $n = 0 ] && kill -s "$2" "$p"; [ $n = 70 ] && kill -s KILL "$p"; }
  done
  [ $left = 0 ] && break
  n=$((n+1)); sleep 0.1
done
[ "$2" = INT ] || rm -rf "$1"
"#;

fn guard_command(directory: &Path, signal: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GUARD, "bellwether-lab-guard"]).arg(directory).arg(signal);
    // Away from the terminal's Ctrl-C, and with no hold on anybody's pipes.
    command.process_group(0).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The system's temporary directory, or `/tmp` when the children could not enter that.
fn temporary_root(run_as: RunAs) -> PathBuf {
    let wished = std::env::temp_dir();
    // A Unix socket's path must stay below 108 bytes.
    let fits = wished.as_os_str().len() <= 40;
    if fits && run_as.barred_from(&wished).is_none() { wished } else { PathBuf::from("/tmp") }
}

/// Others may pass through (the children are another user when we are root) but not look around.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o711).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
}

fn is_mine(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|facts| facts.is_dir() && facts.uid() == rustix::process::geteuid().as_raw())
}

/// Reads the owner out of a lab directory's name; `None` when it is not one.
fn owner_is_gone(name: &str) -> Option<bool> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let pid = parts.next()?.parse().ok()?;
    let started: u64 = parts.next()?.parse().ok()?;
    Some(start_time(pid) != Some(started))
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)); together with the
/// process id it names a process for ever.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_owner_is_known_by_its_start_time() {
        let pid = std::process::id();
        let started = start_time(pid).unwrap();
        assert_eq!(owner_is_gone(&format!("{PREFIX}{pid}-{started}-0")), Some(false));
        assert_eq!(owner_is_gone(&format!("{PREFIX}{pid}-{}-0", started + 1)), Some(true));
        assert_eq!(owner_is_gone("bellwether-lab-cache-0"), None);
        assert_eq!(owner_is_gone("something-else"), None);
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let path = std::env::temp_dir().join(format!("bellwether-foreign-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis"), "years of work").unwrap();
        let refused = Workdir::named(&path, false, RunAs::choose()).unwrap_err().to_string();
        assert!(refused.contains("is not empty"), "{refused}");
        assert_eq!(fs::read_to_string(path.join("thesis")).unwrap(), "years of work");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_directory_goes_with_its_handle() {
        let workdir = Workdir::temporary(RunAs::choose()).unwrap();
        let path = workdir.path().to_owned();
        assert!(path.is_dir());
        drop(workdir);
        assert!(!path.exists());
    }
}
