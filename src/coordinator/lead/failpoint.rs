//! Lets a test kill this process at a named moment of leading. Exists in builds with debug assertions only.

use std::fmt::Debug;

use crate::cluster::{Key, Record, Txn, Write};

/// Where the process is to die.
///
/// `BELLWETHER_FAILPOINT` names a file that a test writes the name of a moment into. Whichever process gets there
/// first empties the file and kills itself with SIGKILL, so that only one dies.
#[derive(Debug)]
pub(super) struct Failpoint {
    #[cfg(debug_assertions)]
    file: Option<std::path::PathBuf>,
}

impl Failpoint {
    pub(super) fn from_environment() -> Self {
        Failpoint {
            #[cfg(debug_assertions)]
            file: std::env::var_os("BELLWETHER_FAILPOINT").map(Into::into),
        }
    }

    /// The moment before or after a transaction that writes a step of the operation: `before Chosen`.
    pub(super) fn step(&self, when: &str, txn: &Txn) {
        let step = txn.writes.iter().find_map(|write| match write {
            Write::Put(Key::Op, Record::Operation(operation)) => Some(operation.step),
            _ => None,
        });
        if let Some(step) = step {
            self.pass(when, &step);
        }
    }

    /// The moment before or after a thing that is called by its first word: `after Promote`.
    #[cfg(debug_assertions)]
    pub(super) fn pass(&self, when: &str, what: &impl Debug) {
        let Some(file) = &self.file else { return };
        let wanted = std::fs::read_to_string(file).unwrap_or_default();
        let what = format!("{what:?}");
        let name = what.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
        if wanted.trim() == format!("{when} {name}") && mine(file) {
            tracing::warn!("dies {when} {name}, as a test wants it");
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }

    #[cfg(not(debug_assertions))]
    pub(super) fn pass(&self, _when: &str, _what: &impl Debug) {}
}

/// Whether nobody else got there first.
#[cfg(debug_assertions)]
fn mine(file: &std::path::Path) -> bool {
    let Ok(file) = std::fs::File::options().write(true).open(file) else { return false };
    let alone = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
    alone && file.metadata().is_ok_and(|facts| facts.len() > 0) && file.set_len(0).is_ok()
}
