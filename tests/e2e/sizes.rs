//! How many server connections there are, who waits for them, for how long, and what becomes of dead ones.

use std::time::{Duration, Instant};

use bellwether::wire::write;

use crate::raw::{Raw, bind, execute, parse, sync};
use crate::story::{Story, backends};
use crate::support::eventually;

#[test]
fn sizes_waits_and_their_end() {
    let mut story = Story::with(
        1,
        &[
            "pool.size = 2",
            "pool.reserve = 1",
            "pool.reserve_after = \"300ms\"",
            "pool.checkout_timeout = \"1s\"",
        ],
    );
    let mut oracle = story.direct("a", "postgres");
    let mut holders = [story.client(), story.client()];
    holders.iter_mut().for_each(|holder| drop(holder.sql("BEGIN; SELECT 1")));
    backends(&mut oracle, "true", 2);

    // The third waits, then gets the reserve.
    let began = Instant::now();
    let mut third = story.client();
    third.sql("BEGIN; SELECT 1");
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    backends(&mut oracle, "true", 3);

    // The fourth waits in vain, is told so, and goes on.
    let mut fourth = story.client();
    let began = Instant::now();
    let failure = fourth.fails("SELECT 1");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!((&*failure.severity, &*failure.code), ("ERROR", "53300"));
    assert!(failure.message.contains("connection"), "{failure:?}");
    backends(&mut oracle, "true", 3);
    third.sql("COMMIT");
    assert_eq!(fourth.sql("SELECT 4"), "4");
    // In a group of the extended protocol too.
    third.sql("BEGIN; SELECT 1");
    let failed = fourth.execute("none", &[]);
    assert_eq!(
        (failed.failure.map(|failure| failure.code).as_deref(), failed.status),
        (Some("53300"), Some('I'))
    );
    third.sql("COMMIT");
    assert_eq!(fourth.extended("SELECT $1::text", &["fifth"]), "fifth");
    for holder in holders {
        holder.kill();
    }
    story.settled(&mut oracle, "all left");

    // Who came first is served first.
    story.reload(&["pool.size = 1", "pool.reserve = 0"]);
    story.direct("a", "demo").sql("CREATE SCHEMA d; CREATE TABLE d.served (place serial, n int)");
    let mut holder = story.client();
    // Connections above the new size go at their release.
    holder.sql("SELECT 1");
    eventually("one connection is left", || {
        holder.sql("SELECT 1");
        oracle.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo'") == "1"
    });
    holder.sql("BEGIN; SELECT 1");
    let mut waiting: Vec<Raw> = Vec::new();
    for n in 0..6 {
        let mut client = story.client();
        client.send_query(&format!("INSERT INTO d.served (n) VALUES ({n})"));
        waiting.push(client);
        eventually("it waits", || story.pool("a", "demo", "waiting") == n + 1);
    }
    // One gives up: the others are served all the same.
    waiting.remove(2).reset();
    eventually("it waits no longer", || story.pool("a", "demo", "waiting") == 5);
    holder.sql("COMMIT");
    waiting.iter_mut().for_each(|client| assert_eq!(client.answer().failure, None));
    assert_eq!(holder.sql("SELECT string_agg(n::text, ',' ORDER BY place) FROM d.served"), "0,1,3,4,5");
    story.settled(&mut oracle, "all were served");
}

#[test]
fn limits_over_users_and_databases() {
    let mut story = Story::with(1, &["pool.max_per_user = 1", "pool.checkout_timeout = \"10s\""]);
    let mut oracle = story.direct("a", "postgres");
    oracle.sql("CREATE ROLE demo_two LOGIN");
    let port = story.bench.proxy.port();
    let connect = |user, database| Raw::try_connect(port, user, database, &[]).expect("it lets us in");

    let mut here = connect("demo", "demo");
    here.sql("BEGIN; SELECT 1");
    let mut there = std::thread::spawn(move || {
        let mut there = Raw::try_connect(port, "demo", "postgres", &[]).expect("it lets us in");
        there.sql("BEGIN; SELECT 1");
        there
    });
    // Even the login needs a server, which is not to be had.
    backends(&mut oracle, "true", 1);
    connect("demo_two", "demo").sql("SELECT 1");
    here.sql("COMMIT");
    let mut joined = there.join().expect("it does not panic");
    backends(&mut oracle, "usename = 'demo'", 1);
    joined.sql("COMMIT");

    story.reload(&["pool.max_per_database = 1", "pool.checkout_timeout = \"10s\""]);
    here.sql("BEGIN; SELECT 1");
    there = std::thread::spawn(move || {
        let mut there = Raw::try_connect(port, "demo_two", "demo", &[]).expect("it lets us in");
        there.sql("BEGIN; SELECT 1");
        there
    });
    eventually("another user waits for the database", || story.pool("a", "demo_two", "waiting") == 1);
    backends(&mut oracle, "datname = 'demo'", 1);
    here.sql("COMMIT");
    joined = there.join().expect("it does not panic");
    backends(&mut oracle, "datname = 'demo'", 1);
    joined.terminate();
}

