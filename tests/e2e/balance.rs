//! Shares of the standbys as the servers themselves count them: under faults, by weight and zone, by lag and by speed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bellwether::lab::{Cluster, Options, Shutdown};
use rustix::process::Signal;

use crate::raw;
use crate::story::{Story, eventually_with};
use crate::support::{Bench, eventually};

const READ: &str = "SELECT count(*) FROM d.t";

/// Servers that count the statements they run.
fn counting(nodes: usize) -> Options {
    let conf = ["shared_preload_libraries = 'pg_stat_statements'", "pg_stat_statements.save = off"];
    let hba = vec!["host all all 127.0.0.1/32 trust".to_owned()];
    Options { nodes, conf: conf.map(String::from).into(), hba, ..Options::default() }
}

const OBJECTS: &str = "CREATE EXTENSION pg_stat_statements; CREATE SCHEMA d; GRANT ALL ON SCHEMA d TO demo;
    CREATE TABLE d.t AS SELECT generate_series(1, 10) AS n; GRANT ALL ON d.t TO demo";

fn prepared(cluster: &Cluster) {
    cluster.sql("a", OBJECTS).expect("the objects are made");
    cluster.wait_replayed().expect("the standbys replay");
}

fn story(nodes: usize, settings: &[&str]) -> Story {
    let story = Story::on(counting(nodes), settings);
    prepared(&story.bench.cluster);
    reads_go_to_standbys(&story);
    story
}

fn reads_go_to_standbys(story: &Story) {
    let mut client = story.client();
    let ask = format!("SELECT current_setting('cluster_name') FROM ({READ}) x");
    eventually_with("reads go to standbys", || match client.sql(&ask) == story.bench.cluster.primary() {
        true => Err(client.sql(&format!("EXPLAIN ROUTE {ask}"))),
        false => Ok(()),
    });
}

/// How often each node ran [`READ`], in every form, since it was started.
fn counts<const N: usize>(story: &Story, nodes: [&str; N]) -> [u64; N] {
    let question = format!(
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '{READ}%' AND dbid = \
         (SELECT oid FROM pg_database WHERE datname = 'demo')"
    );
    nodes.map(|node| {
        let count = story.bench.cluster.sql(node, &question).expect("the node counts");
        count.parse().expect("a number")
    })
}

/// What the nodes ran of [`READ`] during `work`.
fn shares<const N: usize>(story: &Story, nodes: [&str; N], work: impl FnOnce()) -> [u64; N] {
    let before = counts(story, nodes);
    work();
    let after = counts(story, nodes);
    std::array::from_fn(|place| after[place] - before[place])
}

/// Reads in many sessions, one after the other.
fn read_in_sessions(story: &Story, sessions: usize, reads: usize) {
    for _ in 0..sessions {
        let mut client = story.client();
        for _ in 0..reads {
            assert_eq!(client.sql(READ), "10");
        }
    }
}

fn serves(story: &Story, node: &str) -> bool {
    let status = story.status();
    let nodes = status["nodes"].as_array().expect("nodes are a list");
    nodes.iter().any(|view| view["name"] == node && view["serves_reads"] == true)
}

/// Readers that go on until they are stopped; none of their reads may fail.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    reads: [AtomicU64; READERS],
}

const READERS: usize = 6;

/// Ends the readers, also when a check fails while they are at work.
struct End<'a>(&'a Load);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

impl Load {
    fn read(&self, story: &Story, reader: usize) -> Duration {
        let mut client = story.client();
        client.prepare("read", READ);
        let mut longest = Duration::ZERO;
        while !self.stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let seen = match reader % 3 {
                0 => client.sql(READ),
                1 => client.extended(READ, &[]),
                _ => {
                    let answer = client.execute("read", &[]);
                    assert_eq!(answer.failure, None);
                    answer.text()
                }
            };
            assert_eq!(seen, "10");
            longest = longest.max(began.elapsed());
            self.reads[reader].fetch_add(1, Ordering::SeqCst);
        }
        longest
    }

    /// Waits until every reader has had so many answers more.
    fn goes_on(&self, reads: u64) {
        let done = || self.reads.each_ref().map(|count| count.load(Ordering::SeqCst));
        let before = done();
        eventually_with("every reader goes on", || {
            let now = done();
            let all = now.iter().zip(before).all(|(now, before)| *now >= before + reads);
            if all { Ok(()) } else { Err(format!("from {before:?} to {now:?}")) }
        });
    }
}

