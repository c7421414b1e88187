//! Servers come and go behind the endpoint: what clients notice, and what they must not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, ProxyOptions, ProxyProcess, Shutdown};

use crate::raw::Raw;
use crate::story::{Story, backends};
use crate::support::{BELLWETHER, eventually};

const WHERE: &str = "SELECT current_setting('cluster_name')";

#[test]
fn reads_are_spread_and_everything_else_goes_to_the_primary() {
    let mut story = Story::with(3, &["workers = 1"]);
    story.direct("a", "demo").sql(
        "CREATE SCHEMA d; CREATE TABLE d.t (n int); INSERT INTO d.t VALUES (1); CREATE SEQUENCE d.s;
         CREATE FUNCTION d.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    story.bench.cluster.wait_replayed().expect("the standbys replay");
    let mut clients: Vec<Raw> = (0..40).map(|_| story.client()).collect();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (n, client) in clients.iter_mut().enumerate() {
        // A session stays on its standby.
        for _ in 0..3 {
            let node = if n % 3 == 0 { client.extended(WHERE, &[]) } else { client.sql(WHERE) };
            *seen.entry(node).or_default() += 1;
        }
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert!(seen.values().all(|reads| *reads > 20), "{seen:?}");

    let client = &mut clients[0];
    client.prepare("where", WHERE);
    assert_ne!(client.execute("where", &[]).text(), "a", "a prepared read is a read");
    let node = "current_setting('cluster_name')";
    for not_a_read in [
        format!("WITH w AS (INSERT INTO d.t VALUES (2) RETURNING 1) SELECT {node} FROM w"),
        format!("WITH w AS (UPDATE d.t SET n = n RETURNING 1) SELECT max({node}) FROM w"),
        format!("SELECT {node} FROM d.t LIMIT 1 FOR UPDATE"),
        format!("SELECT {node} FROM (SELECT 1 FROM d.t FOR KEY SHARE) locked LIMIT 1"),
        format!("SELECT {node} WHERE random() >= 0"),
        format!("SELECT {node} WHERE nextval('d.s') > 0"),
        format!("SELECT {node} WHERE d.f() = 1"),
        format!("SELECT {node} WHERE pg_try_advisory_xact_lock(1)"),
        format!("SELECT {node} FROM pg_stat_activity LIMIT 1"),
        format!("SELECT {node} FROM d.s WHERE last_value > 0"),
        format!("BEGIN; SELECT {node}; COMMIT"),
        format!("SELECT {node}; SELECT d.f()"),
        "SHOW cluster_name".to_owned(),
        format!("EXPLAIN ANALYZE INSERT INTO d.t VALUES (3); SELECT {node}"),
    ] {
        for client in &mut clients[..2] {
            let text = client.sql(&not_a_read);
            assert!(text.lines().any(|line| line == "a"), "{not_a_read}: {text}");
        }
    }
    assert_eq!(clients[0].sql(&format!("SELECT {node} INTO d.made")), "");
    assert_eq!(clients[0].fails("SELECT nonsense nonsense nonsense").code, "42601");
    assert_eq!(clients[0].fails("SELECT * FROM d.not_there").code, "42P01");

    // A transaction stays where it began.
    let client = &mut clients[1];
    client.sql("BEGIN");
    assert_eq!((0..4).map(|_| client.sql(WHERE)).collect::<String>(), "aaaa");
    client.sql("COMMIT");

    // A standby that lags serves on: which reads it may serve is another story.
    story.bench.cluster.pause_replay("c").expect("it can be paused");
    client.sql("INSERT INTO d.t VALUES (4)");
    for node in ["b", "c"] {
        eventually("both serve", || story.client().sql(WHERE) == node);
    }
    story.bench.cluster.resume_replay("c").expect("it can be resumed");

    // Routing can be switched off while it runs.
    story.reload(&["routing.split = false", "workers = 1"]);
    let mut next = story.client();
    assert_eq!((0..4).map(|_| next.sql(WHERE)).collect::<String>(), "aaaa");
}

#[test]
fn a_standby_goes_and_comes_back_unseen() {
    let story = Story::with(3, &[]);
    let mut clients: Vec<Raw> = (0..4).map(|_| story.client()).collect();
    for how in [Shutdown::Fast, Shutdown::Immediate] {
        clients.iter_mut().for_each(|client| drop(client.sql(WHERE)));
        clients.iter_mut().for_each(|client| drop(client.sql(WHERE)));
        story.bench.cluster.stop("b", how).expect("it stops");
        for client in &mut clients {
            // Idle connections to it are dead, and the proxy may not know yet.
            for _ in 0..4 {
                assert_ne!(client.sql(WHERE), "b");
            }
        }
        story.bench.cluster.start_node("b").expect("it starts");
        eventually("it gets its share", || story.client().sql(WHERE) == "b");
    }
    // All of them: the primary serves the reads.
    for (node, others) in [("b", "ac"), ("c", "a")] {
        story.bench.cluster.kill9(node).expect("it runs");
        for client in &mut clients {
            let served = client.sql(WHERE);
            assert!(others.contains(&served), "{served}");
        }
    }

    // A read under way is run again, once, if nothing of its answer was seen.
    for node in ["b", "c"] {
        story.bench.cluster.start_node(node).expect("it starts");
        eventually("it serves", || story.client().sql(WHERE) == node);
    }
    let mut nodes = ["b", "c", "a"].map(|node| story.direct(node, "postgres"));
    let cut_off = |nodes: &mut [Raw]| {
        let running = "usename = 'demo' AND state = 'active' AND query LIKE '%generate_series%'";
        let sql = format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {running}");
        eventually("it runs", || nodes.iter_mut().any(|node| node.sql(&sql) == "t"));
    };
    let client = &mut clients[0];
    // It has read on the primary, and must see as much.
    eventually("it reads on a standby again", || client.sql(WHERE) != "a");
    client.send_query("SELECT count(*) FROM generate_series(1, 1000) a, generate_series(1, 3000) b");
    cut_off(&mut nodes[..2]);
    assert_eq!(client.answer().text(), "3000000");
    client.send_query("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b");
    cut_off(&mut nodes[..2]);
    cut_off(&mut nodes);
    let answer = client.answer();
    let code = answer.failure.map(|failure| failure.code);
    assert_eq!((code.as_deref(), answer.status), (Some("57P01"), Some('I')));
}

#[test]
fn the_primary_dies_and_another_takes_over() {
    let mut story = Story::with(3, &[]);
    story.direct("a", "demo").sql("CREATE SCHEMA d; CREATE TABLE d.w (n int)");
    story.bench.cluster.wait_replayed().expect("the standbys replay");
    let cluster = &story.bench.cluster;
    let (mut idle, mut in_transaction, mut prepared) = (story.client(), story.client(), story.client());
    idle.sql("SET application_name = 'idle'; INSERT INTO d.w VALUES (-1)");
    prepared.prepare("insert", "INSERT INTO d.w VALUES ($1::int)");
    assert_eq!(prepared.execute("insert", &["-2"]).failure, None);
    cluster.wait_replayed().expect("the standbys replay");
    // After the wait: what is not committed is not sent until something else is.
    in_transaction.sql("BEGIN; INSERT INTO d.w VALUES (-3)");

    let stop = AtomicBool::new(false);
    let (written, failures, longest_read) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&story, &stop));
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(|| read_until(&story, &stop))).collect();
        let mut oracle = story.direct("a", "postgres");
        eventually("there is traffic", || oracle.sql("SELECT count(*) > 20 FROM d.w") == "t");
        // Until the catalog knows the table, reads of it are the primary's and cannot be proven harmless.
        let asked = "SELECT current_setting('cluster_name') FROM d.w LIMIT 1";
        eventually("the catalog knows it", || story.client().sql(asked) != "a");
        cluster.kill9("a").expect("it runs");

        // Reads go on, and are fresh connections' business too.
        let mut reader = story.client();
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            assert_ne!(reader.sql(WHERE), "a");
        }
        let failure = in_transaction.query("SELECT 1").failure.expect("its transaction is gone");
        assert_eq!((&*failure.severity, &*failure.code), ("ERROR", "40001"), "{failure:?}");
        // A write waits for the new primary.
        idle.send_query("INSERT INTO d.w VALUES (-4)");
        let promoted = Instant::now();
        cluster.fail_over("b").expect("it is promoted");
        assert_eq!(idle.answer().failure, None);
        assert!(promoted.elapsed() < Duration::from_secs(8), "{:?}", promoted.elapsed());
        assert_eq!(idle.sql("SHOW application_name"), "idle");
        assert_eq!(prepared.execute("insert", &["-5"]).failure, None);
        assert_eq!(idle.sql("SHOW cluster_name"), "b");

        // The old one comes back as it lies: a second primary, on the old timeline.
        cluster.start_node("a").expect("it starts");
        let mut old = story.direct("a", "postgres");
        let rows = old.sql("SELECT count(*) FROM d.w");
        eventually("the proxy sees it", || {
            let status = story.status();
            status["nodes"].as_array().is_some_and(|nodes| {
                nodes.iter().any(|node| node["name"] == "a" && node["role"] == "primary")
            })
        });
        for n in 0..50 {
            assert_eq!(idle.sql("SHOW cluster_name"), "b", "{n}");
            assert_ne!(idle.sql(WHERE), "a", "{n}");
        }
        assert_eq!(old.sql("SELECT count(*) FROM d.w"), rows, "it was written to");
        assert_eq!(story.status()["primary"], "b");
        stop.store(true, Ordering::SeqCst);
        let (written, failures) = writer.join().expect("it does not panic");
        let slowest = readers.into_iter().map(|reader| reader.join().expect("no read fails")).max();
        (written, failures, slowest.unwrap_or_default())
    });
    // One statement was under way when the primary died, and one more on each connection whose process was killed a moment
    // after the one before; the rest waited.
    assert!(failures.len() <= 4 && failures.iter().all(|failure| failure.code == "08007"), "{failures:?}");
    assert!(longest_read < Duration::from_secs(3), "{longest_read:?}");
    let mut new = story.direct("b", "postgres");
    let after: usize = new.sql("SELECT count(*) FROM d.w WHERE n >= 0").parse().expect("a number");
    assert!(after > 20 && after <= written + 1, "{after} of {written}");

    // Brought back as a standby it serves reads.
    story.bench.cluster.stop("a", Shutdown::Fast).expect("it stops");
    story.bench.cluster.rejoin("a").expect("it follows b");
    eventually("a reads", || story.client().sql(WHERE) == "a");
    assert_eq!(idle.sql("SHOW cluster_name"), "b");
    story.reload(&[]);
}

