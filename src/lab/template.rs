//! A stopped primary kept between runs: later clusters copy it instead of running `initdb`.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::error::tail;
use super::run_as::RunAs;
use super::settings::{self, ServerConf};
use super::{Binaries, Error, psql, workdir};

/// Returns the data directory of a cleanly stopped primary with the lab's roles, and a replication slot for
/// each of `names`. Made on first use for this version of PostgreSQL and these options; a copy is some five
/// times quicker than `initdb` and the first start.
///
/// All clusters made from one template share its system identifier; other `initdb` options give another.
pub(super) fn prepared(
    binaries: &Binaries,
    run_as: RunAs,
    names: &[String],
    initdb: &[String],
) -> Result<PathBuf, Error> {
    let root = workdir::cache_root()?;
    let path = root.join(format!("primary-{:016x}", key(binaries, names, initdb)));
    if path.is_dir() {
        return Ok(path);
    }
    let lock_path = path.with_extension("lock");
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&lock_path)
        .map_err(Error::file("cannot open", &lock_path))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| Error::file("cannot lock", &lock_path)(error.into()))?;
    if path.is_dir() {
        return Ok(path); // Another process made it while we waited.
    }
    let draft = path.with_extension("draft");
    let _ = fs::remove_dir_all(&draft); // Left by a process that was killed here.
    fs::create_dir(&draft).map_err(Error::file("cannot create", &draft))?;
    run_as.own(&draft)?;
    make(binaries, run_as, names, initdb, &draft)?;
    fs::rename(&draft, &path).map_err(Error::file("cannot rename", &draft))?;
    Ok(path)
}

/// Copies a data directory, giving everything to the user the servers run as.
pub(super) fn copy(from: &Path, to: &Path, run_as: RunAs) -> Result<(), Error> {
    fs::create_dir(to).map_err(Error::file("cannot create", to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(Error::file("cannot protect", to))?;
    run_as.own(to)?;
    for entry in fs::read_dir(from).map_err(Error::file("cannot read", from))? {
        let entry = entry.map_err(Error::file("cannot read", from))?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::file("cannot read", entry.path()))?;
        if kind.is_dir() {
            copy(&entry.path(), &target, run_as)?;
        } else if kind.is_symlink() {
            let place = fs::read_link(entry.path()).map_err(Error::file("cannot read", entry.path()))?;
            symlink(place, &target).map_err(Error::file("cannot create", &target))?;
        } else {
            fs::copy(entry.path(), &target).map_err(Error::file("cannot copy", entry.path()))?;
            run_as.own(&target)?;
        }
    }
    Ok(())
}

/// Everything a template depends on; a change of any gives a new one.
fn key(binaries: &Binaries, names: &[String], initdb: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let roles = (settings::ROLES, settings::ALTER_SYSTEM);
    (binaries.directory(), binaries.version(), roles, names, initdb).hash(&mut hasher);
    hasher.finish()
}

fn make(
    binaries: &Binaries,
    run_as: RunAs,
    names: &[String],
    initdb: &[String],
    data: &Path,
) -> Result<(), Error> {
    let mut arguments: Vec<OsString> = vec!["-D".into(), data.into()];
    arguments.extend(INITDB.iter().map(OsString::from));
    arguments.extend(initdb.iter().map(OsString::from));
    run(binaries, "initdb", run_as, &arguments)?;

    // It listens on a socket in its own directory only: no port is needed for so short a life.
    let conf = ServerConf {
        name: "template",
        address: Ipv4Addr::LOCALHOST,
        port: 5432,
        socket_directory: data,
        follows: None,
        slot: false,
        tls: false,
        client_ca: false,
        extra: &["listen_addresses = ''".to_owned()],
    };
    write(&data.join("postgresql.conf"), &conf.render(), run_as)?;
    write(&data.join("pg_hba.conf"), &settings::host_rules(&[]), run_as)?;
    let log = data.join("template.log");
    let control = |verb: &str| -> Result<(), Error> {
        let arguments = ["-D".into(), data.into(), "-w".into(), "-s".into(), "-l".into(), log.clone().into()];
        let mut arguments: Vec<OsString> = arguments.into();
        arguments.push(verb.into());
        run(binaries, "pg_ctl", run_as, &arguments)
    };
    control("start")?;
    let filled = fill(binaries, names, data);
    control("stop")?;
    let _ = fs::remove_file(&log);
    filled
}

fn fill(binaries: &Binaries, names: &[String], data: &Path) -> Result<(), Error> {
    let conninfo = format!("host={} port=5432 user=postgres dbname=postgres", data.display());
    let slots: String =
        names.iter().map(|name| format!("SELECT pg_create_physical_replication_slot('{name}');")).collect();
    // One statement a call: CREATE DATABASE refuses the transaction that several in one string would share.
    let alter_system = if binaries.major() >= 15 { settings::ALTER_SYSTEM } else { "" };
    for statement in settings::ROLES.split(';').chain(alter_system.split(';')).chain([slots.as_str()]) {
        psql::run(binaries, "template", &conninfo, statement)?;
    }
    Ok(())
}

/// Writes a file the servers can read.
pub(super) fn write(path: &Path, text: &str, run_as: RunAs) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("cannot write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(Error::file("cannot protect", path))?;
    run_as.own(path)
}

/// Runs one of PostgreSQL's programs to its end as the servers' user.
pub(super) fn run(
    binaries: &Binaries,
    program: &str,
    run_as: RunAs,
    arguments: &[OsString],
) -> Result<(), Error> {
    let mut command = Command::new(binaries.program(program));
    command.args(arguments).current_dir("/").stdin(Stdio::null());
    psql::without_pg_environment(&mut command);
    run_as.apply(&mut command);
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let output = output.output().map_err(|source| Error::Spawn { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        program: program.to_owned(),
        status: output.status.to_string(),
        output: tail(&String::from_utf8_lossy(&output.stderr), 12),
    })
}

/// Small WAL segments make small copies; the rest keeps sorting and texts the same on every machine.
const INITDB: [&str; 10] = [
    "-U",
    "postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
    "--wal-segsize=1",
    "--data-checksums",
    "--lc-messages=C",
];
