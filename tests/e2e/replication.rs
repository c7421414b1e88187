//! Replication connections pass through to the primary.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Bench, applied_everywhere, eventually};

#[test]
fn backups_and_wal_stream_through_the_endpoint() {
    let options =
        bellwether::lab::Options { conf: vec!["wal_level = logical".to_owned()], ..applied_everywhere() };
    let bench = Bench::with(options, &[]);
    bench.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n");
    base_backup(&bench);
    receive_wal(&bench);
    logical(&bench);
}

/// The backup comes from the primary, whole, with the WAL that was written meanwhile.
fn base_backup(bench: &Bench) {
    let target = bench.cluster.directory().join("backup");
    let output =
        program(bench, "pg_basebackup", &target).args(["-X", "stream", "-c", "fast", "--no-sync"]).output();
    let output = output.expect("pg_basebackup can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(target.join("backup_manifest").exists() && target.join("PG_VERSION").exists());
    assert!(!target.join("standby.signal").exists(), "it is the primary's");
    let label = std::fs::read_to_string(target.join("backup_label")).expect("a backup has a label");
    assert!(label.contains("BACKUP FROM: primary"), "{label}");
}

fn receive_wal(bench: &Bench) {
    let target = bench.cluster.directory().join("wal");
    std::fs::create_dir(&target).expect("a new directory");
    let child = program(bench, "pg_receivewal", &target).arg("--no-sync").stderr(Stdio::null()).spawn();
    let _receiver = Ended(child.expect("pg_receivewal can be started"));
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg_receivewal'";
    eventually("it streams", || bench.cluster.sql("a", streams).unwrap() == "1");
    bench.sql("INSERT INTO t SELECT 0 FROM generate_series(1, 1000)");
    let segment = bench.cluster.sql("a", "SELECT pg_walfile_name(pg_current_wal_insert_lsn())").unwrap();
    bench.cluster.sql("a", "SELECT pg_switch_wal()").unwrap();
    eventually("the segment is there", || target.join(&segment).exists());
}

/// A walsender of a database runs SQL as well.
fn logical(bench: &Bench) {
    let conninfo = bench.proxy.conninfo_as("replicator", "demo") + " replication=database";
    let said = |command: &str| bench.cluster.sql_at(&conninfo, command).unwrap();
    assert!(said("IDENTIFY_SYSTEM").ends_with("|demo"));
    assert_eq!(said("SELECT 40 + 2"), "42");
    assert_eq!(said("SHOW wal_level"), "logical");
    let slot = said("CREATE_REPLICATION_SLOT through TEMPORARY LOGICAL test_decoding");
    assert!(slot.starts_with("through|"), "{slot}");
    eventually("the slot went with its connection", || {
        bench
            .cluster
            .sql("a", "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'through'")
            .unwrap()
            == "0"
    });
    let ordinary = bench.proxy.conninfo_as("demo", "demo") + " replication=database";
    let refused = bench.cluster.sql_at(&ordinary, "IDENTIFY_SYSTEM").unwrap_err().to_string();
    assert!(refused.contains("must be superuser or replication role to start walsender"), "{refused}");
}

fn program(bench: &Bench, name: &str, target: &Path) -> Command {
    let mut command = Command::new(bench.cluster.binaries().program(name));
    command.arg("-D").arg(target).arg("-d").arg(bench.proxy.conninfo_as("replicator", "replicator"));
    command.stdin(Stdio::null());
    command
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
