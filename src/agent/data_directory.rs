//! What lies in a data directory besides the data: version, owner, how the server was last started.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::trouble::{Kind, Trouble};

/// A data directory.
#[derive(Clone, Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    version: String,
    user: u32,
    group: u32,
    /// Program and arguments of the last start, without `-D`.
    opts: Vec<String>,
}

/// What `postmaster.pid` says of the server that runs, or was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Postmaster {
    /// Seconds since 1970.
    pub(super) started: i64,
    pub(super) port: u16,
}

impl DataDirectory {
    /// Looks at `path`.
    pub(super) fn open(path: &Path) -> Result<DataDirectory, Trouble> {
        let wrong = |error: io::Error| {
            Trouble::new(Kind::Usage, format!("{} is no data directory that can be read", path.display()))
                .cause(format!("PG_VERSION: {error}"))
                .hint("name it with --data, and run this as its owner or as root")
        };
        let path = path.canonicalize().map_err(wrong)?;
        let version = fs::read_to_string(path.join("PG_VERSION")).map_err(wrong)?.trim().to_owned();
        let metadata = fs::metadata(&path).map_err(wrong)?;
        let opts = fs::read_to_string(path.join("postmaster.opts")).unwrap_or_default();
        let (user, group) = (metadata.uid(), metadata.gid());
        Ok(DataDirectory { path, version, user, group, opts: split_opts(&opts) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The major version, such as `15`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Whom the server's programs must run as; `None` for whom we are.
    pub(super) fn owner(&self) -> Result<Option<(u32, u32)>, Trouble> {
        let us = rustix::process::geteuid();
        match us.as_raw() {
            // PostgreSQL runs for nobody's root.
            0 if self.user == 0 => {
                Err(Trouble::new(Kind::Usage, format!("{} belongs to root", self.path.display()))
                    .cause("PostgreSQL does not run as root"))
            }
            0 => Ok(Some((self.user, self.group))),
            us if us == self.user => Ok(None),
            _ => {
                let failure =
                    Trouble::new(Kind::Usage, format!("{} belongs to another user", self.path.display()));
                Err(failure
                    .cause(format!("its owner has the number {}", self.user))
                    .hint("run this as that user, or as root"))
            }
        }
    }

    /// Gives a file or directory to the owner, when we are root.
    pub(super) fn own(&self, path: &Path) -> io::Result<()> {
        match rustix::process::geteuid().is_root() {
            true => chown(path, Some(self.user), Some(self.group)),
            false => Ok(()),
        }
    }

    /// Where the program lies that the server was last started from.
    pub(super) fn started_from(&self) -> Option<&Path> {
        Path::new(self.opts.first()?).parent()
    }

    /// The arguments of the last start, without the data directory.
    pub(super) fn arguments(&self) -> &[String] {
        self.opts.get(1..).unwrap_or_default()
    }

    /// The main configuration file, where it does not lie in the data directory.
    pub(super) fn config_file(&self) -> Option<&str> {
        self.arguments().iter().find_map(|argument| {
            argument
                .trim_start_matches('-')
                .strip_prefix("config_file=")
                .or_else(|| argument.strip_prefix("config-file="))
        })
    }

    /// What `postmaster.pid` says; `None` without one.
    pub(super) fn postmaster(&self) -> Option<Postmaster> {
        let text = fs::read_to_string(self.path.join("postmaster.pid")).ok()?;
        let mut lines = text.lines().skip(2);
        Some(Postmaster {
            started: lines.next()?.trim().parse().ok()?,
            port: lines.next()?.trim().parse().ok()?,
        })
    }

    /// Whether it says that the server is a standby.
    pub(super) fn is_standby(&self) -> bool {
        self.path.join("standby.signal").exists()
    }
}

/// `postmaster.opts` is the program, and each argument in double quotes.
fn split_opts(text: &str) -> Vec<String> {
    let line = text.lines().next().unwrap_or_default();
    let (program, rest) = line.split_once(" \"").unwrap_or((line, ""));
    if program.is_empty() {
        return Vec::new();
    }
    let mut words = rest.strip_suffix('"').unwrap_or(rest).split("\" \"").filter(|word| !word.is_empty());
    let mut opts = vec![program.to_owned()];
    while let Some(word) = words.next() {
        match word {
            "-D" => drop(words.next()),
            word if word.starts_with("-D") => {}
            word => opts.push(word.to_owned()),
        }
    }
    opts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_start_is_understood() {
        let opts = "/usr/lib/postgresql/15/bin/postgres \"-D\" \"/d a\" \"-c\" \"config_file=/etc/p.conf\"\n";
        assert_eq!(
            split_opts(opts),
            ["/usr/lib/postgresql/15/bin/postgres", "-c", "config_file=/etc/p.conf"]
        );
        assert_eq!(split_opts("/bin/postgres\n"), ["/bin/postgres"]);
        assert_eq!(split_opts(""), [""; 0]);
        let data = DataDirectory {
            path: "/d".into(),
            version: "15".into(),
            user: 1,
            group: 1,
            opts: split_opts(opts),
        };
        assert_eq!(data.config_file(), Some("/etc/p.conf"));
        assert_eq!(data.started_from(), Some(Path::new("/usr/lib/postgresql/15/bin")));
    }
}