#[test]
fn a_standby_that_stops_under_load_costs_no_error_and_gets_its_share_again() {
    let story = story(3, &["routing.slow_start = \"2s\""]);
    let cluster = &story.bench.cluster;
    let load = Load::default();
    std::thread::scope(|scope| {
        let end = End(&load);
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (load, story) = (&load, &story);
                scope.spawn(move || load.read(story, reader))
            })
            .collect();
        for fault in ["killed", "stopped", "frozen"] {
            load.goes_on(100);
            match fault {
                "killed" => cluster.kill9("b").expect("it runs"),
                "stopped" => cluster.stop("b", Shutdown::Fast).expect("it stops"),
                _ => cluster.freeze("b").expect("it runs"),
            }
            eventually("it is left out", || !serves(&story, "b"));
            load.goes_on(100);
            match fault {
                "frozen" => cluster.thaw("b").expect("it runs"),
                _ => cluster.start_node("b").expect("it starts"),
            }
            eventually("it is back", || serves(&story, "b"));
            let mut seen = [0, 0];
            eventually_with("it has its share", || {
                seen = shares(&story, ["b", "c"], || load.goes_on(200));
                let [b, c] = seen;
                if b * 100 > (b + c) * 30 { Ok(()) } else { Err(format!("{seen:?}")) }
            });
        }
        drop(end);
        let longest = readers.into_iter().map(|reader| reader.join().expect("no read fails")).max();
        // A frozen standby is given up after three probes of 800 ms, one second apart.
        assert!(longest < Some(Duration::from_secs(8)), "{longest:?}");
    });
    // What a session saw on a standby that is gone nobody can tell, so the primary serves it until the other standby is
    // surely as far: a read or a few for each session and fault.
    let [a] = counts(&story, ["a"]);
    assert!(a < 10 * 3 * READERS as u64, "the primary ran {a} reads");
}

#[test]
fn a_standby_that_is_back_begins_with_a_small_share() {
    // So long that the beginning lasts, however busy the machine is.
    let story = &story(3, &["routing.slow_start = \"5m\""]);
    let cluster = &story.bench.cluster;
    for fault in ["killed", "frozen"] {
        // Sessions that read on it, and are idle while it is away.
        let mut idle: Vec<_> = (0..60).map(|_| story.client()).collect();
        idle.iter_mut().for_each(|client| assert_eq!(client.sql(READ), "10"));
        let load = Load::default();
        std::thread::scope(|scope| {
            let _end = End(&load);
            for reader in 0..READERS {
                let load = &load;
                scope.spawn(move || load.read(story, reader));
            }
            load.goes_on(20);
            match fault {
                "killed" => cluster.kill9("b").expect("it runs"),
                _ => cluster.freeze("b").expect("it runs"),
            }
            eventually("it is left out", || !serves(story, "b"));
            match fault {
                "killed" => cluster.start_node("b").expect("it starts"),
                _ => cluster.thaw("b").expect("it runs"),
            }
            eventually("it is back", || serves(story, "b"));
            let back = Instant::now();
            let [b, c] = shares(story, ["b", "c"], || {
                while back.elapsed() < Duration::from_secs(2) {
                    load.goes_on(20);
                }
            });
            assert!(b * 100 < (b + c) * 40, "{fault}: long sessions {b} of {}", b + c);
            // A tenth at first, and a quarter after a minute and a half.
            assert!(back.elapsed() < Duration::from_secs(90), "it took {:?}", back.elapsed());
        });
        let back_to_work = || idle.iter_mut().for_each(|client| assert_eq!(client.sql(READ), "10"));
        let [b, c] = shares(story, ["b", "c"], back_to_work);
        assert!(b * 100 < (b + c) * 35, "{fault}: those that were idle {b} of {}", b + c);
        let [b, c] = shares(story, ["b", "c"], || read_in_sessions(story, 60, 2));
        assert!(b * 100 < (b + c) * 40, "{fault}: short sessions {b} of {}", b + c);
        // Its first reads may be so slow that it is passed over for ten seconds.
        eventually("it takes reads", || shares(story, ["b"], || read_in_sessions(story, 30, 1)) > [0]);
    }
}

