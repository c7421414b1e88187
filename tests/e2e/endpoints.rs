//! The read-only endpoint beside the other one, and clients that choose between both by what they are told.

use std::process::Command;

use crate::raw::Raw;
use crate::story::Story;
use crate::support::{applied_everywhere, eventually};

/// A cluster with a proxy of two ports; returns the one for reads.
fn story() -> (Story, u16) {
    let story = Story::on(applied_everywhere(), &["listen_read_only = [\"127.0.0.1:0\"]"]);
    let log = story.bench.proxy.log();
    let mut ports = log.lines().filter(|line| line.contains("listening")).filter_map(|line| {
        let port = line.split_once("\"listening\",\"address\":\"127.0.0.1:")?.1;
        port.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    let reads = ports.rfind(|port: &u16| *port != story.bench.proxy.port());
    let reads = reads.unwrap_or_else(|| panic!("no second port in\n{log}"));
    (story, reads)
}

#[test]
fn the_read_only_port_reaches_standbys_only() {
    let (story, port) = story();
    story.direct("a", "demo").sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let mut client = Raw::connect(port, "demo");
    assert_eq!(client.reported["in_hot_standby"], "on");
    assert_eq!(client.reported["default_transaction_read_only"], "on");
    assert_eq!(client.sql("SELECT pg_is_in_recovery(), current_setting('cluster_name')"), "t|b");
    assert_eq!(client.sql("SHOW transaction_read_only"), "on");
    let refused = client.fails("INSERT INTO t VALUES (2)");
    assert_eq!(refused.code, "25006");
    assert!(refused.hint.contains(&format!("port {}", story.bench.proxy.port())), "{refused:?}");
    assert_eq!(client.fails("BEGIN READ WRITE").code, "25006");
    client.sql("BEGIN");
    assert_eq!(client.sql("SELECT count(*), pg_is_in_recovery() FROM t"), "1|t");
    client.sql("COMMIT");
    // The other port is the primary to everybody.
    let mut other = story.client();
    assert_eq!(other.reported["in_hot_standby"], "off");
    assert_eq!(other.reported["default_transaction_read_only"], "off");
    assert_eq!(other.sql("SELECT pg_is_in_recovery()"), "f");
    assert_eq!(other.sql("SHOW transaction_read_only"), "off");
    // Without a standby the primary serves, and takes no writes here either.
    story.bench.cluster.stop("b", bellwether::lab::Shutdown::Immediate).expect("it is up");
    story.bench.cluster.sql("a", "ALTER SYSTEM SET synchronous_standby_names = ''").expect("it is set");
    story.bench.cluster.sql("a", "SELECT pg_reload_conf()").expect("it is read");
    eventually("the primary serves", || client.query("SELECT current_setting('cluster_name')").text() == "a");
    for write in ["INSERT INTO t VALUES (3)", "SET default_transaction_read_only = off", "BEGIN READ WRITE"] {
        assert_eq!(client.fails(write).code, "25006", "{write}");
    }
    assert_eq!(client.sql("SHOW transaction_read_only"), "on");
    assert_eq!(other.sql("SELECT count(*) FROM t"), "1");
}

#[test]
fn libpq_finds_the_port_it_wants() {
    let (story, reads) = story();
    let all = story.bench.proxy.port();
    let ask = |ports: [u16; 2], wanted: &str| {
        let output = Command::new(story.bench.cluster.binaries().program("psql"))
            .args(["-XAt", "-c", "SELECT pg_is_in_recovery()"])
            .arg(format!(
                "host=127.0.0.1,127.0.0.1 port={},{} user=demo dbname=demo target_session_attrs={wanted}",
                ports[0], ports[1]
            ))
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{wanted}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for ports in [[all, reads], [reads, all]] {
        for (wanted, standby) in [
            ("read-write", "f"),
            ("primary", "f"),
            ("read-only", "t"),
            ("standby", "t"),
            ("prefer-standby", "t"),
        ] {
            assert_eq!(ask(ports, wanted), standby, "{wanted} of {ports:?}, the second for reads: {reads}");
        }
    }
}
