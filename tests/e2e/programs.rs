//! PostgreSQL's own client programs, unchanged, through the endpoint: what they print and leave is what they do directly.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bellwether::lab::Options;

use crate::support::{Bench, eventually};

/// A bit of everything that a dump holds.
const SCHEMA: &str = "
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE t (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text DEFAULT 'none', m mood, p positive, b bytea);
INSERT INTO t (word, m, p, b) SELECT 'word ' || n, 'cross', n, decode(md5(n::text), 'hex') FROM generate_series(1, 2000) AS n;
CREATE INDEX by_word ON t (lower(word)) WHERE n > 0;
CREATE TABLE other.child (n int REFERENCES t, at timestamptz) PARTITION BY RANGE (n);
CREATE TABLE other.low PARTITION OF other.child FOR VALUES FROM (0) TO (1000);
CREATE TABLE other.high PARTITION OF other.child FOR VALUES FROM (1000) TO (9000);
INSERT INTO other.child SELECT n, '2026-11-20 12:00+00' FROM t;
CREATE VIEW v AS SELECT n, word FROM t WHERE n < 10;
CREATE MATERIALIZED VIEW counted AS SELECT m, count(*) FROM t GROUP BY m;
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.word := coalesce(NEW.word, ''); RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touched();
CREATE SEQUENCE s START 42;
SELECT nextval('s');
COMMENT ON TABLE t IS 'a table';
GRANT SELECT ON t TO PUBLIC;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON t USING (n < 1500);
SELECT lo_from_bytea(7001, 'a large object');
";

#[test]
fn pg_dump_and_pg_restore_in_every_format() {
    let programs = Programs::start();
    let (direct, through) = (programs.direct("demo"), programs.through("demo"));
    let plain = through.dump(&[]);
    same(&plain, &direct.dump(&[]));
    assert!(plain.contains("CREATE TRIGGER touched") && plain.matches("\tword ").count() == 2000);
    let schema = ["--schema-only", "--clean"];
    same(&through.dump(&schema), &direct.dump(&schema));
    for (name, format, jobs) in [("custom", "c", "1"), ("directory", "d", "4"), ("tar", "t", "1")] {
        let file = programs.path(name);
        let dump = ["--format", format, "--jobs", jobs, "--file", &file];
        through.run("pg_dump", &dump);
        through.run("createdb", &[name]);
        // pg_restore takes several connections from the formats that can be read at any place.
        let jobs = if name == "tar" { "1" } else { "3" };
        through.run("pg_restore", &["--exit-on-error", "--jobs", jobs, "--dbname", name, &file]);
        same(&programs.through(name).dump(&[]), &plain);
        through.run("dropdb", &[name]);
    }
    let script = programs.path("plain.sql");
    std::fs::write(&script, &plain).expect("the lab's directory is ours");
    through.run("createdb", &["plain"]);
    let plainly = programs.through("plain");
    plainly.run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", &script]);
    same(&plainly.dump(&[]), &plain);
    same(&programs.all("through"), &programs.all("direct"));
}

#[test]
fn programs_that_make_and_mend() {
    let programs = Programs::start();
    let through = programs.through("demo");
    let exists =
        |sql: &str| programs.bench.cluster.sql("a", &format!("SELECT count(*) FROM {sql}")).unwrap() == "1";
    through.run("createuser", &["--createdb", "--connection-limit", "7", "newcomer"]);
    assert!(exists("pg_roles WHERE rolname = 'newcomer' AND rolcreatedb AND rolconnlimit = 7"));
    through.run("createdb", &["--owner", "newcomer", "--template", "template0", "fresh", "a comment"]);
    let fresh = programs.through("fresh");
    fresh.run("psql", &["-X", "-q", "-c", "CREATE TABLE f (n int); SELECT count(*) FROM f"]);
    assert_eq!(fresh.run("psql", &["-X", "-A", "-t", "-c", "SELECT count(*) FROM f"]), "0\n");
    // Pooled connections to it do not keep it alive.
    through.run("dropdb", &["fresh"]);
    through.run("dropuser", &["newcomer"]);
    assert!(!exists("pg_roles WHERE rolname = 'newcomer'") && !exists("pg_database WHERE datname = 'fresh'"));

    through.run("psql", &["-X", "-q", "-c", "CLUSTER t USING t_pkey"]);
    for (program, arguments) in [
        ("vacuumdb", &["--analyze", "--jobs", "3"][..]),
        ("vacuumdb", &["--all", "--freeze"]),
        ("vacuumdb", &["--analyze-in-stages", "--table", "t"]),
        ("reindexdb", &["--jobs", "3", "--schema", "public", "--schema", "other"]),
        ("reindexdb", &["--concurrently", "--table", "t"]),
        ("reindexdb", &["--system"]),
        ("clusterdb", &["--verbose"]),
        ("clusterdb", &["--all"]),
        ("vacuumlo", &["--dry-run", "demo"]),
        ("pgbench", &["-i", "-q", "-s", "1", "--foreign-keys", "--partitions", "3"]),
        ("pgbench", &["-i", "-q", "-s", "1", "-I", "dtGvp", "--unlogged-tables"]),
    ] {
        through.run(program, arguments);
    }
    assert!(exists("pg_stat_user_tables WHERE relname = 't' AND vacuum_count > 0 AND analyze_count > 0"));
    let (direct, through) = (programs.direct("demo"), programs.through("demo"));
    assert_eq!(
        through.run("oid2name", &["-d", "demo", "-t", "t"]),
        direct.run("oid2name", &["-d", "demo", "-t", "t"])
    );
    assert!(through.run("pg_isready", &[]).contains("accepting connections"));
}