/// A proxy in front of a cluster of three, the standbys with further keys in their tables.
fn described(b: &str, c: &str, settings: &[&str]) -> Story {
    let cluster = Cluster::start(counting(3)).expect("a cluster");
    prepared(&cluster);
    let port = |node| cluster.port(node).expect("a node of ours");
    let node = |name, keys: &str| {
        format!("nodes.{name} = {{ url = \"postgres://127.0.0.1:{}\", {keys} }}", port(name))
    };
    let mut all = vec![node("b", b), node("c", c), "auth.rules = [\"host all all all trust\"]".to_owned()];
    all.extend(settings.iter().map(ToString::to_string));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let story = Story { bench: Bench::before(cluster, &all) };
    reads_go_to_standbys(&story);
    story
}

#[test]
fn weights_and_zones_show_in_the_shares() {
    let story = described("weight = 1", "weight = 4", &[]);
    let [a, b, c] = shares(&story, ["a", "b", "c"], || read_in_sessions(&story, 100, 10));
    assert!(a == 0 && (600..=990).contains(&c), "a {a}, b {b}, c {c}");

    let zones = ["zone = \"east\"", "zone = \"west\""];
    let story = described(zones[0], zones[1], &["routing.zone = \"west\""]);
    // On a busy machine the standby of its zone may be behind for a moment, which is the primary's part then.
    let [a, b, c] = shares(&story, ["a", "b", "c"], || read_in_sessions(&story, 30, 10));
    assert!(b == 0 && c > a, "a {a}, b {b}, c {c}");
    // Without one of its zone, the other zone's standby before the primary.
    story.bench.cluster.stop("c", Shutdown::Fast).expect("it stops");
    let [a, b] = shares(&story, ["a", "b"], || read_in_sessions(&story, 30, 10));
    assert!(b > a, "a {a}, b {b}");
}

#[test]
fn a_slow_standby_gets_fewer_reads() {
    let story = story(3, &[]);
    let slow = "CREATE FUNCTION d.slow() RETURNS int STABLE LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('cluster_name') = 'c' THEN PERFORM pg_sleep(0.1); END IF; RETURN 1; END $$";
    story.client().sql(slow);
    story.bench.cluster.wait_replayed().expect("the standbys replay");
    let read = format!("{READ} WHERE d.slow() = 1");
    let mut client = story.client();
    let ask = format!("SELECT current_setting('cluster_name') FROM ({read}) x");
    eventually("the catalog knows it", || client.sql(&ask) != "a");
    let [a, b, c] = shares(&story, ["a", "b", "c"], || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut client = story.client();
                        (0..25).for_each(|_| assert_eq!(client.sql(&read), "10"));
                    }
                });
            }
        });
    });
    // A half of the reads by weight. What it gets is what it takes to see that it is slow.
    assert!(a == 0 && c * 100 < (b + c) * 15, "a {a}, b {b}, c {c}");
}

#[test]
fn a_standby_that_lags_too_far_takes_no_reads_until_it_has_caught_up() {
    for (limit, rows) in [("routing.max_lag_bytes = \"1MB\"", 30_000), ("routing.max_lag_time = \"2s\"", 1)] {
        let story = story(3, &[limit]);
        let cluster = &story.bench.cluster;
        cluster.pause_replay("c").expect("it can be paused");
        let written = format!("CREATE TABLE d.w AS SELECT repeat('x', 100) FROM generate_series(1, {rows})");
        story.client().sql(&written);
        eventually("it is left out", || !serves(&story, "c"));
        // The new table has to be in the catalog first: until then reads are the primary's.
        reads_go_to_standbys(&story);
        let [a, b, c] = shares(&story, ["a", "b", "c"], || read_in_sessions(&story, 20, 10));
        assert_eq!([a, b, c], [0, 200, 0], "{limit}");
        cluster.resume_replay("c").expect("it can be resumed");
        eventually("it is back", || serves(&story, "c"));
        let [_, c] = shares(&story, ["b", "c"], || read_in_sessions(&story, 100, 5));
        assert!(c > 0, "{limit}");
    }
}

