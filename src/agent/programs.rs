//! Runs PostgreSQL's own programs, as the owner of the data directory.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::data_directory::DataDirectory;
use super::trouble::{Kind, Trouble};

/// The programs of one major version.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    directory: PathBuf,
    /// Whom children become; `None` for whom we are.
    owner: Option<(u32, u32)>,
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) code: Option<i32>,
    pub(super) output: String,
    /// The last line of its complaints that is not empty.
    pub(super) complaint: String,
}

impl Programs {
    /// Finds those for `data`: in `given`, where the server was last started from, or where Debian has them.
    pub(super) fn find(given: Option<&Path>, data: &DataDirectory) -> Result<Programs, Trouble> {
        let owner = data.owner()?;
        let debian = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", data.version()));
        let used = data.started_from().map(Path::to_owned);
        let places = match given {
            Some(given) => vec![given.to_owned()],
            None => used.into_iter().chain([debian]).collect(),
        };
        let has_all = |place: &&PathBuf| {
            ["pg_ctl", "pg_controldata", "pg_rewind", "pg_basebackup", "psql"]
                .iter()
                .all(|name| place.join(name).is_file())
        };
        let Some(directory) = places.iter().find(has_all) else {
            let looked =
                places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(Trouble::new(
                Kind::Usage,
                format!("the programs of PostgreSQL {} are not found", data.version()),
            )
            .cause(format!(
                "looked for pg_ctl, pg_controldata, pg_rewind, pg_basebackup and psql in {looked}"
            ))
            .hint("name their directory with --bin"));
        };
        let programs = Programs { directory: directory.clone(), owner };
        let said = programs.run("pg_ctl", |command| command.arg("--version"))?.output;
        let major =
            said.split_whitespace().last().and_then(|version| version.split('.').next().map(str::to_owned));
        if major.as_deref() == Some(data.version()) {
            return Ok(programs);
        }
        let wrong = format!("{} is not of PostgreSQL {}", directory.display(), data.version());
        Err(Trouble::new(Kind::Usage, wrong).cause(said).hint("name the right directory with --bin"))
    }

    /// Runs one to its end, however that is.
    pub(super) fn run(
        &self,
        name: &str,
        with: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Said, Trouble> {
        let mut command = self.command(name);
        with(&mut command);
        let output = command.output().map_err(|error| {
            Trouble::failed(format!("cannot run {}", self.directory.join(name).display())).cause(error)
        })?;
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = complaints.lines().map(str::trim).rfind(|line| !line.is_empty());
        Ok(Said {
            success: output.status.success(),
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            complaint: last.map_or_else(|| output.status.to_string(), str::to_owned),
        })
    }

    /// In a process group of its own: Ctrl-C on the terminal is not for a half-done rewind.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.join(name));
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        // The server's own directory is named on the command line.
        command.env_remove("PGDATA");
        if let Some((user, group)) = self.owner {
            // Password file and certificates are looked for in the owner's home, not in root's.
            command.uid(user).gid(group).env_remove("HOME");
        }
        command
    }
}
