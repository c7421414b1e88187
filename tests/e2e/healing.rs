//! Reads that a standby refuses, or cancels for what it replays, are answered by the primary, and nobody notices.

use bellwether::lab::Options;

use crate::raw::{self, Raw};
use crate::story::{Story, eventually_with};
use crate::support::{applied_everywhere, eventually};

/// Functions that are not what they say. `d.writer` is honest, so that the calls of it may write.
const OBJECTS: &str = "
    CREATE SCHEMA d;
    CREATE TABLE d.t (n int); INSERT INTO d.t SELECT generate_series(1, 40);
    CREATE TABLE d.written (n int);
    CREATE UNLOGGED TABLE d.unlogged (n int); INSERT INTO d.unlogged VALUES (7);
    CREATE FUNCTION d.writer() RETURNS int VOLATILE LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO d.written VALUES (1); RETURN 1; END';
    CREATE FUNCTION d.liar() RETURNS int STABLE LANGUAGE sql AS 'SELECT d.writer()';
    CREATE FUNCTION d.talker() RETURNS int STABLE LANGUAGE plpgsql
        AS 'BEGIN RAISE NOTICE ''well''; PERFORM pg_sleep(0.2); RETURN d.writer(); END';
    CREATE FUNCTION d.peek() RETURNS int STABLE LANGUAGE sql AS 'SELECT max(n) FROM d.unlogged';
    CREATE FUNCTION d.slow(n int) RETURNS int STABLE LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(0.05); RETURN n; END'";

const LIAR: &str = "SELECT current_setting('cluster_name') || d.liar()";

fn story(options: Options, settings: &[&str]) -> Story {
    let story = Story::on(options, settings);
    story.direct("a", "demo").sql(OBJECTS);
    let mut client = story.client();
    let node = "SELECT DISTINCT current_setting('cluster_name') FROM d.t";
    eventually("the catalog is loaded", || client.sql(node) == "b");
    story
}

fn healed(story: &Story, cause: &str) -> f64 {
    story.metric(&format!("bellwether_reads_healed_total{{cause=\"{cause}\"}}"))
}

fn routed(story: &Story, route: &str, rule: &str) -> f64 {
    story.metric(&format!("bellwether_routed_total{{route=\"{route}\",rule=\"{rule}\"}}"))
}

#[test]
fn a_function_that_lies_is_found_out_once() {
    let story = story(applied_everywhere(), &["routing.catalog_refresh = \"1h\""]);
    let mut clients: Vec<Raw> = (0..4).map(|_| story.client()).collect();
    clients[0].prepare("liar", LIAR);
    assert_eq!(clients[0].execute("liar", &[]).text(), "a1");
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.sql(LIAR), "a1", "client {at}");
        assert_eq!(client.extended(LIAR, &[]), "a1");
        assert_eq!(client.sql(&format!("{LIAR} WHERE 'x' <> '{at}'")).len(), 2, "another shape");
    }
    assert_eq!(clients[0].execute("liar", &[]).text(), "a1");
    // Two shapes, each found out once, whichever worker serves a client.
    assert_eq!(healed(&story, "writes"), 2.0);
    assert_eq!(routed(&story, "primary", "learned"), 14.0);
    // What was run again was done once.
    assert_eq!(story.direct("a", "demo").sql("SELECT count(*) FROM d.written"), "14");
    assert_eq!(clients[0].sql("SELECT DISTINCT current_setting('cluster_name') FROM d.t"), "b");

    // Another function is another matter: it is tried again once the catalog says so.
    clients[0].sql("CREATE OR REPLACE FUNCTION d.liar() RETURNS int STABLE LANGUAGE sql AS 'SELECT 2'");
    eventually("it is read on the standby", || clients[1].sql(LIAR) == "b2");
    assert_eq!(clients[0].execute("liar", &[]).text(), "b2");
    clients[0]
        .sql("CREATE OR REPLACE FUNCTION d.liar() RETURNS int STABLE LANGUAGE sql AS 'SELECT d.writer()'");
    eventually("the catalog is loaded", || {
        clients[1].sql("SELECT DISTINCT current_setting('cluster_name') FROM d.t") == "b"
    });
    assert_eq!(clients[2].sql(LIAR), "a1");
    assert_eq!(healed(&story, "writes"), 3.0);
    // Within a transaction it is where the transaction is, and fails as it would without us.
    clients[2].sql("BEGIN READ ONLY");
    assert_eq!(clients[2].fails(LIAR).code, "25006");
    clients[2].sql("ROLLBACK");
    assert_eq!(healed(&story, "writes"), 3.0);
    // The server sends a notice at once, so the client has heard of it, and hears the end. Others do not.
    assert_eq!(clients[3].fails("SELECT d.talker()").code, "25006");
    assert_eq!(clients[2].sql("SELECT d.talker()"), "1");
    assert_eq!(healed(&story, "writes"), 3.0);
}

