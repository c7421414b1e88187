//! What the proxy counts is what happened.

use crate::story::{Story, eventually_with};
use crate::support::eventually;

fn sum(story: &Story, name: &str, label: &str) -> f64 {
    sum_in(&story.metrics(), name, label)
}

fn sum_in(text: &str, name: &str, label: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
}

#[test]
fn statements_errors_and_bytes_are_counted_one_by_one() {
    let story = Story::with(1, &[]);
    let mut client = story.client();
    // Its first question may also ask for the greeting.
    client.sql("SELECT 1");
    eventually("that is over", || sum(&story, "bellwether_transactions_total", "node=\"a\"") >= 1.0);
    let counts = |story: &Story| {
        let text = story.metrics();
        let statements = sum_in(&text, "bellwether_statements_total", "node=\"a\"");
        let timed = sum_in(&text, "bellwether_statement_seconds_count", "route=");
        (statements, timed, sum_in(&text, "bellwether_transactions_total", "node=\"a\""))
    };
    let before = counts(&story);
    for text in ["BEGIN", "SELECT 1", "SELECT 2", "COMMIT", "SELECT 3; SELECT 4"] {
        client.sql(text);
    }
    client.prepare("s", "SELECT $1::text");
    client.execute("s", &["x"]);
    assert_eq!(client.fails("SELECT nonsense").code, "42703");
    eventually_with("the last statement is counted", || {
        let now = counts(&story);
        // Preparing is one as well: a server had to parse it. The transaction is one, and its BEGIN, which was held back,
        // is part of its first statement.
        match (now.0 - before.0, now.1 - before.1, now.2 - before.2) {
            (7.0, 7.0, 5.0) => Ok(()),
            _ => Err(format!("{before:?} {now:?}")),
        }
    });
    eventually("the error is counted as the server's", || {
        sum(&story, "bellwether_errors_total", "origin=\"server\",sqlstate_class=\"42\"") == 1.0
    });
    assert_eq!(sum(&story, "bellwether_errors_total", "origin=\"proxy\""), 0.0);
    let bytes = |direction: &str| sum(&story, "bellwether_bytes_total", direction);
    let (row, before) = ("SELECT repeat('x', 100000)", (bytes("from_server"), bytes("to_client")));
    client.sql(row);
    eventually("large rows are counted on both sides", || {
        let (from, to) = (bytes("from_server") - before.0, bytes("to_client") - before.1);
        (100_000.0..110_000.0).contains(&from) && (100_000.0..110_000.0).contains(&to)
    });
    assert!(bytes("to_server") > row.len() as f64 && bytes("from_client") > row.len() as f64);
}

#[test]
fn statements_held_for_want_of_a_primary_are_counted() {
    let story = Story::with(2, &["pool.checkout_timeout = \"3s\""]);
    let mut client = story.client();
    client.sql("CREATE TABLE t (n int)");
    story.bench.cluster.wait_replayed().expect("b streams");
    let ended = |how: &str| story.metric(&format!("bellwether_holds_total{{result=\"{how}\"}}"));
    // Whoever asked before the proxy had seen its primary was held as well.
    let early = ended("released");
    story.bench.cluster.kill9("a").expect("a runs");
    eventually("the primary is missed", || story.metric("bellwether_writable") == 0.0);
    client.send_query("INSERT INTO t VALUES (1)");
    eventually("it is held", || story.metric("bellwether_held_statements") == 1.0);
    story.bench.cluster.fail_over("b").expect("b can be promoted");
    assert_eq!(client.answer().failure, None);
    assert_eq!((ended("released") - early, ended("expired")), (1.0, 0.0));
    assert_eq!(story.metric("bellwether_held_statements"), 0.0);
    assert_eq!(story.metric("bellwether_primary_changes_total"), 1.0);
    story.bench.cluster.kill9("b").expect("b runs");
    eventually("the primary is missed", || story.metric("bellwether_writable") == 0.0);
    client.send_query("INSERT INTO t VALUES (1)");
    assert!(client.answer().failure.is_some());
    assert_eq!((ended("released") - early, ended("expired")), (1.0, 1.0));
    assert_eq!(story.metric("bellwether_checkout_failures_total{reason=\"no_primary\"}"), 1.0);
}
