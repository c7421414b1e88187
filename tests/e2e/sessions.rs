//! A session that changes servers with every statement gives the same answers as one on a single server.
//!
//! Each script is run twice: on a direct connection, and through the proxy while another client takes the server
//! that was used last, so that the next statement has to go to the other. Every answer must be the same.

use std::fmt::Write;

use crate::raw::{self, Answer, Raw};
use crate::story::Story;
use crate::support::eventually;

/// Statements, one a line. `PARSE name sql`, `BIND name parameter ...`, `CLOSE name` and `EXT sql` use the extended
/// protocol; `COPY ... FROM STDIN` gets two rows.
const SCRIPTS: &[(&str, &str)] = &[
    ("settings", include_str!("scripts/settings.sql")),
    ("identity", include_str!("scripts/identity.sql")),
    ("transactions", include_str!("scripts/transactions.sql")),
    ("prepared by sql", include_str!("scripts/prepared_by_sql.sql")),
    ("prepared by protocol", include_str!("scripts/prepared_by_protocol.sql")),
    ("temporary", include_str!("scripts/temporary.sql")),
    ("advisory locks", include_str!("scripts/advisory_locks.sql")),
    ("cursors", include_str!("scripts/cursors.sql")),
    ("listen", include_str!("scripts/listen.sql")),
    ("sequences", include_str!("scripts/sequences.sql")),
    ("others", include_str!("scripts/others.sql")),
];

const SETUP: &str = "CREATE ROLE demo_other; GRANT demo_other TO demo;
    CREATE SCHEMA demo AUTHORIZATION demo; CREATE TABLE t (n int, word text); CREATE TABLE numbered (id serial, n int);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO demo, demo_other; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO demo";

#[test]
fn every_script_gives_the_same_answers_on_changing_servers_as_on_one() {
    // With one worker it is the server that was used last that anybody gets.
    let story = two_servers(1);
    let mut elsewhere = Elsewhere { other: story.client(), held: false };
    elsewhere.assert_works(&mut story.client());
    let mut differing = String::new();
    for startup in [&[][..], STARTUP] {
        for (name, script) in SCRIPTS {
            let mut direct = direct(&story, startup);
            let expected: Vec<String> = steps(script).map(|step| told(&run(&mut direct, step))).collect();
            let mut client = story.client_with(startup);
            for (step, expected) in steps(script).zip(&expected) {
                let seen = told(&elsewhere.run(&mut client, |client| run(client, step)));
                if seen != *expected {
                    let _ = writeln!(differing, "{name}, {step}\n  direct: {expected}\n  proxy:  {seen}");
                }
            }
            if client.notifications != direct.notifications || client.reported != direct.reported {
                let _ = writeln!(
                    differing,
                    "{name}:\n  direct: {:?} {:?}",
                    direct.notifications, direct.reported
                );
                let _ = writeln!(differing, "  proxy:  {:?} {:?}", client.notifications, client.reported);
            }
            client.terminate();
        }
    }
    assert!(differing.is_empty(), "{differing}");
    story.settled(&mut story.direct("a", "postgres"), "all scripts");
}

#[test]
fn twenty_clients_on_two_servers_do_not_disturb_each_other() {
    let story = two_servers(2);
    // What takes a lock or a sequence is not to be run by two at a time.
    let alone = ["advisory locks", "sequences", "others"];
    let scripts: Vec<_> = SCRIPTS.iter().filter(|(name, _)| !alone.contains(name)).collect();
    let expected: Vec<Vec<String>> = scripts
        .iter()
        .map(|(_, script)| {
            let mut direct = direct(&story, &[]);
            steps(script).map(|step| told(&run(&mut direct, step))).collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for place in (0..20).map(|number| number % scripts.len()) {
            let (name, script) = scripts[place];
            let (expected, story) = (&expected[place], &story);
            scope.spawn(move || {
                let mut client = story.client();
                for (step, expected) in steps(script).zip(expected) {
                    assert_eq!(&told(&run(&mut client, step)), expected, "{name}: {step}");
                }
                client.terminate();
            });
        }
    });
    story.settled(&mut story.direct("a", "postgres"), "twenty clients");
}