#[test]
fn pg_recvlogical_and_a_verified_backup() {
    let programs = Programs::with(&["wal_level = logical"]);
    let demo = programs.through("demo");
    let slot = |arguments: &[&str]| {
        let all = [&["--slot", "through", "--dbname", "demo"], arguments].concat();
        demo.run("pg_recvlogical", &all)
    };
    slot(&["--create-slot", "--plugin", "test_decoding"]);
    demo.run("psql", &["-X", "-q", "-c", "INSERT INTO t (word) VALUES ('decoded')"]);
    let upto = programs.bench.cluster.sql("a", "SELECT pg_current_wal_lsn()").unwrap();
    let told = slot(&["--start", "--file", "-", "--no-loop", "--endpos", &upto]);
    assert!(told.contains("table public.t: INSERT") && told.contains("'decoded'"), "{told}");
    slot(&["--drop-slot"]);

    let target = programs.path("backup");
    demo.run("pg_basebackup", &["-D", &target, "-X", "stream", "-c", "fast", "--manifest-checksums=SHA256"]);
    assert!(demo.run("pg_verifybackup", &["--no-parse-wal", &target]).contains("successfully verified"));
    // Compressed on the server, in tar files.
    let target = programs.path("tarred");
    demo.run(
        "pg_basebackup",
        &["-D", &target, "-F", "t", "-X", "fetch", "-c", "fast", "--compress", "server-gzip"],
    );
    assert!(Path::new(&target).join("base.tar.gz").exists());

    let target = programs.path("wal");
    std::fs::create_dir(&target).expect("a new directory");
    demo.run("pg_receivewal", &["--create-slot", "--slot", "wal"]);
    let upto = programs.bench.cluster.sql("a", "SELECT pg_switch_wal()").unwrap();
    demo.run("pg_receivewal", &["-D", &target, "--slot", "wal", "--no-loop", "--endpos", &upto]);
    assert!(std::fs::read_dir(&target).expect("it is there").count() > 0);
    demo.run("pg_receivewal", &["--drop-slot", "--slot", "wal"]);
    eventually("the walsenders are gone", || {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE application_name LIKE 'pg_%'";
        programs.bench.cluster.sql("a", sql).unwrap() == "0"
    });
}

/// A cluster whose database `demo` has something in it.
struct Programs {
    bench: Bench,
}

impl Programs {
    fn start() -> Programs {
        Programs::with(&[])
    }

    /// Two standbys, so that what one program opens several connections for may meet several servers.
    fn with(conf: &[&str]) -> Programs {
        let conf = conf.iter().map(ToString::to_string).collect();
        let programs = Programs { bench: Bench::with(Options { conf, ..Options::default() }, &[]) };
        let script = programs.path("schema.sql");
        std::fs::write(&script, SCHEMA).expect("the lab's directory is ours");
        programs.direct("demo").run("psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &script]);
        programs.bench.cluster.wait_replayed().unwrap();
        programs
    }

    fn direct(&self, database: &str) -> Place<'_> {
        self.place(self.bench.cluster.port("a").expect("there is a node a"), database)
    }

    fn through(&self, database: &str) -> Place<'_> {
        self.place(self.bench.proxy.port(), database)
    }

    fn place(&self, port: u16, database: &str) -> Place<'_> {
        Place { bench: &self.bench, port, database: database.to_owned() }
    }

    /// All databases and roles, of which the dumps tell one after another.
    fn all(&self, way: &str) -> String {
        let place = if way == "direct" { self.direct("demo") } else { self.through("demo") };
        without_keys(&place.run("pg_dumpall", &["--no-sync"]))
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.bench.cluster.directory().join(name);
        path.display().to_string()
    }
}

/// Where a program connects, as the superuser.
struct Place<'a> {
    bench: &'a Bench,
    port: u16,
    database: String,
}

impl Place<'_> {
    /// Runs a program to its end and returns what it printed; it must succeed.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.bench.cluster.binaries().program(program));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.envs([("PGHOST", "127.0.0.1"), ("PGUSER", "postgres"), ("PGPASSWORD", "postgres")]);
        command.env("PGPORT", self.port.to_string()).env("PGDATABASE", &self.database);
        let output =
            command.args(arguments).stdin(Stdio::null()).output().expect("the program can be started");
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let log = self.bench.proxy.log_tail();
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{said}\n{log}", output.status);
        printed.into_owned()
    }

    fn dump(&self, arguments: &[&str]) -> String {
        without_keys(&self.run("pg_dump", arguments))
    }
}

/// Says which line is the first that differs.
#[track_caller]
fn same(seen: &str, expected: &str) {
    let (mut seen, mut expected) = (seen.lines(), expected.lines());
    for line in 1.. {
        match (seen.next(), expected.next()) {
            (None, None) => break,
            (seen, expected) => assert_eq!(seen, expected, "line {line}"),
        }
    }
}

/// Newer versions put a random key into each script.
fn without_keys(script: &str) -> String {
    let keyed = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
    script.lines().filter(|line| !keyed(line)).map(|line| format!("{line}\n")).collect()
}