#[test]
fn a_switchover_leaves_sessions_alone() {
    let story = Story::with(2, &[]);
    story.direct("a", "demo").sql("CREATE SCHEMA d; CREATE TABLE d.w (n int)");
    let mut clients: Vec<Raw> = (0..4).map(|_| story.client()).collect();
    for client in &mut clients {
        client.sql("SET work_mem = '7MB'; INSERT INTO d.w VALUES (1)");
    }
    story.bench.cluster.switchover("b").expect("b takes over");
    for client in &mut clients {
        client.sql("INSERT INTO d.w VALUES (2)");
        assert_eq!(client.sql("SELECT current_setting('work_mem'), pg_is_in_recovery()"), "7MB|f");
        assert_eq!(client.sql("SHOW cluster_name"), "b");
    }
    story.bench.cluster.switchover("a").expect("a takes over");
    for client in &mut clients {
        client.sql("INSERT INTO d.w VALUES (3)");
        assert_eq!(client.sql("SHOW work_mem"), "7MB");
    }
    assert_eq!(clients[0].sql("SELECT count(*) FROM d.w WHERE random() >= 0"), "12");
}

#[test]
fn a_proxy_that_starts_first_waits_for_servers() {
    let hba = vec!["host all all 127.0.0.1/32 trust".to_owned()];
    let cluster = Cluster::start(Options { nodes: 2, hba, ..Options::default() }).expect("a cluster");
    cluster.stop("b", Shutdown::Fast).expect("it stops");
    cluster.stop("a", Shutdown::Fast).expect("it stops");
    let options = ProxyOptions::new(BELLWETHER).with("auth.rules = [\"host all all all trust\"]");
    let mut proxy = ProxyProcess::start(&cluster, options).expect("it starts all the same");
    let port = proxy.port();
    let waiting = std::thread::spawn(move || {
        let mut client = Raw::connect(port, "demo");
        client.sql("CREATE TABLE pg_temp.t (n int); SELECT 1")
    });
    for node in ["a", "b"] {
        cluster.start_node(node).expect("it starts");
    }
    assert_eq!(waiting.join().expect("it is served"), "1");
    proxy.wait_ready(&cluster).expect("it sees both");
}

