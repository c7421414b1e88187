//! The proxy as a process: how it ends, and what it costs after many clients.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::story::{Story, backends};
use crate::support::eventually;

#[test]
fn it_ends_when_the_last_transaction_does() {
    let mut story = Story::with(1, &[]);
    let (mut idle, mut busy, mut pinned) = (story.client(), story.client(), story.client());
    idle.sql("SELECT 1");
    pinned.sql("LISTEN news");
    busy.sql("BEGIN; CREATE TABLE pg_temp.t (n int)");
    let port = story.bench.proxy.port();
    let status = std::thread::scope(|scope| {
        let proxy = &mut story.bench.proxy;
        let ending = scope.spawn(move || proxy.stop());
        for client in [&mut idle, &mut pinned] {
            let farewell = client.answer();
            let failure = farewell.failure.expect("it is told");
            assert_eq!((&*failure.severity, &*failure.code), ("FATAL", "57P01"));
            assert_eq!(farewell.status, None);
        }
        eventually("nobody is let in", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        busy.sql("INSERT INTO t VALUES (1)");
        assert_eq!(busy.sql("SELECT count(*) FROM t"), "1");
        assert!(!ending.is_finished());
        busy.sql("COMMIT");
        assert_eq!(busy.answer().failure.map(|failure| failure.code).as_deref(), Some("57P01"));
        ending.join().expect("it does not panic")
    });
    assert_eq!(status.expect("it ran").and_then(|status| status.code()), Some(0));
    backends(&mut story.direct("a", "postgres"), "true", 0);
}

#[test]
fn it_ends_at_once_when_told_twice_and_in_time_when_told_once() {
    let mut story = Story::with(1, &["shutdown.drain_timeout = \"1s\""]);
    let mut busy = story.client();
    busy.sql("BEGIN");
    let began = Instant::now();
    let status = story.bench.proxy.stop().expect("it ran").expect("it ends");
    assert!(status.code().is_some(), "it ends by itself: {status}");
    assert!((900..6000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    while busy.message().is_some() {}
    backends(&mut story.direct("a", "postgres"), "true", 0);

    story.bench.proxy.run().expect("it starts again");
    story.reload(&[]);
    let mut busy = story.client();
    busy.sql("BEGIN");
    story.bench.proxy.signal(Signal::TERM);
    let drains = || story.bench.proxy.log().matches("waiting for transactions to end").count() == 2;
    eventually("it drains", drains);
    let began = Instant::now();
    let status = story.bench.proxy.stop().expect("it ran").expect("it ends");
    assert!(status.code().is_some(), "it ends by itself: {status}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    while busy.message().is_some() {}
    backends(&mut story.direct("a", "postgres"), "true", 0);
}

#[test]
fn two_hundred_clients_come_and_go() {
    let story = Story::with(1, &["pool.size = 10", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    oracle.sql("CREATE TABLE t (n int); GRANT ALL ON t TO demo");
    let pid = story.bench.proxy.pid().expect("it runs");
    let (stop, lives) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..200 {
            let (story, stop, lives) = (&story, &stop, &lives);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    live(story, number + lives.fetch_add(1, Ordering::SeqCst));
                }
            });
        }
        let until = Instant::now() + SOAK;
        while Instant::now() < until {
            std::thread::sleep(SOAK / 10);
            let connections: usize = oracle
                .sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'demo'")
                .parse()
                .expect("a number");
            samples.push((descriptors(pid), resident_kilobytes(pid), connections));
        }
        stop.store(true, Ordering::SeqCst);
    });
    let told = format!("{} lives, (descriptors, kB, servers): {samples:?}", lives.load(Ordering::SeqCst));
    story.settled(&mut oracle, &told);
    eventually("all clients are gone", || descriptors(pid) < 100);
    // Cancelled servers are replaced while the old ones still end.
    assert!(samples.iter().all(|(_, _, servers)| *servers <= 40), "{told}");
    let halves = samples.split_at(samples.len() / 2);
    let most = |half: &[(usize, usize, usize)]| half.iter().map(|(_, kilobytes, _)| *kilobytes).max();
    let (first, second) = (most(halves.0).unwrap_or(0), most(halves.1).unwrap_or(0));
    assert!(second < first + first / 4 + 4096, "it grows: {told}");
    eprintln!("{told}");
}

const SOAK: Duration = Duration::from_secs(20);

/// One client's life: some work, and an end that depends on `number`.
fn live(story: &Story, number: usize) {
    let mut client = story.client();
    client.sql("SELECT 1");
    match number % 7 {
        0 => client.terminate(),
        1 => {
            client.sql("BEGIN; INSERT INTO t VALUES (1)");
            client.kill();
        }
        2 => {
            client.sql("SET work_mem = '5MB'; CREATE TEMP TABLE mine (n int)");
            client.reset();
        }
        3 => {
            client.send_query("SELECT pg_sleep(5)");
            client.reset();
        }
        4 => {
            client.prepare("s", &format!("SELECT {number}"));
            assert_eq!(client.execute("s", &[]).text(), number.to_string());
            client.terminate();
        }
        5 => {
            client.sql("BEGIN; INSERT INTO t VALUES (1); ROLLBACK");
            client.send(b"P\0\0\0");
            client.kill();
        }
        _ => {
            client.sql("SELECT pg_advisory_lock_shared(1)");
            client.send_query("COPY t FROM STDIN");
            client.kill();
        }
    }
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or_default()
}

fn resident_kilobytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or_default()
}
