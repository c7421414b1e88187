//! Two clients in turn on one server see nothing of each other, however the first one ends.

use crate::raw::{self, Raw};
use crate::story::{Story, backends};

/// What a client can leave behind: a name, and what it does.
const STATES: &[(&str, &[&str])] = &[
    ("settings", &["SET work_mem = '7MB'", "SET search_path = pg_catalog", "SET TIME ZONE 'Asia/Tokyo'"]),
    ("a setting by function", &["SELECT set_config('statement_timeout', '55s', false)"]),
    ("settings within a function", &["SELECT sets()"]),
    ("settings within a block", &["DO $$ BEGIN SET work_mem = '5MB'; SET ROLE demo_other; END $$"]),
    ("session characteristics", &["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"]),
    ("local settings", &["BEGIN; SET LOCAL work_mem = '9MB'"]),
    ("a setting in a transaction", &["BEGIN; SET work_mem = '8MB'; SAVEPOINT s; SET jit = off"]),
    ("a role", &["SET ROLE demo_other"]),
    ("a role in a transaction", &["BEGIN; SET ROLE demo_other"]),
    (
        "temporary objects",
        &[
            "CREATE TEMP TABLE leak (n int); CREATE TEMP VIEW leaky AS SELECT * FROM leak",
            "CREATE FUNCTION pg_temp.leaking() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ],
    ),
    ("advisory locks", &["SELECT pg_advisory_lock(17)", "SELECT pg_advisory_lock_shared(4, 5)"]),
    ("a statement by SQL", &["PREPARE leak AS SELECT 1", "EXECUTE leak"]),
    ("listening", &["LISTEN leak"]),
    ("a cursor", &["BEGIN; DECLARE leak CURSOR WITH HOLD FOR SELECT 1; COMMIT"]),
    ("an open transaction", &["BEGIN; INSERT INTO t VALUES (1); LOCK TABLE t"]),
    ("a failed transaction", &["BEGIN; INSERT INTO t VALUES (1)", "SELECT 1/0"]),
    ("a cursor in a transaction", &["BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 1000); FETCH c"]),
    ("a seed", &["SELECT setseed(0.5)"]),
];

/// How a client can end.
#[derive(Clone, Copy, Debug)]
enum End {
    Terminate,
    ErrorThenTerminate,
    Killed,
    Reset,
    CancelledThenReset,
    WhileSleeping,
    WhileWaitingForALock,
    InAPipeline,
    InCopyIn,
    InCopyOut,
    InAMessage,
    WithAPortal,
}

const ENDS: &[End] = &[
    End::Terminate,
    End::ErrorThenTerminate,
    End::Killed,
    End::Reset,
    End::CancelledThenReset,
    End::WhileSleeping,
    End::WhileWaitingForALock,
    End::InAPipeline,
    End::InCopyIn,
    End::InCopyOut,
    End::InAMessage,
    End::WithAPortal,
];

#[test]
fn nothing_of_a_client_is_seen_by_the_next_one_on_its_server() {
    let story = Story::with(1, &["pool.size = 1", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    oracle.sql(
        "CREATE ROLE demo_other; GRANT demo_other TO demo; CREATE TABLE t (n int); CREATE TABLE locked (n int);
         GRANT ALL ON t, locked TO demo, demo_other;
         CREATE FUNCTION sets() RETURNS text LANGUAGE sql AS $$ SELECT set_config('jit', 'off', false) $$",
    );
    let mut holder = story.direct("a", "postgres");
    holder.sql("BEGIN; LOCK TABLE locked");
    let fresh = settings(&mut story.direct("a", "demo"));
    for (state, statements) in STATES {
        for end in ENDS {
            let told = format!("{state}, {end:?}");
            let mut client = story.client();
            let pid = client.sql("SELECT pg_backend_pid()");
            statements.iter().for_each(|sql| drop(client.query(sql)));
            finish(client, *end, &mut oracle);
            story.settled(&mut oracle, &told);

            let mut next = story.client();
            assert_clean(&mut next, &fresh, &told);
            if *state == "a seed" {
                assert_ne!(next.sql("SELECT pg_backend_pid()"), pid, "{told}: this cannot be undone");
            }
            next.terminate();
        }
    }
    assert_eq!(oracle.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn nothing_of_a_startup_packet_is_seen_by_the_next_client() {
    let story = Story::with(1, &["pool.size = 1", "pool.reserve = 0"]);
    let mut oracle = story.direct("a", "postgres");
    oracle.sql(
        "CREATE ROLE demo_other; GRANT demo_other TO demo; CREATE TABLE t (n int); CREATE TABLE locked (n int);
         GRANT ALL ON t, locked TO demo, demo_other",
    );
    let mut holder = story.direct("a", "postgres");
    holder.sql("BEGIN; LOCK TABLE locked");
    let fresh = settings(&mut story.direct("a", "demo"));
    let parameters = [
        ("options", "-c work_mem=2MB -c search_path=pg_catalog --statement_timeout=77s"),
        ("application_name", "leak"),
        ("client_encoding", "LATIN1"),
        ("DateStyle", "German"),
        ("role", "demo_other"),
    ];
    for end in ENDS {
        let mut client = story.client_with(&parameters);
        assert_eq!(client.sql("SELECT current_user, current_setting('work_mem')"), "demo_other|2MB");
        client.sql("SET work_mem = '6MB'; RESET work_mem");
        assert_eq!(client.sql("SHOW work_mem"), "2MB");
        finish(client, *end, &mut oracle);
        story.settled(&mut oracle, &format!("{end:?}"));
        assert_clean(&mut story.client(), &fresh, &format!("{end:?}"));
    }
}

/// Superusers may act as anybody: SET SESSION AUTHORIZATION.
#[test]
fn nobody_inherits_a_session_authorization() {
    let story = Story::with(1, &["pool.size = 1", "pool.reserve = 0"]);
    for end in [End::Terminate, End::Killed, End::Reset] {
        let mut client = Raw::connect(story.bench.proxy.port(), "postgres");
        client.sql("SET SESSION AUTHORIZATION demo");
        assert_eq!(client.sql("SELECT session_user, current_user"), "demo|demo");
        client.sql("BEGIN; SET ROLE demo");
        finish(client, end, &mut story.direct("a", "postgres"));
        let mut next = Raw::connect(story.bench.proxy.port(), "postgres");
        assert_eq!(next.sql("SELECT session_user, current_user"), "postgres|postgres", "{end:?}");
    }
}

fn finish(mut client: Raw, end: End, oracle: &mut Raw) {
    // Whatever ends in the middle of a statement needs a transaction that is not failed.
    let roll_back = |client: &mut Raw| {
        if client.query("SELECT 1").failure.is_some() {
            client.sql("ROLLBACK");
        }
    };
    match end {
        End::Terminate => client.terminate(),
        End::ErrorThenTerminate => {
            client.query("SELECT 1/0");
            client.terminate();
        }
        End::Killed => client.kill(),
        End::Reset => client.reset(),
        End::CancelledThenReset => {
            roll_back(&mut client);
            client.send_query("SELECT pg_sleep(600)");
            backends(oracle, "query LIKE '%pg_sleep%' AND state = 'active'", 1);
            client.cancel();
            assert_eq!(client.answer().failure.map(|failure| failure.code).as_deref(), Some("57014"));
            client.reset();
        }
        End::WhileSleeping => {
            roll_back(&mut client);
            client.send_query("SELECT pg_sleep(600)");
            backends(oracle, "query LIKE '%pg_sleep%' AND state = 'active'", 1);
            client.kill();
        }
        End::WhileWaitingForALock => {
            roll_back(&mut client);
            client.send_query("SELECT * FROM public.locked");
            backends(oracle, "wait_event_type = 'Lock'", 1);
            client.reset();
        }
        End::InAPipeline => {
            roll_back(&mut client);
            let insert = [raw::parse("", "INSERT INTO public.t VALUES (1)"), raw::bind("", "", &[])].concat();
            let group = [insert, raw::execute("", 0)].concat();
            client.send(&[group.clone(), group, raw::parse("named", "SELECT 1"), raw::flush()].concat());
            client.read_to('1');
            client.kill();
        }
        End::InCopyIn => {
            roll_back(&mut client);
            client.send_query("COPY public.t FROM STDIN");
            let answered = client.message();
            if answered.is_some_and(|message| message.tag == 'G') {
                client.send(&raw::copy_data("1\n2\n"));
                client.send(&raw::copy_data("3\n")[..6]);
            }
            client.reset();
        }
        End::InCopyOut => {
            roll_back(&mut client);
            client.send_query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT");
            client.read_to('d');
            client.kill();
        }
        End::InAMessage => {
            client.send(&raw::parse("half", "SELECT 1")[..8]);
            client.kill();
        }
        End::WithAPortal => {
            roll_back(&mut client);
            let rows = raw::parse("", "SELECT generate_series(1, 100)");
            client.send(&[rows, raw::bind("p", "", &[]), raw::execute("p", 1), raw::flush()].concat());
            client.read_to('s');
            client.reset();
        }
    }
}

fn assert_clean(client: &mut Raw, fresh: &str, after: &str) {
    let ours = settings(client);
    if ours != fresh {
        let differing = ours.lines().zip(fresh.lines()).filter(|(ours, fresh)| ours != fresh);
        panic!("settings after {after}: {:?}", differing.collect::<Vec<_>>());
    }
    let question = "SELECT session_user, current_user, \
        (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()), \
        (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()), \
        (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'), \
        (SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'bellwether\\_%'), \
        (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors)";
    assert_eq!(client.sql(question), "demo|demo|0|0|0|0|0|0", "after {after}");
    assert_eq!(client.sql("SELECT count(*) FROM t"), "0", "after {after}");
}

fn settings(client: &mut Raw) -> String {
    // A language that was used brings settings of its own.
    client.sql("SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'plpgsql.%' ORDER BY name")
}
