//! Crowds that mean no good: while they last others are served, and afterwards all is as it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw::{self, Raw};
use crate::story::{Story, backends, eventually_with};
use crate::support::raw as bytes;

/// What the proxy has in use.
#[derive(Clone, Copy, Debug)]
struct Level {
    resident_kib: usize,
    descriptors: usize,
}

impl Level {
    fn of(story: &Story) -> Level {
        let pid = story.bench.proxy.pid().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
        Level {
            resident_kib: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).expect("Linux tells").count(),
        }
    }

    /// Waits until no more is in use than before, but for what the allocator happens to keep, and the few connections of
    /// the proxy's own to servers that come and go with what it has to ask.
    fn is_back(self, story: &Story) {
        eventually_with("all is as before", || {
            let now = Level::of(story);
            let memory = now.resident_kib < self.resident_kib + 32 * 1024;
            let back = memory && now.descriptors <= self.descriptors + 4;
            if back { Ok(()) } else { Err(format!("{self:?}, now {now:?}")) }
        });
    }
}

/// Asks again and again until told to stop; returns the longest that an answer took.
fn bystander(mut client: Raw, stop: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        assert_eq!(client.sql("SELECT 1"), "1");
        longest = longest.max(began.elapsed());
    }
    longest
}

/// Stops the others when it goes, whatever for: a test that failed would wait for them.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What became of one of a crowd.
enum Fate {
    In(bytes::Raw<std::net::TcpStream>),
    /// Code and text.
    Told(String, String),
    /// Closed without a word: others needed the place.
    PushedOut,
}

fn come(port: u16) -> Fate {
    let mut raw = bytes::Raw::tcp(port);
    let startup = bytes::startup(bytes::V3_0, &[("user", "demo"), ("database", "demo")]);
    if std::io::Write::write_all(&mut raw.stream, &startup).is_err() {
        return Fate::PushedOut;
    }
    loop {
        match raw.try_read() {
            Ok(message) if message.tag == 'Z' => return Fate::In(raw),
            Ok(message) if message.tag == 'E' => {
                let (code, text) = message.error();
                return Fate::Told(code, text);
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("neither in nor told"),
            Err(_) => return Fate::PushedOut,
        }
    }
}

#[test]
fn a_flood_of_clients() {
    let story = Story::with(1, &["pool.size = 5", "pool.max_clients = 200", "auth.max_logins = 100"]);
    let port = story.bench.proxy.port();
    let mut oracle = story.direct("a", "postgres");
    let bystanders = [story.client(), story.client()];
    story.settled(&mut oracle, "the beginning");
    let before = Level::of(&story);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stops = Stops(&stop);
        let watched: Vec<_> =
            bystanders.into_iter().map(|client| scope.spawn(|| bystander(client, &stop))).collect();
        let crowd: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..400).map(|_| come(port)).collect::<Vec<_>>())).collect();
        let mut fates: Vec<Fate> =
            crowd.into_iter().flat_map(|one| one.join().expect("it does not panic")).collect();
        let inside = fates.iter().filter(|fate| matches!(fate, Fate::In(_))).count();
        let mut refused = 0;
        for fate in &fates {
            if let Fate::Told(code, text) = fate {
                assert_eq!((&**code, &**text), ("53300", "sorry, too many clients already"));
                refused += 1;
            }
        }
        // Two of the places are the bystanders', and nobody was pushed out who had said what he wants.
        assert_eq!((inside, refused), (198, fates.len() - 198));
        // And who is in is served.
        for fate in &mut fates {
            if let Fate::In(raw) = fate {
                assert_eq!(raw.query("SELECT 1"), "TDCZI");
            }
        }
        let grown = Level::of(&story).resident_kib.saturating_sub(before.resident_kib);
        assert!(grown < 32 * 1024, "grown by {grown} KiB");
        drop(fates);
        drop(stops);
        for bystander in watched {
            let longest = bystander.join().expect("it does not panic");
            assert!(longest < Duration::from_secs(3), "an answer took {longest:?}");
        }
    });
    story.settled(&mut oracle, "the flood");
    before.is_back(&story);
    assert_eq!(story.client().sql("SELECT 1"), "1");
}