#[test]
fn what_a_standby_cannot_read_is_read_on_the_primary() {
    let story = story(applied_everywhere(), &[]);
    let mut client = story.client();
    let peek = "SELECT current_setting('cluster_name') || d.peek()";
    assert_eq!(client.extended(peek, &[]), "a7");
    assert_eq!(client.sql(peek), "a7");
    assert_eq!((healed(&story, "unlogged"), routed(&story, "primary", "learned")), (1.0, 2.0));
    // A default that only the server knows.
    story.bench.cluster.sql("a", "ALTER ROLE demo SET default_transaction_isolation = serializable").unwrap();
    story
        .bench
        .cluster
        .sql("b", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'demo'")
        .unwrap();
    let node = "SELECT DISTINCT current_setting('cluster_name') FROM d.t WHERE n > 0";
    // The standby is tried once it shows what the session has seen on the primary.
    eventually("it is tried on the standby", || {
        assert_eq!(client.sql(node), "a");
        healed(&story, "serializable") == 1.0
    });
}

#[test]
fn a_read_in_the_way_of_replay_is_run_again() {
    let conf = ["max_standby_streaming_delay = 0", "hot_standby_feedback = off", "autovacuum = off"];
    let options = Options { nodes: 2, conf: conf.map(String::from).into(), ..Options::default() };
    let story = story(options, &[]);
    let mut client = story.client();
    let (mut primary, mut standby) = (story.direct("a", "demo"), story.direct("b", "demo"));
    let mut conflict = |client: &mut Raw, text: &str, extended: bool| {
        if extended {
            let one = [raw::parse("", text), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()];
            client.send(&one.concat());
        } else {
            client.send_query(text);
        }
        let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%d.slow%' \
             AND pid <> pg_backend_pid()";
        eventually("it runs on the standby", || standby.sql(running) == "1");
        primary.sql("DELETE FROM d.t WHERE n IN (SELECT n FROM d.t LIMIT 10)");
        primary.sql("VACUUM d.t");
        client.answer()
    };
    let count = "SELECT max(current_setting('cluster_name')), count(*) FROM d.t WHERE d.slow(n) > 0";
    for extended in [false, true] {
        let answer = conflict(&mut client, count, extended);
        assert_eq!(answer.failure, None);
        assert!(answer.text().starts_with("a|"), "{}", answer.text());
    }
    eventually_with("both are counted", || match healed(&story, "recovery_conflict") {
        2.0 => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(routed(&story, "primary", "recovery_conflict"), 2.0);
    // Not remembered.
    assert_eq!(
        client.sql("SELECT DISTINCT current_setting('cluster_name') FROM d.t WHERE d.slow(n) > 0"),
        "b"
    );
    // The client has seen rows, so it must see the error.
    let rows = "SELECT d.slow(n), repeat('x', 20000) FROM d.t";
    let answer = conflict(&mut client, rows, false);
    assert_eq!(answer.failure.map(|failure| failure.code), Some("40001".to_owned()));
    assert_eq!(healed(&story, "recovery_conflict"), 2.0);
    assert_eq!(client.sql("SELECT 1"), "1");
}