#[test]
fn old_idle_and_dead_servers_are_replaced_unseen() {
    let mut story = Story::with(1, &["pool.idle_timeout = \"200ms\"", "pool.min = 2"]);
    let mut oracle = story.direct("a", "postgres");
    let mut client = story.client();
    let mut holders = [story.client(), story.client(), story.client()];
    holders.iter_mut().for_each(|holder| drop(holder.sql("BEGIN; SELECT 1")));
    holders.iter_mut().for_each(|holder| drop(holder.sql("COMMIT")));
    backends(&mut oracle, "true", 2);
    // The minimum is kept even when servers die.
    oracle.sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'demo'");
    assert_eq!(client.sql("SELECT 'not noticed'"), "not noticed");
    backends(&mut oracle, "true", 2);

    story.reload(&["pool.max_lifetime = \"300ms\"", "pool.size = 1", "pool.reserve = 0"]);
    // It counts from the next connection on.
    oracle.sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'demo'");
    let first = client.sql("SELECT pg_backend_pid()");
    eventually("the server is replaced", || client.sql("SELECT pg_backend_pid()") != first);

    // One that does not answer any more, though its connection stands.
    // The pool's clock goes four times within the shortest of its times.
    let short = ["pool.check_after_idle = \"100ms\"", "pool.reserve_after = \"100ms\""];
    story.reload(&[short[0], short[1], "pool.size = 1", "pool.reserve = 0"]);
    oracle.sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'demo'");
    eventually("one is left", || {
        client.sql("SELECT 1");
        oracle.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo'") == "1"
    });
    let hanging = client.sql("SELECT pg_backend_pid()");
    let pid = rustix::process::Pid::from_raw(hanging.parse().expect("a number")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it is ours");
    // Time that nothing else shows: the server must have been idle for this long.
    std::thread::sleep(Duration::from_millis(300));
    let answer = client.sql("SELECT pg_backend_pid()");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is ours");
    assert_ne!(answer, hanging);
    story.settled(&mut oracle, "a server hung");
}

#[test]
fn a_server_that_dies_in_use_ends_no_more_than_it_must() {
    let story = Story::with(1, &[]);
    let mut oracle = story.direct("a", "postgres");
    let terminate = |oracle: &mut Raw, condition: &str| {
        backends(oracle, condition, 1);
        oracle.sql(&format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'demo' AND {condition}"
        ));
    };
    // Outside a transaction the statement fails, and the session lives.
    let mut client = story.client();
    client.sql("SET work_mem = '7MB'");
    client.send_query("SELECT pg_sleep(600)");
    terminate(&mut oracle, "state = 'active'");
    let answer = client.answer();
    let failure = answer.failure.expect("the statement was cut off");
    assert_eq!((&*failure.severity, &*failure.code, answer.status), ("ERROR", "57P01", Some('I')));
    assert_eq!(client.sql("SHOW work_mem"), "7MB");
    client.send(
        &[
            crate::raw::parse("", "SELECT pg_sleep(600)"),
            crate::raw::bind("", "", &[]),
            crate::raw::execute("", 0),
            crate::raw::sync(),
        ]
        .concat(),
    );
    terminate(&mut oracle, "state = 'active'");
    let answer = client.answer();
    assert_eq!(
        (answer.failure.map(|failure| failure.code).as_deref(), answer.status),
        (Some("57P01"), Some('I'))
    );
    assert_eq!(client.sql("SHOW work_mem"), "7MB");

    // A transaction is lost with its server; the session goes on.
    client.sql("BEGIN; SELECT 1");
    terminate(&mut oracle, "state = 'idle in transaction'");
    let answer = client.query("SELECT 1");
    let failure = answer.failure.expect("the transaction is gone");
    assert_eq!((&*failure.severity, &*failure.code, answer.status), ("ERROR", "40001", Some('E')));
    client.sql("ROLLBACK");

    // Not so one whose state lay there.
    let mut client = story.client();
    client.sql("CREATE TEMP TABLE lost (n int)");
    terminate(&mut oracle, "query LIKE '%pg_my_temp_schema%'");
    let failure = client.fails("SELECT * FROM lost");
    assert_eq!((&*failure.severity, &*failure.code), ("FATAL", "57P01"));
    story.settled(&mut oracle, "servers died");
}

