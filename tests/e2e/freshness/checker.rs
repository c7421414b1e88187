//! Many sessions that write and read at once, on servers that are healthy, paused, delayed or killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bellwether::lab::Options;

use super::{outcome, story, story_on};
use crate::raw::Raw;
use crate::story::Story;
use crate::support::eventually;

/// What the clients saw.
#[derive(Debug, Default)]
struct Record {
    /// Reads by the node that served them.
    reads: BTreeMap<String, usize>,
    /// Reads that lacked what their session wrote.
    stale: usize,
    /// Reads that showed less than an earlier one of their session.
    backward: usize,
}

impl Record {
    fn add(&mut self, other: Record) {
        other.reads.into_iter().for_each(|(node, count)| *self.reads.entry(node).or_default() += count);
        self.stale += other.stale;
        self.backward += other.backward;
    }

    fn total(&self) -> usize {
        self.reads.values().sum()
    }

    fn share_of_standbys(&self) -> f64 {
        let standbys: usize =
            self.reads.iter().filter(|(node, _)| *node != "a").map(|(_, count)| count).sum();
        standbys as f64 / self.total() as f64
    }

    fn assert_sound(&self, what: &str) {
        assert!(self.total() > 100, "{what}: {self:?}");
        assert_eq!((self.stale, self.backward), (0, 0), "{what}: {self:?}");
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// One read after each write.
    Alternates,
    /// Several reads after each write.
    ReadsMore,
    /// No writes of its own.
    Reads,
}

/// One client, until told to stop.
fn run(story: &Story, id: usize, habit: Habit, run: &Run) -> Record {
    let mut client = story.client();
    let mut record = Record::default();
    let (mut written, mut seen) = (0, (0, 0));
    let read = format!(
        "SELECT current_setting('cluster_name'), own.n, common.n FROM d.own, d.common WHERE id = {id}"
    );
    let write =
        format!("WITH a AS (UPDATE d.common SET n = n + 1) UPDATE d.own SET n = n + 1 WHERE id = {id}");
    // Not on a standby, which need not show yet what an earlier client wrote, and by a session of its own: who has seen the
    // primary must see as much on a standby.
    let begins = story.client().sql(&format!("/* bellwether: primary */ {read}"));
    written += begins.split('|').nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number");
    while !run.stop.load(Ordering::SeqCst) {
        let reads = match habit {
            Habit::Alternates => 1,
            Habit::ReadsMore => 5,
            Habit::Reads => 0,
        };
        if reads > 0 {
            client.sql(&write);
            written += 1;
        }
        for n in 0..reads.max(1) {
            let row = if n % 2 == 0 { client.sql(&read) } else { client.extended(&read, &[]) };
            let mut columns = row.split('|');
            let node = columns.next().expect("a node").to_owned();
            let mut number = || columns.next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
            let now = (number(), number());
            record.stale += usize::from(now.0 != written);
            record.backward += usize::from(now.0 < seen.0 || now.1 < seen.1);
            seen = now;
            *record.reads.entry(node).or_default() += 1;
            run.reads.fetch_add(1, Ordering::SeqCst);
        }
    }
    record
}

/// Clients under way.
#[derive(Default)]
struct Run {
    stop: AtomicBool,
    reads: AtomicUsize,
}

impl Run {
    /// Waits until the clients have done so many reads more: how many there are in a second depends on the machine.
    fn reads(&self, count: usize) {
        let (goal, until) =
            (self.reads.load(Ordering::SeqCst) + count, Instant::now() + Duration::from_secs(60));
        while self.reads.load(Ordering::SeqCst) < goal {
            assert!(Instant::now() < until, "the clients hang");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs clients of these habits while `meanwhile` does something to the servers.
fn check(story: &Story, habits: &[Habit], meanwhile: impl FnOnce(&Run)) -> Record {
    let under_way = Run::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = habits
            .iter()
            .enumerate()
            .map(|(id, habit)| {
                let under_way = &under_way;
                scope.spawn(move || run(story, id, *habit, under_way))
            })
            .collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| meanwhile(&under_way)));
        under_way.stop.store(true, Ordering::SeqCst);
        let mut record = Record::default();
        for client in clients {
            record.add(client.join().expect("no client fails"));
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        record
    })
}

/// Time that a client takes to think.
const THOUGHT: Duration = Duration::from_millis(40);

const MIXED: [Habit; 9] = [
    Habit::Alternates,
    Habit::Alternates,
    Habit::Alternates,
    Habit::ReadsMore,
    Habit::ReadsMore,
    Habit::ReadsMore,
    Habit::Reads,
    Habit::Reads,
    Habit::Reads,
];

#[test]
fn healthy_standbys_take_nearly_all_reads_and_no_session_goes_back() {
    let story = story(&[]);
    for habits in [&MIXED[..], &[Habit::Alternates; 6]] {
        let record = check(&story, habits, |run| run.reads(1500));
        record.assert_sound("healthy");
        println!("{record:?} share {}", record.share_of_standbys());
        assert!(record.share_of_standbys() >= 0.9, "{record:?}\n{}", story.metrics());
        assert!(record.reads.contains_key("b") && record.reads.contains_key("c"), "{record:?}");
    }
    println!(
        "fresh {} waited {} primary {}",
        outcome(&story, "fresh"),
        outcome(&story, "waited"),
        outcome(&story, "primary")
    );
}

#[test]
fn a_standby_that_stops_replaying_serves_nobody_who_would_notice() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    let record = check(&story, &MIXED, |run| {
        run.reads(150);
        cluster.pause_replay("c").expect("it can be paused");
        run.reads(300);
        cluster.resume_replay("c").expect("it can be resumed");
        run.reads(150);
        for node in ["b", "c"] {
            cluster.pause_replay(node).expect("it can be paused");
        }
        run.reads(300);
        for node in ["b", "c"] {
            cluster.resume_replay(node).expect("it can be resumed");
        }
        run.reads(300);
    });
    record.assert_sound("paused");
    println!("{record:?} share {}", record.share_of_standbys());
    // A standby that stood still is asked again after a quarter of a second.
    eventually("both serve again", || check(&story, &MIXED, |run| run.reads(100)).share_of_standbys() >= 0.9);
    // One standby is enough for the reads of all.
    cluster.pause_replay("c").expect("it can be paused");
    let record = check(&story, &MIXED, |run| run.reads(500));
    record.assert_sound("one paused");
    println!("{record:?} share {}", record.share_of_standbys());
    assert!(record.share_of_standbys() >= 0.9, "{record:?}");
    cluster.resume_replay("c").expect("it can be resumed");
}

