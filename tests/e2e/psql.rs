//! psql and pgbench through the endpoint: what they print is what they print directly.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Bench, applied_everywhere};

#[test]
fn a_whole_session_prints_the_same_as_directly() {
    let bench = Bench::with(applied_everywhere(), &[]);
    let direct = session(&bench, &bench.cluster.conninfo("a").unwrap());
    let proxied = session(&bench, &bench.proxy.conninfo_as("demo", "demo"));
    assert!(direct.lines().count() > 500, "the script ran to its end: {direct}");
    let (mut expected, mut seen) = (direct.lines(), proxied.lines());
    for line in 1.. {
        match (expected.next(), seen.next()) {
            (None, None) => break,
            (expected, seen) => assert_eq!(seen, expected, "line {line} of\n{proxied}"),
        }
    }
}

#[test]
fn thirty_pgbench_clients_share_five_servers() {
    let bench = Bench::with(applied_everywhere(), &["pool.size = 5", "pool.reserve = 0"]);
    bench.pgbench(&["-i", "-q", "-s", "2"]);
    let run = |arguments: &[&str], transactions: &str| {
        let printed = bench.pgbench(&[&["-n", "-c", "30", "-j", "2"], arguments].concat());
        assert!(printed.contains(&format!("processed: {transactions}")), "{arguments:?}: {printed}");
        assert!(printed.contains("number of failed transactions: 0 (0.000%)"), "{arguments:?}: {printed}");
    };
    // Prepared, it waits for the answer to each Parse while its other clients hold the servers.
    for mode in ["simple", "extended", "prepared"] {
        run(&["-M", mode, "-b", "tpcb-like", "-t", "10"], "300/300");
        run(&["-M", mode, "-b", "select-only", "-t", "50"], "1500/1500");
        run(&["-M", mode, "-b", "simple-update", "-t", "2", "-C"], "60/60");
    }
    let busiest = "SELECT max(count) <= 5 FROM (SELECT count(*) FROM pg_stat_activity \
                   WHERE usename = 'demo' AND backend_type = 'client backend') AS of_demo";
    for node in ["a", "b"] {
        assert_eq!(bench.cluster.sql(node, busiest).unwrap(), "t", "{node}");
    }
    let balance =
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)";
    assert_eq!(bench.cluster.sql("a", balance).unwrap(), "t");
}

/// Runs the script in a psql of its own and returns all it prints, in order.
fn session(bench: &Bench, conninfo: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/psql");
    let mut command = Command::new("sh");
    // One pipe for both, as on a terminal: errors stand where they happened.
    command.args(["-c", "exec \"$0\" -X -w -d \"$1\" -f session.sql 2>&1"]);
    command.arg(bench.cluster.binaries().program("psql")).arg(conninfo).current_dir(directory);
    let output = command.stdin(Stdio::null()).output().expect("psql can be started");
    String::from_utf8(output.stdout).expect("psql prints UTF-8")
}