#[test]
fn a_standby_on_another_timeline_takes_no_reads() {
    let story = story(3, &[]);
    let cluster = &story.bench.cluster;
    // By hand, and without telling anybody: b goes on following the old primary.
    cluster.promote("c").expect("it is promoted");
    eventually("the proxy follows the newer timeline", || story.status()["primary"] == "c");
    let [a, b, c] = shares(&story, ["a", "b", "c"], || read_in_sessions(&story, 20, 10));
    assert_eq!([a, b, c], [0, 0, 200]);
}

#[test]
fn a_standby_that_returns_on_a_timeline_of_its_own_takes_no_reads() {
    let story = story(3, &[]);
    let (cluster, mut client) = (&story.bench.cluster, story.client());
    client.sql("INSERT INTO d.t VALUES (11)");
    let token = client.sql("SHOW bellwether.token");
    // Behind the proxy's back it is promoted, written to, and made a standby again.
    story.bench.proxy.signal(Signal::STOP);
    cluster.promote("c").expect("it is promoted");
    cluster.sql("c", "DELETE FROM d.t").expect("it takes writes");
    cluster.stop("c", Shutdown::Fast).expect("it stops");
    let signal = cluster.data_directory("c").expect("a node of ours").join("standby.signal");
    std::fs::write(signal, "").expect("it can be written");
    cluster.note_primary("a").expect("a node of ours");
    cluster.start_node("c").expect("it starts");
    assert_eq!(cluster.sql("c", "SELECT pg_is_in_recovery(), count(*) FROM d.t").expect("it serves"), "t|0");
    let before = counts(&story, ["c"]);
    story.bench.proxy.signal(Signal::CONT);
    // From the first moment on: who has seen something sees no less.
    let mut other = story.client();
    other.sql(&format!("SET bellwether.token = '{token}'"));
    for _ in 0..100 {
        assert_eq!([client.sql(READ), other.sql(READ)], ["11", "11"]);
    }
    assert_eq!(counts(&story, ["c"]), before);
    eventually("it is left out", || !serves(&story, "c"));
    let [a, b, c] = shares(&story, ["a", "b", "c"], || {
        for _ in 0..20 {
            assert_eq!(story.client().sql(READ), "11");
            assert_eq!(
                story.client_with(&[("options", "-c bellwether.consistency=eventual")]).sql(READ),
                "11"
            );
        }
    });
    assert_eq!([a, b, c], [0, 40, 0]);
    let status = story.status();
    let views = status["nodes"].as_array().expect("nodes are a list");
    assert!(views.iter().any(|view| view["name"] == "c" && view["serves_reads"] == false), "{status}");
}

#[test]
fn without_standbys_the_primary_serves_or_reads_fail_as_the_operator_says() {
    let mut story = story(2, &[]);
    let mut before = story.client();
    before.sql(READ);
    story.bench.cluster.stop("b", Shutdown::Fast).expect("it stops");
    let [a] = shares(&story, ["a"], || assert_eq!(before.sql(READ), "10"));
    assert_eq!(a, 1);
    story.reload(&["routing.no_standby = \"error\""]);
    eventually("it is known to be gone", || !serves(&story, "b"));
    let mut client = story.client();
    for _ in 0..3 {
        let failure = client.fails(READ);
        assert_eq!((&*failure.severity, &*failure.code), ("ERROR", "57P03"), "{failure:?}");
        assert!(failure.hint.contains("routing.no_standby"), "{failure:?}");
    }
    client.send(&[raw::parse("", READ), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat());
    assert_eq!(client.answer().failure.map(|failure| failure.code).as_deref(), Some("57P03"));
    // What needs the primary has it, and the session lives on.
    client.sql("INSERT INTO d.t VALUES (11)");
    assert_eq!(client.sql(&format!("BEGIN; {READ}; COMMIT")), "11");
    story.bench.cluster.start_node("b").expect("it starts");
    eventually("reads are served again", || client.query(READ).failure.is_none());
}
