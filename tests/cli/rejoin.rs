//! `bellwether rejoin` on real servers: what is lost, what is kept, what is refused.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess, Shutdown};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::program::{BELLWETHER, bellwether, text};

/// A cluster whose server `a` has lost the lead to `b`, having written a row that nobody else has.
struct Bench {
    cluster: Cluster,
}

/// A server that our program has started, and that nobody else knows of.
struct Started<'a>(&'a Cluster, &'static str);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let file = self.0.data_directory(self.1).map(|data| data.join("postmaster.pid")).unwrap_or_default();
        let text = fs::read_to_string(file).unwrap_or_default();
        let pid = text.lines().next().and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return };
        let _ = kill_process(pid, Signal::QUIT);
        let deadline = Instant::now() + Duration::from_secs(20);
        while test_kill_process(pid).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn good<T>(result: Result<T, bellwether::lab::Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

impl Bench {
    /// `a` still runs if `stray`: then there are two that take writes.
    fn diverged(conf: &[&str], stray: bool) -> Bench {
        let conf = conf.iter().map(ToString::to_string).collect();
        let cluster = good(Cluster::start(Options { nodes: 2, conf, ..Options::default() }));
        good(cluster.sql("a", "CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000)"));
        good(cluster.wait_streaming());
        let bench = Bench { cluster };
        bench.eventually("b has the rows", || {
            bench.cluster.sql("b", "SELECT count(*) FROM kept").is_ok_and(|count| count == "1000")
        });
        let write = || good(bench.cluster.sql("a", "CREATE TABLE lost (n int); UPDATE kept SET n = -n"));
        if stray {
            good(bench.cluster.promote("b"));
            write();
        } else {
            good(bench.cluster.kill9("b"));
            write();
            good(bench.cluster.kill9("a"));
            good(bench.cluster.start_node("b"));
            good(bench.cluster.promote("b"));
        }
        good(bench.cluster.sql("b", "INSERT INTO kept VALUES (0)"));
        bench
    }

    fn data(&self) -> PathBuf {
        good(self.cluster.data_directory("a"))
    }

    /// The login has the rights of `setup-role`, and no more.
    fn lead(&self) -> String {
        let printed = bellwether(&["setup-role", "--sql", "--user", "lead"], &[]);
        let file = self.cluster.directory().join("setup.sql");
        fs::write(&file, printed.stdout).expect("the cluster's directory can be written to");
        let superuser = good(self.cluster.conninfo_as("b", "postgres", "postgres"));
        good(self.cluster.file_at(&superuser, &file).map(drop));
        good(self.cluster.sql_at(&superuser, "ALTER ROLE lead PASSWORD 'it''s'").map(drop));
        let port = good(self.cluster.port("b"));
        format!("host=127.0.0.1 port={port} user=lead password='it\\'s'")
    }

    fn run(&self, primary: &str, more: &[&str]) -> Output {
        let data = self.data();
        let line = ["rejoin", "a", "-D", data.to_str().expect("it is text"), "--primary", primary, "--yes"];
        bellwether(&[&line, more].concat(), &[("PATH", "/usr/bin:/bin")])
    }

    fn done(&self, primary: &str, more: &[&str]) -> String {
        let output = self.run(primary, more);
        let log = fs::read_to_string(self.data().join("rejoin.log")).unwrap_or_default();
        assert_eq!(output.status.code(), Some(0), "{}\n{log}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What `a` has, once it has replayed what `b` has written.
    fn assert_follows(&self) {
        good(self.cluster.sql("b", "INSERT INTO kept VALUES (5000)"));
        let seen = |sql: &str| self.cluster.sql("a", sql).unwrap_or_else(|error| error.to_string());
        self.eventually("a shows what b wrote", || seen("SELECT count(*) FROM kept WHERE n = 5000") == "1");
        assert_eq!(seen("SELECT count(*) FILTER (WHERE n < 0), count(*) FROM kept"), "0|1002");
        assert_eq!(seen("SELECT to_regclass('lost') IS NULL, pg_is_in_recovery()"), "t|t");
        assert!(!self.marker().exists());
    }

    /// Takes the checksums of `a` away, which is allowed after a clean end only.
    fn without_checksums(&self) {
        use std::os::unix::fs::MetadataExt;
        use std::os::unix::process::CommandExt;
        good(self.cluster.start_node("a"));
        good(self.cluster.stop("a", Shutdown::Fast));
        let owner = fs::metadata(self.data()).expect("it is there").uid();
        let mut command = std::process::Command::new(self.cluster.binaries().program("pg_checksums"));
        command.args(["--disable", "-D"]).arg(self.data()).current_dir("/");
        if rustix::process::geteuid().is_root() {
            command.uid(owner);
        }
        let output = command.output().expect("it comes with the server");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    fn marker(&self) -> PathBuf {
        let mut name = self.data().into_os_string();
        name.push(".rejoin");
        name.into()
    }

    fn eventually(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "did not happen: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_killed_primary_is_rewound_and_follows() {
    let bench = Bench::diverged(&[], false);
    let primary = bench.lead();
    // It looks only.
    let planned = text(&bench.run(&primary, &["--dry-run"]).stdout);
    for step in ["1  take back what the primary does not have", "pg_rewind", "see it follow"] {
        assert!(planned.contains(step), "{planned}");
    }
    assert!(!bench.marker().exists() && !bench.data().join("standby.signal").exists());

    let _started = Started(&bench.cluster, "a");
    let told = bench.done(&primary, &[]);
    assert!(
        told.contains("s  rewound\n") && told.ends_with("a follows the primary on timeline 2\n"),
        "{told}"
    );
    bench.assert_follows();
    // Once more changes nothing.
    let again = bench.done(&primary, &["-o", "json"]);
    let again: serde_json::Value = serde_json::from_str(&again).expect("one object");
    assert_eq!((&again["outcome"], again["steps"].as_array().map(Vec::len)), (&"done".into(), Some(1)));
    // And not on the primary's own host.
    let b = good(bench.cluster.data_directory("b"));
    let own = bellwether(
        &["rejoin", "b", "-D", b.to_str().expect("it is text"), "--primary", &primary, "--yes", "--clone"],
        &[],
    );
    assert_eq!(own.status.code(), Some(5));
    assert!(text(&own.stderr).starts_with("refused: this server is the primary\n"), "{}", text(&own.stderr));
}

#[test]
fn a_stray_primary_is_stopped_first_and_started_by_others() {
    let bench = Bench::diverged(&[], true);
    let options = ProxyOptions::new(BELLWETHER);
    let proxy = good(ProxyProcess::start(&bench.cluster, options));
    let file = proxy.config_file().to_str().expect("it is text").to_owned();
    let data = bench.data();
    let run = |more: &[&str]| {
        let line = ["rejoin", "a", "--data", data.to_str().expect("it is text"), "-c", &file, "--yes"];
        bellwether(&[&line, more].concat(), &[])
    };
    // The proxy has not seen yet who leads, or has not begun to answer.
    bench.eventually("the proxy names the primary", || run(&["--dry-run"]).status.code() == Some(0));
    let prepared = run(&["--no-start"]);
    assert_eq!(prepared.status.code(), Some(0), "{}", text(&prepared.stderr));
    let told = text(&prepared.stdout);
    assert!(told.contains("s  stopped\n") && told.contains("prepared: start it"), "{told}");
    assert!(bench.marker().exists(), "it is not proven yet");
    assert!(!bench.cluster.is_running("a"));
    good(bench.cluster.start_node("a"));
    let proven = run(&[]);
    assert_eq!(proven.status.code(), Some(0), "{}", text(&proven.stderr));
    bench.assert_follows();
    // It is taken in by itself.
    bench.eventually("the proxy sees a stream", || {
        let shown = text(&bellwether(&["node", "show", "a", "-c", &file], &[]).stdout);
        shown.contains("state                streaming\n") && shown.contains("serves reads         true\n")
    });
}

#[test]
fn a_rewind_that_broke_off_needs_a_copy() {
    let bench = Bench::diverged(&[], false);
    let primary = bench.lead();
    // A pg_rewind that fails in the middle.
    let broken = bench.cluster.directory().join("bin");
    fs::create_dir(&broken).expect("the cluster's directory can be written to");
    for program in fs::read_dir(bench.cluster.binaries().directory()).expect("it can be read").flatten() {
        std::os::unix::fs::symlink(program.path(), broken.join(program.file_name())).expect("it is new");
    }
    fs::remove_file(broken.join("pg_rewind")).expect("it was just made");
    fs::write(broken.join("pg_rewind"), "#!/bin/sh\necho 'pg_rewind: error: the line broke' >&2\nexit 1\n")
        .expect("likewise");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(broken.join("pg_rewind"), fs::Permissions::from_mode(0o755)).expect("it is ours");

    let failed = bench.run(&primary, &["--bin", broken.to_str().expect("it is text")]);
    assert_eq!(failed.status.code(), Some(1));
    let said = text(&failed.stderr);
    assert!(
        said.contains("cause: pg_rewind: error: the line broke\nhint: bellwether rejoin --clone"),
        "{said}"
    );
    // The next run does not trust that data, whatever it looks like.
    let refused = bench.run(&primary, &[]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(text(&refused.stderr).contains("cause: an earlier rewind broke off in the middle"));

    let _started = Started(&bench.cluster, "a");
    let told = bench.done(&primary, &["--clone"]);
    let old =
        told.split("the old data is in ").nth(1).and_then(|rest| rest.lines().next()).expect("it is told");
    assert!(PathBuf::from(old).join("PG_VERSION").exists());
    bench.assert_follows();
}

#[test]
fn what_cannot_follow_is_told_so() {
    let bench = Bench::diverged(&["wal_log_hints = off"], false);
    let primary = bench.lead();
    bench.without_checksums();
    let poor = bench.run(&primary, &[]);
    assert_eq!(poor.status.code(), Some(5), "{}", text(&poor.stderr));
    assert!(text(&poor.stderr).contains("neither checksums nor wal_log_hints"), "{}", text(&poor.stderr));
    let nowhere = bench.run("host=127.0.0.1 port=1 user=lead", &[]);
    assert_eq!(nowhere.status.code(), Some(6), "{}", text(&nowhere.stderr));
    let password = bench.run(&primary.replace("it", "is"), &[]);
    assert_eq!(password.status.code(), Some(6));
    assert!(text(&password.stderr).contains("password authentication failed"), "{}", text(&password.stderr));
    assert_eq!(bench.run("host=a,b", &[]).status.code(), Some(2));
    let elsewhere =
        bellwether(&["rejoin", "a", "-D", "/no/such/directory", "--primary", &primary, "--yes"], &[]);
    assert_eq!(elsewhere.status.code(), Some(2));
    let unasked = bellwether(
        &["rejoin", "a", "-D", bench.data().to_str().expect("it is text"), "--primary", &primary, "--clone"],
        &[],
    );
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("add --yes"), "{}", text(&unasked.stderr));
    // Following a standby is no way back.
    good(bench.cluster.kill9("b"));
    fs::write(good(bench.cluster.data_directory("b")).join("standby.signal"), "")
        .expect("it can be written to");
    good(bench.cluster.start_node("b"));
    let standby = bench.run(&primary, &[]);
    assert_eq!(standby.status.code(), Some(4), "{}", text(&standby.stderr));
}