/// More of those who do not log in than there is room for, without end: who does log in gets in.
#[test]
fn a_flood_of_strangers() {
    let story = Story::with(1, &["auth.max_logins = 50", "auth.login_timeout = \"2s\""]);
    let port = story.bench.proxy.port();
    let resident = story.client();
    let before = Level::of(&story);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stops = Stops(&stop);
        let watched = scope.spawn(|| bystander(resident, &stop));
        let beginnings: [&[u8]; 4] = [b"", b"\0", b"\0\0\0\x50\0\x03", b"\x16\x03\x01"];
        for beginning in beginnings {
            let stop = &stop;
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut raw = bytes::Raw::tcp(port);
                    let _ = std::io::Write::write_all(&mut raw.stream, beginning);
                    held.push_back(raw);
                    if held.len() > 100 {
                        held.pop_front();
                    }
                }
            });
        }
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            let one = Instant::now();
            assert!(matches!(come(port), Fate::In(_)), "after {:?}", began.elapsed());
            longest = longest.max(one.elapsed());
        }
        assert!(longest < Duration::from_secs(3), "a login took {longest:?}");
        let grown = Level::of(&story).resident_kib.saturating_sub(before.resident_kib);
        assert!(grown < 32 * 1024, "grown by {grown} KiB");
        drop(stops);
        let longest = watched.join().expect("it does not panic");
        assert!(longest < Duration::from_secs(3), "an answer took {longest:?}");
    });
    before.is_back(&story);
}

/// Clients that fall silent within a message hold no server, and no more memory than a message may have.
#[test]
fn halves_of_messages() {
    const HALF: usize = 256 * 1024;
    let story = Story::with(1, &["pool.size = 2", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    let mut bystander = story.client();
    bystander.sql("SELECT 1");
    story.settled(&mut oracle, "the beginning");
    let before = Level::of(&story);
    let text = "x".repeat(2 * HALF);
    let messages = [
        raw::parse("", &text),
        raw::bind("", "", &[&text]),
        [raw::parse("", "SELECT 1"), raw::parse("", &text)].concat(),
        bytes::query(&text),
    ];
    let mut crowd = Vec::new();
    for (number, message) in messages.iter().cycle().take(80).enumerate() {
        let mut client = story.client();
        // All of it but the end, half of it, or its head only.
        client.send(&message[..[message.len() - 1, HALF, 6][number % 3]]);
        crowd.push(client);
    }
    eventually_with("it has read what there is", || {
        let read = story.metric("bellwether_clients{state=\"connected\"}");
        if read >= 81.0 { Ok(()) } else { Err(read.to_string()) }
    });
    for _ in 0..20 {
        assert_eq!(bystander.sql("SELECT 1"), "1");
    }
    // The last answer goes out before its server goes back.
    eventually_with("they hold no server", || match story.pool("a", "demo", "active") {
        0 => Ok(()),
        held => Err(held.to_string()),
    });
    let grown = Level::of(&story).resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < 80 * (4 * HALF + 64 * 1024) / 1024, "grown by {grown} KiB");
    drop(crowd);
    story.settled(&mut oracle, "they have left");
    before.is_back(&story);
}

/// Results that nobody reads, of ten gigabytes each, wait in the servers: the proxy holds a few buffers of each.
#[test]
fn clients_that_do_not_read() {
    let story = Story::with(1, &["pool.size = 12", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    let mut bystander = story.client();
    bystander.sql("SELECT 1");
    story.settled(&mut oracle, "the beginning");
    let before = Level::of(&story);
    let mut crowd: Vec<Raw> = (0..10).map(|_| story.client()).collect();
    for client in &mut crowd {
        client.send_query("SELECT repeat('x', 100000) FROM generate_series(1, 100000)");
    }
    backends(&mut oracle, "wait_event = 'ClientWrite'", 10);
    for _ in 0..20 {
        assert_eq!(bystander.sql("SELECT 1"), "1");
    }
    let grown = Level::of(&story).resident_kib.saturating_sub(before.resident_kib);
    assert!(grown < 10 * 4 * 1024, "grown by {grown} KiB");
    for (number, client) in crowd.into_iter().enumerate() {
        if number % 2 == 0 { client.kill() } else { client.reset() }
    }
    story.settled(&mut oracle, "they have left");
    before.is_back(&story);
}

/// A peer that vanishes without a word is asked for a sign of life by the kernel.
#[test]
fn every_connection_is_kept_alive() {
    let story = Story::with(1, &[]);
    let mut client = story.client();
    client.sql("BEGIN; SELECT 1");
    let pid = story.bench.proxy.pid().expect("it runs");
    let shown = std::process::Command::new("ss").args(["-tnopH", "state", "established"]).output();
    let shown = String::from_utf8(shown.expect("iproute2 is installed").stdout).expect("it is text");
    let ours: Vec<&str> = shown.lines().filter(|line| line.contains(&format!("pid={pid},"))).collect();
    assert!(ours.len() >= 2, "a client and a server: {shown}");
    // A connection with something under way has another timer for the moment.
    let kept = ours.iter().filter(|line| line.contains("timer:(keepalive,")).count();
    assert!(kept >= 2 && kept + 2 >= ours.len(), "{ours:#?}");
}
