//! READ ONLY transactions on real servers: they run on a standby and stay there, and answer as one server would.

use crate::raw::Raw;
use crate::story::Story;
use crate::support::{applied_everywhere, eventually};

const WHERE: &str = "SELECT current_setting('cluster_name') FROM read LIMIT 1";

fn story(settings: &[&str]) -> Story {
    let story = Story::on(applied_everywhere(), settings);
    let mut direct = story.direct("a", "demo");
    direct.sql(
        "CREATE TABLE read (n int); INSERT INTO read SELECT generate_series(1, 100);
         CREATE FUNCTION volatile_f() RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';
         CREATE UNLOGGED TABLE unlogged (n int); CREATE SEQUENCE counter; CREATE VIEW seen AS SELECT n FROM read",
    );
    let mut client = story.client();
    eventually("the catalog is loaded", || client.sql(WHERE) == "b");
    story
}

fn all(client: &mut Raw, statements: &[&str]) -> Vec<String> {
    statements.iter().map(|sql| client.sql(sql)).collect()
}

#[test]
fn they_run_on_a_standby_from_the_first_statement_to_the_last() {
    let story = story(&[]);
    let mut client = story.client();
    for begin in [
        vec!["BEGIN READ ONLY"],
        vec!["START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"],
        vec!["BEGIN", "SET TRANSACTION READ ONLY"],
        vec!["BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY DEFERRABLE"],
    ] {
        all(&mut client, &begin);
        assert_eq!(client.sql(WHERE), "b", "{begin:?}");
        assert_eq!(client.extended(WHERE, &[]), "b");
        // Of the session and of the transaction; with cursors, and functions that tell it.
        assert_eq!(client.sql("SHOW transaction_read_only"), "on");
        assert_eq!(client.sql("SET LOCAL work_mem = '3MB'; SHOW work_mem"), "3MB");
        client.sql("DECLARE c CURSOR FOR SELECT n FROM read ORDER BY n");
        assert_eq!(client.sql("FETCH 2 FROM c"), "1\n2");
        client.sql("SAVEPOINT s");
        assert_eq!(client.fails("INSERT INTO read VALUES (0)").code, "25006");
        client.sql("ROLLBACK TO s");
        assert_eq!(client.sql("FETCH 1 FROM c"), "3");
        assert_eq!(client.sql("SELECT now() = now(), count(*) FROM read"), "t|100");
        client.sql("COMMIT");
    }
    assert_eq!(client.sql("SHOW work_mem"), "4MB");
    client.sql("INSERT INTO read VALUES (101)");
    assert_eq!(
        client.sql("BEGIN READ ONLY; SELECT current_setting('cluster_name') || max(n) FROM read; COMMIT"),
        "b101"
    );
}

#[test]
fn the_default_of_session_role_and_startup_counts() {
    let story = story(&[]);
    let in_block = |client: &mut Raw| {
        client.sql("BEGIN");
        let node = client.sql(WHERE);
        client.sql("COMMIT");
        node
    };
    let mut client = story.client();
    assert_eq!(in_block(&mut client), "a");
    for set in
        ["SET default_transaction_read_only = on", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"]
    {
        client.sql(set);
        // What was rolled back below is in the primary's memory for up to a fifth of a second.
        eventually(set, || in_block(&mut client) == "b");
        // What it says itself goes before.
        client.sql("BEGIN READ WRITE");
        client.sql("INSERT INTO read VALUES (0)");
        client.sql("ROLLBACK");
        assert_eq!(client.fails("INSERT INTO read VALUES (0)").code, "25006");
        client.sql("RESET default_transaction_read_only");
        assert_eq!(in_block(&mut client), "a");
    }
    let mut client = story.client_with(&[("options", "-c default_transaction_read_only=on")]);
    assert_eq!(in_block(&mut client), "b");
    // A default that only the server knows of.
    story.direct("a", "bellwether").sql(
        "CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on; GRANT SELECT ON read TO reader",
    );
    assert_eq!(in_block(&mut Raw::connect(story.bench.proxy.port(), "reader")), "b");
}

#[test]
fn what_needs_the_primary_is_decided_first_and_refused_later() {
    let story = story(&[]);
    let mut client = story.client();
    for (sql, code) in [
        ("SELECT volatile_f()", None),
        ("SELECT pg_is_in_recovery()", None),
        ("SELECT count(*) FROM unlogged", None),
        ("SELECT pg_advisory_xact_lock(1)", None),
        ("SELECT last_value FROM counter", None),
        ("LISTEN c", None),
        ("SELECT nextval('counter')", Some("25006")),
    ] {
        client.sql("BEGIN READ ONLY");
        match code {
            None => drop(client.sql(sql)),
            Some(code) => assert_eq!(client.fails(sql).code, code),
        }
        client.sql("ROLLBACK");
        client.sql("UNLISTEN *");
        // Behind a statement that a standby serves.
        client.sql("BEGIN READ ONLY");
        assert_eq!(client.sql(WHERE), "b");
        let failure = client.fails(sql);
        assert_eq!(failure.code, "25006", "{sql}");
        assert!(failure.message.contains("needs the primary"), "{sql}: {failure:?}");
        assert_eq!(client.fails("SELECT 1").code, "25P02");
        client.sql("ROLLBACK");
    }
    assert_eq!(story.metric("bellwether_refused_on_standby_total"), 7.0);
    client.sql("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY");
    assert_eq!(client.sql(WHERE), "a");
    client.sql("COMMIT");
}

#[test]
fn a_transaction_that_does_nothing_takes_no_server() {
    let story = story(&["pool.size = 1", "pool.reserve = 0", "pool.checkout_timeout = \"1s\""]);
    let (mut holder, mut client) = (story.client(), story.client());
    all(&mut holder, &["BEGIN", "SELECT pg_backend_pid()"]);
    all(
        &mut client,
        &["BEGIN", "COMMIT", "BEGIN READ WRITE", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"],
    );
    // For want of a server the transaction fails, and can be ended.
    client.sql("BEGIN");
    assert_eq!(client.fails("SELECT volatile_f()").code.len(), 5);
    assert_eq!(client.sql("COMMIT"), "");
    all(&mut holder, &["ROLLBACK"]);
    all(&mut client, &["BEGIN", "SELECT volatile_f()", "COMMIT"]);
}

#[test]
fn a_dump_may_be_taken_from_a_standby() {
    let story = story(&[]);
    let mut client = story.client();
    client.sql("DROP TABLE unlogged");
    eventually("the catalog is loaded again", || client.sql(WHERE) == "b");
    let dump = std::process::Command::new(story.bench.cluster.binaries().program("pg_dump"))
        .arg("--no-sync")
        .arg(story.bench.proxy.conninfo_as("demo", "demo"))
        .output()
        .expect("pg_dump runs");
    let (text, errors) = (String::from_utf8_lossy(&dump.stdout), String::from_utf8_lossy(&dump.stderr));
    assert!(dump.status.success(), "{errors}");
    assert!(
        text.contains("COPY public.read") && text.contains("\n100\n") && text.contains("volatile_f"),
        "{text}"
    );
}

#[test]
fn drivers_read_in_transactions_of_their_own_making() {
    let story = story(&[]);
    story.bench.python("read_only.py");
}