#[test]
fn a_standby_that_is_late_serves_nobody_who_would_notice() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    for node in ["b", "c"] {
        cluster.sql(node, "ALTER SYSTEM SET recovery_min_apply_delay = '300ms'").expect("it is set");
        cluster.sql(node, "SELECT pg_reload_conf()").expect("it is read");
    }
    let record = check(&story, &MIXED, |run| run.reads(500));
    record.assert_sound("late");
    println!("{record:?} share {}", record.share_of_standbys());
    // Who only reads loses nothing by it.
    assert!(record.share_of_standbys() > 0.0, "{record:?}");
}

#[test]
fn a_standby_that_dies_and_returns_takes_nobody_back() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    let record = check(&story, &MIXED, |run| {
        for _ in 0..2 {
            run.reads(150);
            cluster.kill9("c").expect("it runs");
            run.reads(150);
            cluster.start_node("c").expect("it starts");
            eventually("it serves", || story.client().sql(super::NODE) == "c");
        }
    });
    record.assert_sound("killed");
    println!("{record:?} share {}", record.share_of_standbys());
    let record = check(&story, &[Habit::Reads; 4], |run| run.reads(200));
    record.assert_sound("returned");
}

/// The checker finds what there is to find.
#[test]
fn a_session_that_asks_for_nothing_is_caught_reading_behind_its_writes() {
    let story = story(&["routing.consistency = \"eventual\""]);
    story.bench.cluster.pause_replay("c").expect("it can be paused");
    let record = check(&story, &MIXED, |run| run.reads(500));
    assert!(record.stale > 0 && record.backward > 0, "{record:?}");
    story.bench.cluster.resume_replay("c").expect("it can be resumed");
}

/// Statements that servers have run for `who`, by their logs.
fn logged(story: &Story, who: &str) -> usize {
    let log = |node| std::fs::read_to_string(story.bench.cluster.log_file(node).expect("a node of ours"));
    let runs = |line: &&str| {
        line.contains(who) && (line.contains("LOG:  statement:") || line.contains("LOG:  execute "))
    };
    ["a", "b", "c"].iter().map(|node| log(node).expect("a log").lines().filter(runs).count()).sum()
}

#[test]
fn a_statement_of_the_client_is_one_statement_of_a_server() {
    let options = Options { conf: vec!["log_statement = all".to_owned()], ..Options::default() };
    let story = story_on(options, &["workers = 1"]);
    let mut client: Raw = story.client();
    client.sql(super::NODE);
    // Who has written nothing has nothing to ask for.
    let (before, began) = (logged(&story, "demo@demo"), Instant::now());
    for _ in 0..100 {
        client.sql(super::NODE);
    }
    let took = began.elapsed();
    eventually("all is logged", || logged(&story, "demo@demo") >= before + 100);
    assert_eq!(logged(&story, "demo@demo"), before + 100);
    let positions = |story: &Story| {
        let line = "execute position";
        let log = |node| std::fs::read_to_string(story.bench.cluster.log_file(node).expect("a node of ours"));
        ["a", "b", "c"].iter().map(|node| log(node).expect("a log").matches(line).count()).sum::<usize>()
    };
    // Looking for a better standby twenty times a second costs some; reading does not.
    let idle = positions(&story);
    assert!(idle as f64 <= 40.0 + 50.0 * took.as_secs_f64(), "{idle} in {took:?}");

    // Who writes, thinks for a moment and reads: its read goes out at once, to a standby known to show the
    // write.
    let (before, waited, fresh) =
        (logged(&story, "demo@demo"), outcome(&story, "waited"), outcome(&story, "fresh"));
    for _ in 0..100 {
        client.sql("UPDATE d.common SET n = n + 1");
        std::thread::sleep(THOUGHT);
        client.sql(super::NODE);
    }
    eventually("all is logged", || logged(&story, "demo@demo") >= before + 200);
    assert_eq!(logged(&story, "demo@demo"), before + 200);
    let (waited, fresh) = (outcome(&story, "waited") - waited, outcome(&story, "fresh") - fresh);
    assert!(waited + fresh >= 95.0 && fresh >= 90.0, "{fresh} fresh, {waited} waited");
    println!("{} questions for 200 statements, {fresh} fresh, {waited} waited", positions(&story) - idle);
}