/// Each pin by its name: when it begins, and what ends it.
#[test]
fn pins_are_counted_by_name_and_released() {
    let story = two_servers(2);
    let mut client = story.client();
    let pins = [
        ("temp_object", "CREATE TEMP TABLE kept (n int)", "DROP TABLE kept"),
        ("temp_object", "CREATE TEMP VIEW kept AS SELECT 1", "DISCARD TEMP"),
        ("temp_object", "CREATE TEMP TABLE kept (n int)", "DISCARD ALL"),
        ("advisory_lock", "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"),
        ("advisory_lock", "SELECT pg_try_advisory_lock(2)", "SELECT pg_advisory_unlock_all()"),
        ("listen", "LISTEN kept", "UNLISTEN kept"),
        ("listen", "LISTEN kept", "UNLISTEN *"),
        ("hold_cursor", "BEGIN; DECLARE kept CURSOR WITH HOLD FOR SELECT 1; COMMIT", "CLOSE kept"),
        ("sql_prepared", "PREPARE kept AS SELECT 1", "DEALLOCATE kept"),
        ("sql_prepared", "PREPARE kept AS SELECT 1", "DEALLOCATE ALL"),
        ("random_seed", "SELECT setseed(0.1)", "DISCARD ALL"),
    ];
    for (name, begin, end) in pins {
        client.sql(begin);
        // The client has its answer a moment before it is counted.
        eventually(begin, || story.pinned(name) == 1.0);
        assert_eq!(story.pool("a", "demo", "active"), 1, "{begin}");
        client.sql("SELECT 1");
        client.sql(end);
        eventually(end, || story.pinned(name) == 0.0 && story.pool("a", "demo", "active") == 0);
    }
    for (name, gone) in [
        ("temp_object", "BEGIN; CREATE TEMP TABLE gone (n int) ON COMMIT DROP; COMMIT"),
        ("temp_object", "BEGIN; CREATE TEMP TABLE gone (n int); ROLLBACK"),
        ("advisory_lock", "BEGIN; SELECT pg_advisory_xact_lock(3); COMMIT"),
        ("listen", "BEGIN; LISTEN gone; ROLLBACK"),
        ("hold_cursor", "BEGIN; DECLARE gone CURSOR FOR SELECT 1; COMMIT"),
    ] {
        client.sql(gone);
        eventually(gone, || story.pinned(name) == 0.0 && story.pool("a", "demo", "active") == 0);
    }
    client.sql("LISTEN kept");
    client.kill();
    eventually("the pin ends with the client", || story.pinned("listen") == 0.0);
}

/// What a session reads of a sequence is its own, or it is told there is nothing (55000): never another's.
#[test]
fn currval_is_the_sessions_own_or_an_error() {
    let story = two_servers(1);
    let (mut one, mut two, mut other) = (story.client(), story.client(), story.client());
    let insert = "INSERT INTO numbered (n) VALUES (1)";
    // The first question of all: the server it wrote on is free, though it is not the one used last.
    one.sql(insert);
    other.sql("BEGIN; SELECT 1");
    two.sql("SELECT 1");
    other.sql("COMMIT");
    two.sql("SELECT 1");
    assert_eq!(one.sql("SELECT lastval()"), "1");
    eventually("it is pinned", || story.pinned("sequence") == 1.0);
    one.sql("DISCARD SEQUENCES");
    eventually("the server is free again", || story.pool("a", "demo", "active") == 0);
    // From now on sessions keep the server they write on.
    two.sql(insert);
    eventually("it is pinned", || story.pinned("sequence") == 1.0);
    assert_eq!(two.sql("SELECT lastval(), currval('numbered_id_seq')"), "2|2");
    assert_eq!(one.fails("SELECT lastval()").code, "55000");
    one.sql(insert);
    assert_eq!(
        (two.sql("SELECT lastval()"), one.extended("SELECT lastval()", &[])),
        ("2".into(), "3".into())
    );
    two.terminate();
    one.kill();
    story.settled(&mut story.direct("a", "postgres"), "sequences were used");

    // Values of another session on the same server are not shown.
    let story = two_servers(1);
    let (mut one, mut two) = (story.client(), story.client());
    two.sql(insert);
    assert_eq!(one.fails("SELECT currval('numbered_id_seq')").code, "55000");
    let story = two_servers(1);
    let (mut one, mut two) = (story.client(), story.client());
    one.sql(insert);
    two.sql(insert);
    assert_eq!(one.fails("SELECT currval('numbered_id_seq')").code, "55000");
    one.sql("BEGIN; SELECT 1");
    one.send(
        &[raw::parse("", "SELECT lastval()"), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()]
            .concat(),
    );
    assert_eq!(one.answer().failure.map(|failure| failure.code).as_deref(), Some("55000"));
    one.sql("ROLLBACK");
    assert_eq!(one.extended("INSERT INTO numbered (n) VALUES (1) RETURNING id", &[]), "3");
    assert_eq!(one.sql("SELECT lastval()"), "3");
}

