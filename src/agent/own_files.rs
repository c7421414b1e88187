//! The files that are a server's own although they lie with the data: a rewind or a copy brings the primary's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::data_directory::DataDirectory;
use super::trouble::Trouble;

/// What ALTER SYSTEM writes.
const AUTO: &str = "postgresql.auto.conf";

/// Settings of the old life that the new one must not have: whom it followed, and whom its commits waited for (an old
/// primary may have been fenced by a name nobody has).
const GONE: [&str; 3] = ["primary_conninfo", "primary_slot_name", "synchronous_standby_names"];

/// Whether a file of the data directory's top is the server's own: configuration, certificates and keys.
fn is_own(name: &str) -> bool {
    [".conf", ".crt", ".key", ".pem"].iter().any(|end| name.ends_with(end))
}

/// Copies the server's own files from `data` to `kept`.
pub(super) fn keep(data: &DataDirectory, kept: &Path) -> Result<(), Trouble> {
    copy_own(data.path(), kept, data).map_err(|error| {
        Trouble::failed(format!("cannot keep the configuration of this server in {}", kept.display()))
            .cause(error)
    })
}

/// Puts them into `target`, for a standby that follows by `conninfo` and `slot`.
pub(super) fn put_back(
    data: &DataDirectory,
    kept: &Path,
    target: &Path,
    conninfo: &str,
    slot: Option<&str>,
) -> Result<(), Trouble> {
    let put = || -> io::Result<()> {
        if kept.exists() {
            copy_own(kept, target, data)?;
        }
        let auto = fs::read_to_string(target.join(AUTO)).unwrap_or_default();
        write(&target.join(AUTO), following(&auto, conninfo, slot).as_bytes(), data)?;
        write(&target.join("standby.signal"), b"", data)?;
        // Left over from a restore, it would end recovery in a promotion.
        let _ = fs::remove_file(target.join("recovery.signal"));
        File::open(target)?.sync_all()
    };
    put().map_err(|error| {
        Trouble::failed(format!("cannot write the configuration in {}", target.display())).cause(error)
    })
}

fn copy_own(from: &Path, to: &Path, data: &DataDirectory) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let plain = entry.file_type()?.is_file();
        if plain && entry.file_name().to_str().is_some_and(is_own) {
            write(&to.join(entry.file_name()), &fs::read(entry.path())?, data)?;
        }
    }
    Ok(())
}

/// All of it or nothing, on disk, for the owner only: there may be passwords and keys in it.
fn write(path: &Path, content: &[u8], data: &DataDirectory) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    data.own(Path::new(&new))?;
    fs::rename(&new, path)
}

/// Rewrites what ALTER SYSTEM wrote.
fn following(auto: &str, conninfo: &str, slot: Option<&str>) -> String {
    let name = |line: &str| line.split(['=', ' ']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let stays =
        |line: &&str| !GONE.contains(&name(line).as_str()) && !name(line).starts_with("recovery_target");
    let mut text: String = auto.lines().filter(stays).map(|line| format!("{line}\n")).collect();
    // As ALTER SYSTEM does: the file's reader takes a backslash for the beginning of an escape.
    let quoted = |value: &str| value.replace('\\', r"\\").replace('\'', "''");
    text += &format!("primary_conninfo = '{}'\n", quoted(conninfo));
    // Set in any case: the configuration file may name a slot that the primary does not have.
    text += &format!("primary_slot_name = '{}'\n", quoted(slot.unwrap_or_default()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_life_is_forgotten() {
        let auto = "# by ALTER SYSTEM\nport = '5433'\nprimary_conninfo = 'host=old'\nsynchronous_standby_names='nobody'\n\
                    recovery_target_time = 'x'\nprimary_slot_name = 's'\nwork_mem = '4MB'\n";
        let expected = "# by ALTER SYSTEM\nport = '5433'\nwork_mem = '4MB'\n\
                        primary_conninfo = 'host=''h'' password=''a\\\\''b'''\nprimary_slot_name = ''\n";
        assert_eq!(following(auto, r"host='h' password='a\'b'", None), expected);
        assert!(following("", "x", Some("a")).ends_with("primary_slot_name = 'a'\n"));
        assert!(is_own("server.key") && is_own(AUTO) && !is_own("PG_VERSION") && !is_own("backup_label"));
    }
}
