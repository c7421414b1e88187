//! Finds PostgreSQL's server programs on this machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// A directory with `postgres`, `initdb`, `psql` and their like, all of one version.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
    version: String,
}

impl Binaries {
    /// Looks in `BELLWETHER_TEST_PG_BIN`, then in `PATH`, then takes the newest `/usr/lib/postgresql/*/bin`.
    ///
    /// Errs with the line that installs PostgreSQL when there is none: a test that needs it must fail and say
    /// so, not pass by doing nothing.
    pub fn find() -> Result<Binaries, Error> {
        if let Some(given) = std::env::var_os("BELLWETHER_TEST_PG_BIN").filter(|given| !given.is_empty()) {
            return Binaries::in_directory(PathBuf::from(given))
                .ok_or_else(|| not_installed("BELLWETHER_TEST_PG_BIN"));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(debian_directories(Path::new("/usr/lib/postgresql")))
            .filter(|directory| has_servers(directory))
            .find_map(Binaries::in_directory)
            .ok_or_else(|| not_installed("BELLWETHER_TEST_PG_BIN, PATH, /usr/lib/postgresql/*/bin"))
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The version as PostgreSQL prints it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The first number of the version; 0 when it has none, such as a development snapshot's.
    pub fn major(&self) -> u32 {
        let digits = self.version.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Returns the path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        let beside = self.directory.join(name);
        // Distributions that split client and server packages may keep psql elsewhere.
        if beside.exists() { beside } else { PathBuf::from(name) }
    }

    fn in_directory(directory: PathBuf) -> Option<Binaries> {
        let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.trim().strip_prefix("postgres (PostgreSQL) ")?.to_owned();
        Some(Binaries { directory, version })
    }
}

fn has_servers(directory: &Path) -> bool {
    ["postgres", "initdb", "pg_rewind"].iter().all(|program| directory.join(program).is_file())
}

/// The `bin` directories under Debian's version folders, newest version first.
fn debian_directories(root: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((major(&entry.file_name())?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn major(name: &OsStr) -> Option<u32> {
    name.to_str()?.split('.').next()?.parse().ok()
}

fn not_installed(looked_in: &str) -> Error {
    let install = if Path::new("/etc/debian_version").exists() {
        "Run ./dev setup, or: apt-get install postgresql postgresql-client"
    } else {
        "Run ./dev setup, or install PostgreSQL 13 or newer (server and client) and set BELLWETHER_TEST_PG_BIN"
    };
    let what = "PostgreSQL server programs";
    Error::NotInstalled { what, looked_in: looked_in.to_owned(), install: install.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let root = tempdir();
        for version in ["9.6", "15", "17", "doc"] {
            fs::create_dir_all(root.join(version)).unwrap();
        }
        let found = debian_directories(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["17", "15", "9.6"].map(|version| root.join(version).join("bin")));
    }

    #[test]
    fn the_error_names_the_way_out() {
        assert!(not_installed("PATH").to_string().contains("./dev setup"));
    }

    fn tempdir() -> PathBuf {
        std::env::temp_dir().join(format!("bellwether-binaries-{}", std::process::id()))
    }
}