#[test]
fn what_was_sent_before_goodbye_is_carried_out() {
    let story = two_servers(2);
    let mut client = story.client();
    client.sql("SELECT 1");
    let goodbye = b"X\0\0\0\x04";
    let mut statement = Vec::new();
    bellwether::wire::write::query(&mut statement, b"INSERT INTO t SELECT 7 FROM pg_sleep(0.2)");
    client.send(&[&statement[..], goodbye].concat());
    client.kill();
    let mut oracle = story.direct("a", "postgres");
    eventually("the row is there", || oracle.sql("SELECT count(*) FROM t WHERE n = 7") == "1");
    story.settled(&mut oracle, "goodbye");
}

const STARTUP: &[(&str, &str)] = &[
    ("options", "-c work_mem=2MB --search_path=public,demo -cenable_seqscan=off -c my.own=started"),
    ("application_name", "a script"),
    ("TimeZone", "Asia/Tokyo"),
    ("client_encoding", "LATIN1"),
];

/// Makes every statement of a client run on another server than the one before, unless the client keeps its server.
/// Of two servers the one that was released last is taken: in every other step somebody else takes it first.
struct Elsewhere {
    other: Raw,
    held: bool,
}

impl Elsewhere {
    fn run<T>(&mut self, client: &mut Raw, step: impl FnOnce(&mut Raw) -> T) -> T {
        if self.held {
            self.other.sql("BEGIN; SELECT 1");
        }
        let result = step(client);
        if self.held {
            self.other.sql("COMMIT");
        }
        self.held = !self.held;
        result
    }

    fn assert_works(&mut self, client: &mut Raw) {
        let mut pid = || self.run(client, |client| client.sql("SELECT pg_backend_pid()"));
        let seen = [pid(), pid(), pid(), pid()];
        assert!(seen.windows(2).all(|two| two[0] != two[1]), "{seen:?}");
    }
}

fn two_servers(workers: usize) -> Story {
    let workers = format!("workers = {workers}");
    let story = Story::with(1, &["pool.size = 2", "pool.reserve = 0", &workers]);
    story.direct("a", "postgres").sql(SETUP);
    story
}

fn direct(story: &Story, startup: &[(&str, &str)]) -> Raw {
    Raw::connect_with(story.bench.cluster.port("a").expect("it is ours"), "demo", startup)
}

fn steps(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter(|line| !line.is_empty() && !line.starts_with("--"))
}

fn run(client: &mut Raw, step: &str) -> Answer {
    let mut words = step.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    match word() {
        "PARSE" => client.send(&[raw::parse(word(), word()), raw::sync()].concat()),
        "BIND" => {
            let (name, parameters) = (word(), word());
            return client.execute(name, &parameters.split_whitespace().collect::<Vec<_>>());
        }
        "CLOSE_STATEMENT" => client.send(&[raw::close_statement(word()), raw::sync()].concat()),
        "EXT" => {
            let sql = step["EXT".len()..].trim_start();
            client.send(
                &[raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat(),
            );
        }
        "COPY" if step.ends_with("FROM STDIN") => {
            client.send_query(step);
            client.send(&[raw::copy_data("1\tone\n2\ttwo\n"), raw::copy_done()].concat());
        }
        _ => client.send_query(step),
    }
    client.answer()
}

/// Everything that must be the same.
fn told(answer: &Answer) -> String {
    let failure = answer.failure.as_ref().map(|failure| (&failure.code, &failure.message));
    format!("{} {:?} {:?} {failure:?} {:?}", answer.tags, answer.text(), answer.complete, answer.status)
}
