//! Runs SQL through the `psql` binary.

use std::process::{Command, Stdio};

use super::{Binaries, Error};

/// Runs statements over the connection `conninfo` names (URI or keyword form) and returns the rows, columns
/// separated by `|`, without the last newline. The first failing statement ends it.
pub(super) fn run(binaries: &Binaries, place: &str, conninfo: &str, sql: &str) -> Result<String, Error> {
    let mut command = command(binaries, conninfo);
    command.arg("-c").arg(sql);
    finish(command, place)
}

/// Runs a file of statements and psql commands the same way.
pub(super) fn run_file(
    binaries: &Binaries,
    place: &str,
    conninfo: &str,
    file: &std::path::Path,
) -> Result<String, Error> {
    let mut command = command(binaries, conninfo);
    command.arg("-f").arg(file);
    finish(command, place)
}

/// A `psql` that reads no start-up file, prints bare values and stops at the first error.
fn command(binaries: &Binaries, conninfo: &str) -> Command {
    let mut command = Command::new(binaries.program("psql"));
    without_pg_environment(&mut command);
    command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", conninfo]);
    command.env("PGCONNECT_TIMEOUT", "10").stdin(Stdio::null());
    command
}

/// `PGHOST` and its kind in the user's environment would redirect our children.
pub(super) fn without_pg_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
}

fn finish(mut command: Command, place: &str) -> Result<String, Error> {
    let output = command.output().map_err(|source| Error::Spawn { program: "psql".to_owned(), source })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Sql { place: place.to_owned(), message });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
