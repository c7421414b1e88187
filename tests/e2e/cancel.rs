//! CancelRequest: it reaches the statement that runs for its client, and nobody else's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::raw::{self, Greeting, Raw};
use crate::support::{Bench, applied_everywhere, eventually};

const SETTINGS: &[&str] = &[
    "auth.rules = [\"host all all all password\"]",
    "pool.size = 1",
    "pool.reserve = 0",
    "routing.split = false",
];

#[test]
fn a_late_cancel_never_hits_the_next_client_of_the_server() {
    let bench = Bench::with(applied_everywhere(), SETTINGS);
    let port = bench.proxy.port();
    let (mut hammered, greeting) = Raw::demo_greeted(port);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let bystanders: Vec<_> = (0..2).map(|_| scope.spawn(|| run_until(port, &stop))).collect();
        let hammer = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                send_cancel(port, &greeting);
                sent += 1;
            }
            sent
        });
        let (mut cancelled, mut finished) = (0, 0);
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until && (cancelled < 40 || finished < 40) {
            hammered.send(&raw::query("SELECT count(*) FROM generate_series(1, 3000)"));
            let answer = hammered.until_ready();
            match answer.iter().find(|message| message.tag == 'E') {
                Some(error) => {
                    assert_eq!(error.error().0, "57014");
                    cancelled += 1;
                }
                None => finished += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
        let sent = hammer.join().expect("the hammer does not panic");
        let undisturbed: usize = bystanders.into_iter().map(|one| one.join().expect("nobody was hit")).sum();
        assert!(
            cancelled > 0 && finished > 0 && undisturbed > 50,
            "{cancelled} {finished} {undisturbed} {sent}"
        );
    });
}

/// Runs statements on the same server all the time; each must succeed. Returns how many there were.
fn run_until(port: u16, stop: &AtomicBool) -> usize {
    let mut raw = Raw::demo(port);
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let group = [raw::parse("", "SELECT count(*) FROM generate_series(1, 3000)"), raw::bind("", "", &[])];
        raw.say(&[&group.concat(), &raw::execute("", 0), &raw::sync(), &raw::query("SELECT 1")]);
        assert_eq!((raw.tags(), raw.tags()), ("12DCZI".into(), "TDCZI".into()));
        done += 1;
    }
    done
}

#[test]
fn only_the_right_key_cancels() {
    let bench = Bench::with(applied_everywhere(), SETTINGS);
    let port = bench.proxy.port();
    let (mut raw, greeting) = Raw::demo_greeted(port);
    // With nothing to cancel: before any statement, and inside a transaction that waits for its client.
    send_cancel(port, &greeting);
    assert_eq!(raw.query("BEGIN"), "CZT");
    send_cancel(port, &greeting);
    assert_eq!(raw.query("SELECT 1"), "TDCZT");
    raw.send(&raw::query("SELECT pg_sleep(60)"));
    running(&bench);
    let wrong_key: Vec<u8> = greeting.key.iter().map(|byte| byte ^ 1).collect();
    for (pid, key) in [
        (greeting.pid, &wrong_key[..]),
        (greeting.pid, &[&greeting.key[..], &[0]].concat()),
        (greeting.pid.wrapping_add(1), &greeting.key),
        (0, &greeting.key),
    ] {
        send_cancel(port, &Greeting { pid, key: key.to_vec(), ..Greeting::default() });
    }
    // What waits for a server has not begun: its client may leave, and the one that runs goes on.
    let (mut waiting, of_waiting) = Raw::demo_greeted(port);
    waiting.send(&raw::query("SELECT 2"));
    send_cancel(port, &of_waiting);
    running(&bench);
    send_cancel(port, &greeting);
    let answer = raw.until_ready();
    assert_eq!(answer.iter().find(|message| message.tag == 'E').expect("an error").error().0, "57014");
    assert_eq!(raw.query("ROLLBACK"), "CZI");
    let tags = waiting.tags();
    assert!(tags == "TDCZI" || tags == "EZI", "{tags}");
}

fn running(bench: &Bench) {
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    eventually("the statement runs", || bench.cluster.sql("a", running).unwrap() == "1");
}

/// Sends a cancel and waits for the connection to be closed, as libpq does.
fn send_cancel(port: u16, greeting: &Greeting) {
    let mut raw = Raw::tcp(port);
    raw.send(&raw::cancel(greeting.pid, &greeting.key));
    raw.closed();
}