#[test]
fn a_cancel_reaches_the_running_statement_and_nothing_else() {
    let story = Story::with(2, &["pool.size = 2", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    let (mut first, mut second) = (story.client(), story.client());
    first.sql("SELECT 1");
    // Nothing runs: nothing is cancelled, not even by what comes next.
    for _ in 0..20 {
        first.cancel();
        assert_eq!(first.sql("SELECT pg_sleep(0), 1"), "|1");
    }
    second.send_query("SELECT pg_sleep(1), 'second'");
    first.send_query("SELECT pg_sleep(600)");
    backends(&mut oracle, "query LIKE '%pg_sleep%' AND state = 'active'", 2);
    first.cancel();
    assert_eq!(first.answer().failure.map(|failure| failure.code).as_deref(), Some("57014"));
    first.cancel();
    assert_eq!(second.answer().text(), "|second");
    // Many cancels racing with the end of the statement hit nobody else.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                first.cancel();
            }
        });
        for n in 0..200 {
            assert_eq!(second.sql(&format!("SELECT {n} FROM pg_sleep(0.001)")), n.to_string());
        }
        stop.store(true, Ordering::SeqCst);
        canceller.join().expect("it does not panic");
    });
}

/// Inserts numbers until told to stop; how many were acknowledged, and the failures.
fn write_until(story: &Story, stop: &AtomicBool) -> (usize, Vec<crate::raw::Failure>) {
    let mut client = story.client();
    let (mut written, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let answer = client.query(&format!("INSERT INTO d.w VALUES ({written})"));
        assert_eq!(answer.status, Some('I'), "the session lives: {answer:?}");
        match answer.failure {
            None => written += 1,
            Some(failure) => failures.push(failure),
        }
    }
    (written, failures)
}

/// Reads until told to stop; no read may fail. The longest one.
fn read_until(story: &Story, stop: &AtomicBool) -> Duration {
    let mut client = story.client();
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        client.sql("SELECT count(*) FROM d.w");
        longest = longest.max(began.elapsed());
    }
    longest
}
