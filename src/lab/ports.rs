//! Reserves TCP ports so that parallel test processes never meet.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::{Error, workdir};

/// A port that is ours until this is dropped.
///
/// A lock on a file of the port's number keeps other labs of this user away also while nobody listens (a
/// stopped node must find its port free again). The range lies below the one the kernel hands out to
/// outgoing connections, so those do not take it either.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _lock: File,
}

/// Below Linux's default `ip_local_port_range`, above most services.
const LOW: u16 = 15_000;
const HIGH: u16 = 31_999;

impl Port {
    /// Reserves any free port.
    pub(super) fn reserve() -> Result<Port, Error> {
        let directory = lock_directory()?;
        let count = HIGH - LOW + 1;
        let first = fastrand::u16(0..count);
        (0..count)
            .map(|step| LOW + ((u32::from(first) + u32::from(step)) % u32::from(count)) as u16)
            .find_map(|number| try_reserve(&directory, number))
            .ok_or(Error::NoPort { low: LOW, high: HIGH })
    }

    /// Reserves `number`, or `None` when someone has it.
    pub(super) fn exactly(number: u16) -> Result<Option<Port>, Error> {
        Ok(try_reserve(&lock_directory()?, number))
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

fn lock_directory() -> Result<PathBuf, Error> {
    let directory = workdir::cache_root()?.join("ports");
    fs::create_dir_all(&directory).map_err(Error::file("cannot create", &directory))?;
    Ok(directory)
}

fn try_reserve(directory: &std::path::Path, number: u16) -> Option<Port> {
    let path = directory.join(number.to_string());
    let lock = OpenOptions::new().create(true).append(true).open(path).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    // The lock keeps other labs away; this sees everybody else.
    TcpListener::bind(("127.0.0.1", number)).ok()?;
    Some(Port { number, _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_nobody_elses() {
        let port = Port::reserve().unwrap();
        assert!(Port::exactly(port.number()).unwrap().is_none());
        let number = port.number();
        drop(port);
        assert_eq!(Port::exactly(number).unwrap().map(|port| port.number()), Some(number));
    }
}
