//! Copies the primary's data anew, into a directory of its own; the old data is moved aside, not removed.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::data_directory::DataDirectory;
use super::leader::Leader;
use super::programs::Programs;
use super::trouble::Trouble;

/// Copies the data beside `data`; what an earlier run left of that is thrown away first.
pub(super) fn copy(programs: &Programs, data: &DataDirectory, leader: &Leader) -> Result<PathBuf, Trouble> {
    let target = beside(data.path(), ".clone");
    if target.exists() {
        fs::remove_dir_all(&target)
            .map_err(|error| Trouble::failed(format!("cannot remove {}", target.display())).cause(error))?;
    }
    // The directory above may be writable for root only.
    let made = fs::DirBuilder::new().mode(0o700).create(&target).and_then(|()| data.own(&target));
    made.map_err(|error| Trouble::failed(format!("cannot make {}", target.display())).cause(error))?;
    let said = programs.run("pg_basebackup", |command| {
        command.arg("-D").arg(&target).args([
            "-X",
            "stream",
            "-c",
            "fast",
            "-w",
            "-d",
            &leader.to_database("postgres"),
        ]);
        leader.password(command)
    })?;
    match said.success {
        true => Ok(target),
        false => Err(Trouble::failed("the primary's data cannot be copied")
            .cause(said.complaint)
            .hint("pg_hba.conf of the primary must let the login in for replication; tablespaces need empty directories")),
    }
}

/// Puts the copy in the place of the data, and returns where the old data is now.
pub(super) fn exchange(data: &DataDirectory, copy: &Path) -> Result<PathBuf, Trouble> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let old = beside(data.path(), &format!(".old-{now}"));
    let moved = fs::rename(data.path(), &old).and_then(|()| {
        fs::rename(copy, data.path()).inspect_err(|_| {
            // Back, so that the place is never empty.
            let _ = fs::rename(&old, data.path());
        })
    });
    moved.map(|()| old).map_err(|error| {
        Trouble::failed(format!("cannot put {} in the place of {}", copy.display(), data.path().display()))
            .cause(error)
            .hint("a data directory that is a mount point cannot be moved: put the data one level below")
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
