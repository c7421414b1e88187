//! The settings a session asks with: levels, tokens, and what becomes of a read that no standby is fresh enough for.

use std::time::{Duration, Instant};

use super::{NODE, outcome, story};
use crate::raw::Raw;
use crate::support::eventually;

const READ: &str = "SELECT current_setting('cluster_name'), n FROM d.common";
const WRITE: &str = "UPDATE d.common SET n = n + 1";

fn split(row: &str) -> (&str, &str) {
    row.split_once('|').expect("node and number")
}

#[test]
fn a_token_carries_what_one_session_wrote_to_another() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    let mut fresh = story.client();
    assert_eq!(fresh.sql("SHOW bellwether.token"), "", "it wrote and saw nothing");
    cluster.pause_replay("b").expect("it can be paused");
    cluster.pause_replay("c").expect("it can be paused");
    let mut writer = story.client();
    writer.sql(WRITE);
    let token = writer.sql("SHOW bellwether.token");
    assert!(token.starts_with("1:0/"), "{token}");
    // Who knows of it sees it, and who does not reads what there is.
    let mut other = story.client();
    assert_eq!(split(&other.sql(READ)).1, "0");
    other.sql(&format!("SET bellwether.token = '{token}'"));
    assert_eq!(split(&other.sql(READ)), ("a", "1"));
    let mut startup = story.client_with(&[("options", &format!("-c bellwether.token={token}"))]);
    assert_eq!(split(&startup.sql(READ)), ("a", "1"));
    cluster.resume_replay("b").expect("it can be resumed");
    eventually("b has it", || split(&other.sql(READ)) == ("b", "1"));
    // A token that is given up binds no more; what was seen does.
    other.sql("RESET bellwether.token");
    assert_eq!(split(&other.sql(READ)), ("b", "1"));
    cluster.pause_replay("b").expect("it can be paused");
    writer.sql(WRITE);
    writer.sql("BEGIN");
    writer.sql(WRITE);
    let within = writer.sql("SHOW bellwether.token");
    writer.sql("COMMIT");
    let after = writer.sql("SHOW bellwether.token");
    let lsn = |token: &str| -> bellwether::pg::Lsn { token[2..].parse().expect("a position") };
    assert!(lsn(&token) < lsn(&within) && lsn(&within) < lsn(&after), "{token} {within} {after}");
    // A session that only read tells what it saw, and that is on a standby as well.
    let seen = other.sql("SHOW bellwether.token");
    assert!(lsn(&seen) >= lsn(&token), "{seen}");
    for node in ["b", "c"] {
        cluster.resume_replay(node).expect("it can be resumed");
    }
}

#[test]
fn each_level_asks_for_what_it_says() {
    let story = story(&[]);
    let cluster = &story.bench.cluster;
    let with = |level: &str| {
        let mut client = story.client();
        client.sql(&format!("SET bellwether.consistency = {level}"));
        eventually("a standby reads", || client.sql(NODE) != "a");
        client
    };
    let mut levels = ["session", "eventual", "bounded", "strong"].map(with);
    for node in ["b", "c"] {
        cluster.pause_replay(node).expect("it can be paused");
    }
    let mut writer = story.client();
    writer.sql(WRITE);
    let read = |client: &mut Raw| split(&client.sql(READ)).1.to_owned();
    let all = |levels: &mut [Raw; 4]| levels.iter_mut().map(read).collect::<String>();
    assert_eq!(all(&mut levels), "0001", "only the latest commit will do for strong");
    levels.iter_mut().for_each(|client| drop(client.sql(WRITE)));
    assert_eq!(all(&mut levels), "5005", "session sees what it wrote");
    // Bounds that what is missing exceeds.
    levels[2].sql("SET bellwether.max_staleness_bytes = 0");
    assert_eq!(all(&mut levels), "5055");
    levels[2].sql("SET bellwether.max_staleness_bytes = '1GB'; SET bellwether.max_staleness = '1h'");
    assert_eq!(all(&mut levels), "5005");
    levels[2].sql("SET bellwether.max_staleness = '1s'");
    eventually("it is too old", || read(&mut levels[2]) == "5");
    for node in ["b", "c"] {
        cluster.resume_replay(node).expect("it can be resumed");
    }
    cluster.wait_replayed().expect("the standbys replay");
    // All of them read on standbys when these are healthy, however slow the machine.
    for (level, client) in levels.iter_mut().enumerate() {
        client.sql("SET bellwether.on_stale = wait; SET bellwether.wait_limit = '20s'");
        let nodes: Vec<_> = (0..20).map(|_| client.sql(NODE)).collect();
        assert!(nodes.iter().all(|node| node != "a"), "level {level}: {nodes:?}");
    }
}

