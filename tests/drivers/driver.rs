//! The drivers, and how the program of each is run.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Place;
use crate::outcome::Run;

/// One driver.
pub struct Driver {
    /// For `./dev drivers KEY` and for names of databases.
    pub key: &'static str,
    pub name: &'static str,
    /// A program that is found by the PATH or, with a slash, in this folder; and its arguments.
    command: &'static [&'static str],
}

/// In the order of the table.
pub const DRIVERS: &[Driver] = &[
    driver("psycopg3", "psycopg 3", &[PYTHON, "python/with_psycopg3.py"]),
    driver("psycopg2", "psycopg2", &[PYTHON, "python/with_psycopg2.py"]),
    driver("asyncpg", "asyncpg", &[PYTHON, "python/with_asyncpg.py"]),
    driver("pg8000", "pg8000", &[PYTHON, "python/with_pg8000.py"]),
    driver("sqlalchemy", "SQLAlchemy", &[PYTHON, "python/with_sqlalchemy.py"]),
    driver("django", "Django", &[PYTHON, "python/with_django.py"]),
    driver("node_postgres", "node-postgres", &["node", "node/with_pg.mjs"]),
    driver("postgres_js", "postgres.js", &["node", "node/with_postgres.mjs"]),
    driver("sqlx", "sqlx", &["rust/target/debug/with_sqlx"]),
    driver("tokio_postgres", "tokio-postgres", &["rust/target/debug/with_tokio_postgres"]),
    driver("pgjdbc", "pgjdbc", &["java", "-cp", "/usr/share/java/*", "java/WithPgjdbc.java"]),
    driver("lib_pq", "Go lib/pq", &["go/built/with_pq"]),
    driver("pgx", "Go pgx", &["go/built/with_pgx"]),
    driver("ruby_pg", "Ruby pg", &["ruby", "ruby/with_pg.rb"]),
    driver("php_pgsql", "PHP pgsql", &["php", "php/with_pgsql.php"]),
    driver("php_pdo", "PHP PDO", &["php", "php/with_pdo.php"]),
    driver("perl_dbi", "Perl DBD::Pg", &["perl", "perl/with_dbd_pg.pl"]),
];

pub const PYTHON: &str = "python/.venv/bin/python";

/// How long all checks of one driver may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Where the programs are.
pub fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers")
}

const fn driver(key: &'static str, name: &'static str, command: &'static [&'static str]) -> Driver {
    Driver { key, name, command }
}

impl Driver {
    /// Runs its program to the end against `place` and returns what it told.
    pub fn run(&self, place: &Place) -> Run {
        let home = home();
        let program = match self.command[0].contains('/') {
            true => home.join(self.command[0]),
            false => self.command[0].into(),
        };
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.args(&self.command[1..]).current_dir(&home).envs(place.iter().cloned());
        // Into a file: a pipe that nobody empties would stop the program.
        let path = std::env::temp_dir().join(format!("bellwether-drivers-{}", std::process::id()));
        let written = File::create(&path).expect("the temporary directory can be written");
        let again = written.try_clone().expect("a second descriptor");
        let child = command.stdin(Stdio::null()).stdout(written).stderr(again).spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("{}: {error}: run ./dev drivers", program.display()));
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                break status.to_string();
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                break format!("did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut printed = Vec::new();
        File::open(&path).and_then(|mut file| file.read_to_end(&mut printed)).expect("it was just written");
        let _ = std::fs::remove_file(&path);
        Run::read(&String::from_utf8_lossy(&printed), &status, began.elapsed())
    }
}