#[test]
fn session_mode_by_database_and_by_user() {
    let mut story =
        Story::with(1, &["databases.demo.pool_mode = \"session\"", "pool.size = 1", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    let pinned = |client: &mut Raw| {
        // Nothing follows what this does, so it shows who keeps a server.
        client.sql("DO $$ BEGIN PERFORM set_config('work_mem', '5MB', false); END $$");
        client.sql("SELECT 1");
        client.sql("SHOW work_mem") == "5MB"
    };
    let mut client = story.client();
    assert!(pinned(&mut client));
    assert_eq!(story.pool("a", "demo", "active"), 1);
    client.sql("CREATE SEQUENCE IF NOT EXISTS pg_temp.s; SELECT nextval('s')");
    assert_eq!(client.sql("SELECT currval('s'), lastval()"), "1|1");
    let pid = client.sql("SELECT pg_backend_pid()");
    client.terminate();
    let mut next = story.client();
    assert_eq!(next.sql("SELECT pg_backend_pid()"), pid, "the server is used again");
    assert_eq!(next.sql("SHOW work_mem"), "4MB");
    assert_eq!(next.fails("SELECT currval('s')").code, "42P01");
    next.kill();
    story.settled(&mut oracle, "session mode");

    story.reload(&["databases.demo.pool_mode = \"session\"", "users.demo.pool_mode = \"transaction\""]);
    let mut client = story.client();
    client.sql("SELECT 1");
    eventually("the user's mode goes first", || story.pool("a", "demo", "active") == 0);
    client.terminate();

    story.reload(&["users.demo.pool_mode = \"session\""]);
    let mut client = story.client();
    assert!(pinned(&mut client));
    client.sql("BEGIN; SELECT 1");
    client.reset();
    story.settled(&mut oracle, "session mode by user");
}

#[test]
fn a_database_can_be_dropped_although_its_pool_has_idle_servers() {
    let story = Story::with(1, &[]);
    let port = story.bench.proxy.port();
    let mut admin = Raw::try_connect(port, "postgres", "postgres", &[]).expect("a login");
    admin.sql("CREATE DATABASE short_lived");
    let mut guest = Raw::try_connect(port, "postgres", "short_lived", &[]).expect("a login");
    guest.sql("BEGIN; CREATE TABLE t (n int); COMMIT");
    guest.terminate();
    let mut oracle = story.direct("a", "postgres");
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'short_lived' AND usename = 'postgres' AND state = 'idle'";
    eventually("its server is idle", || oracle.sql(idle) == "1");
    admin.sql("DROP DATABASE short_lived");
    assert_eq!(oracle.sql("SELECT count(*) FROM pg_database WHERE datname = 'short_lived'"), "0");
}

#[test]
fn a_server_asked_within_a_group_is_nobody_elses() {
    let story = Story::with(1, &["pool.size = 1", "pool.reserve = 0"]);
    let mut client = story.client();
    let who = "SELECT pg_backend_pid()";
    let before = client.sql(who);
    assert_eq!(client.sql(who), before);
    let mut group = [parse("", "SELECT 1"), bind("", "", &[]), execute("", 0)].concat();
    write::query(&mut group, b"SELECT 2");
    client.send(&group);
    client.answer();
    client.send(&sync());
    client.answer();
    let mut next = story.client();
    assert_ne!(next.sql(who), before);
    assert_eq!(client.sql("SELECT 3"), "3");
}