#[test]
fn a_read_that_no_standby_is_fresh_enough_for_does_as_it_is_told() {
    let story = story(&["routing.wait_limit = \"300ms\""]);
    let cluster = &story.bench.cluster;
    for node in ["b", "c"] {
        cluster.pause_replay(node).expect("it can be paused");
    }
    let mut client = story.client();
    client.sql(NODE);
    client.sql(WRITE);
    let began = Instant::now();
    assert_eq!(split(&client.sql(READ)), ("a", "1"));
    client.sql("SET bellwether.on_stale = wait");
    let began_wait = Instant::now();
    assert_eq!(split(&client.sql(READ)), ("a", "1"));
    let waited = began_wait.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?} of {:?}", began.elapsed());
    client.sql("SET bellwether.on_stale = error");
    let failure = client.fails(READ);
    assert_eq!(failure.code, "55000");
    assert!(failure.hint.contains("bellwether.on_stale"), "{failure:?}");
    assert_eq!(client.fails("SELECT n FROM d.common WHERE n > 0").code, "55000");
    assert!(outcome(&story, "primary") >= 2.0 && outcome(&story, "error") == 2.0, "{}", story.metrics());
    // What a standby comes to show in time is read there.
    client.sql("SET bellwether.on_stale = wait; SET bellwether.wait_limit = '20s'");
    let waiting = std::thread::spawn(move || (client.sql(READ), client));
    eventually("it waits", || {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bellwether positions'";
        cluster.sql("c", asked).is_ok_and(|count| count == "1")
    });
    cluster.resume_replay("c").expect("it can be resumed");
    let (row, _) = waiting.join().expect("it is answered");
    assert_eq!(split(&row), ("c", "1"));
    assert!(outcome(&story, "waited") >= 1.0);
    cluster.resume_replay("b").expect("it can be resumed");
}

#[test]
fn explain_route_tells_what_must_be_seen_and_who_shows_it() {
    let story = story(&[]);
    let mut client = story.client();
    let mut explain = |first: &str| {
        if !first.is_empty() {
            client.sql(first);
        }
        let told = client.sql(&format!("EXPLAIN ROUTE {NODE}"));
        move |line: &str| assert!(told.lines().any(|told| told.starts_with(line)), "no {line} in\n{told}")
    };
    let tells = explain("");
    tells("freshness|the session has written and seen nothing yet");
    tells("freshness|any standby will do");
    let tells = explain("UPDATE d.common SET n = n + 1");
    tells("freshness|it must show 1:0/");
    tells("freshness|b was at 1:0/");
    tells("freshness|c was at 1:0/");
    for node in ["b", "c"] {
        story.bench.cluster.pause_replay(node).expect("it can be paused");
    }
    let tells = explain("UPDATE d.common SET n = n + 1");
    tells("node|a");
    tells("freshness|no standby showed it within");
    let tells = explain("SET bellwether.on_stale = 'error'; SET bellwether.wait_limit = '50ms'");
    tells("node|none");
    tells("freshness|no standby is fresh enough for this read");
    let tells = explain("SET bellwether.consistency = 'eventual'");
    tells("freshness|it may see what any standby has");
    tells("freshness|any standby will do");
}

#[test]
fn an_open_transaction_keeps_nobody_from_the_standbys() {
    let story = story(&[]);
    let (mut writer, mut client) = (story.direct("a", "demo"), story.client());
    writer.sql("BEGIN");
    for _ in 0..5 {
        // Stays in memory, as nobody commits.
        writer.sql(WRITE);
        client.sql(&format!("/* bellwether: primary */ {READ}"));
        let began = Instant::now();
        eventually("it reads on a standby again", || split(&client.sql(READ)) != ("a", "0"));
        let took = began.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    // One that never read on a standby, and takes so long between its reads that the primary has told by then where it is.
    writer.sql(WRITE);
    let mut newcomer = story.client();
    newcomer.sql(&format!("/* bellwether: primary */ {READ}"));
    let reads_elsewhere = (0..40).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        split(&newcomer.sql(READ)).0 != "a"
    });
    assert!(reads_elsewhere, "it stays on the primary");
    writer.sql("ROLLBACK");
}

#[test]
fn a_position_at_the_start_of_a_page_is_shown_at_once() {
    let story = story(&["routing.on_stale = \"error\""]);
    let mut client = story.client();
    client.sql(NODE);
    for _ in 0..3 {
        client.sql(WRITE);
        // The next record would come behind the header of a new segment, and until then nothing is to replay.
        story.bench.cluster.sql("a", "SELECT pg_switch_wal()").expect("it switches");
        client.sql("SELECT 1 WHERE random() >= 0");
        assert_ne!(client.sql(NODE), "a");
    }
}

#[test]
fn the_configuration_says_what_sessions_start_with() {
    let mut story = story(&["routing.consistency = \"strong\"", "routing.max_staleness = \"3s\""]);
    let shown = |story: &crate::story::Story| {
        let mut client = story.client();
        ["consistency", "max_staleness_bytes", "max_staleness", "on_stale", "wait_limit"]
            .map(|name| client.sql(&format!("SHOW bellwether.{name}")))
            .join(" ")
    };
    assert_eq!(shown(&story), "strong 16MB 3s primary 500ms");
    story.reload(&[
        "routing.on_stale = \"wait\"",
        "routing.wait_limit = \"2s\"",
        "routing.max_staleness_bytes = \"1MB\"",
    ]);
    assert_eq!(shown(&story), "session 1MB 10s wait 2s");
}
