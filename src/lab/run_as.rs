//! Which operating-system user the children run as: PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// The user our children become before they execute anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunAs(Option<(u32, u32)>);

impl RunAs {
    /// An ordinary user stays what it is; root's children become `postgres`, or `nobody` where that is missing.
    pub(super) fn choose() -> RunAs {
        if !rustix::process::geteuid().is_root() {
            return RunAs(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        RunAs(find_user(&users, "postgres").or_else(|| find_user(&users, "nobody")).or(Some((65534, 65534))))
    }

    /// Makes `command` run as this user. The standard library also drops supplementary groups then.
    pub(super) fn apply(self, command: &mut Command) {
        if let RunAs(Some((uid, gid))) = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives one file or directory to this user.
    pub(super) fn own(self, path: &Path) -> Result<(), Error> {
        match self.0 {
            Some((uid, gid)) => {
                chown(path, Some(uid), Some(gid)).map_err(Error::file("cannot give away", path))
            }
            None => Ok(()),
        }
    }

    /// Returns the first directory above `path` (or `path` itself) this user may not enter.
    pub(super) fn barred_from(self, path: &Path) -> Option<PathBuf> {
        let (uid, gid) = self.0?;
        path.ancestors().find(|directory| !may_enter(directory, uid, gid)).map(Path::to_owned)
    }
}

/// The plain permission bits; access lists are not looked at, a wrong guess only costs another place.
fn may_enter(directory: &Path, uid: u32, gid: u32) -> bool {
    let Ok(facts) = fs::metadata(directory) else { return true };
    let bit = if facts.uid() == uid {
        0o100
    } else if facts.gid() == gid {
        0o010
    } else {
        0o001
    };
    facts.mode() & bit != 0
}

fn find_user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        // A `postgres` that is root in disguise would not help.
        (uid != 0).then_some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_user(passwd, "postgres"), Some((101, 104)));
        assert_eq!(find_user(passwd, "nobody"), None);
        assert_eq!(find_user(passwd, "root"), None);
    }
}
