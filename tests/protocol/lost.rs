//! The server is gone, or no longer makes sense.

use super::messages::*;
use super::world::{End, World, every_cut};
use bellwether::pg::SqlState;
use bellwether::wire::error_response::PgError;
use bellwether::wire::write;

/// Keeps the answers of the first server back, as if it were busy.
fn stalled(bytes: &[u8], expected: &str) {
    every_cut(|world| {
        world.servers[0].fake.stalled = true;
        world.send(bytes);
        world.received_by(0);
        assert!(world.lose_server(0, None));
        world.expect(expected);
        world.says(&query("select 9"), "T:c, D:9, C:SELECT 1, Z:I");
    });
}

#[test]
fn every_request_outstanding_fails_once() {
    stalled(&query("select 1"), "E:08006, Z:I");
    stalled(&[query("select 1"), query("select 2")].concat(), "E:08006, Z:I, E:08006, Z:I");
    stalled(&function_call(1), "E:08006, Z:I");
    stalled(&[once("select 1"), sync()].concat(), "E:08006, Z:I");
    stalled(&[once("select 1"), sync(), once("select 2"), sync()].concat(), "E:08006, Z:I, E:08006, Z:I");
    stalled(&[query("copy t from stdin"), copy_data("x")].concat(), "E:08006, Z:I");
}

#[test]
fn a_group_without_its_sync_is_passed_over() {
    every_cut(|world| {
        world.servers[0].fake.stalled = true;
        world.send(&[once("select 1"), flush()].concat());
        assert!(world.lose_server(0, None));
        world.expect("E:08006");
        world.says(&[run("", &[]), query("select 1")].concat(), "");
        world.says(&sync(), "Z:I");
        world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
        // The same where the Flush has ended it on the server.
        world.servers[0].fake.stalled = true;
        world.send(&[parse("", "select 1"), flush()].concat());
        assert!(world.lose_server(0, None));
        world.expect("E:08006");
        world.says(&[run("", &[]), query("select 1")].concat(), "");
        world.says(&sync(), "Z:I");
        world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_read_is_one_wherever_it_was_to_run_and_whatever_the_catalog_says_by_now() {
    every_cut(|world| {
        let read = [query("select * from t"), [once("select * from t"), sync()].concat()];
        let sent = |world: &mut World, bytes: &[u8]| {
            world.servers[0].fake.stalled = true;
            world.send(bytes);
        };
        let is_reading = |world: &mut World| {
            let reading = world.is_reading(0);
            assert!(world.lose_server(0, None));
            world.forget();
            reading
        };
        let hinted = [query("/* bellwether: primary */ select * from t")];
        for bytes in read.iter().chain(&hinted) {
            for split in [true, false] {
                world.split = split;
                sent(world, bytes);
                assert!(is_reading(world));
            }
        }
        for other in ["insert into t values (1)", "select f()", "select * from nowhere", "begin"] {
            sent(world, &query(other));
            assert!(!is_reading(world), "{other}");
        }
        // Proven when it was sent.
        world.split = true;
        for bytes in &read {
            sent(world, bytes);
            let catalog = world.catalog.take();
            assert!(is_reading(world));
            // Never proven.
            sent(world, bytes);
            assert!(!is_reading(world));
            world.catalog = catalog;
        }
        world.servers[0].fake.stalled = false;
    });
}

#[test]
fn an_error_told_is_not_told_again() {
    every_cut(|world| {
        world.says(&parse("", "selec"), "E:42601");
        assert!(world.lose_server(0, None));
        world.expect("");
        world.says(&[run("", &[]), sync()].concat(), "Z:I");
        world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn names_of_a_parse_that_never_ran_are_free() {
    every_cut(|world| {
        world.servers[0].fake.stalled = true;
        world.send(&[parse("s", "select 1"), sync()].concat());
        assert!(world.lose_server(0, None));
        world.expect("E:08006, Z:I");
        world.says(&[parse("s", "select 2"), run("s", &[]), sync()].concat(), "1, 2, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn prepared_statements_and_settings_live_on() {
    every_cut(|world| {
        world.says(&[parse("s", "select 1"), sync()].concat(), "1, Z:I");
        world.says(&query("set a.x = '1'"), "C:SET, Z:I");
        world.servers[0].fake.stalled = true;
        world.send(&query("set a.x = '2'"));
        assert!(world.lose_server(0, None));
        world.expect("E:08006, Z:I");
        world.says(&query("select current_setting('a.x')"), "T:v, D:1, C:SELECT 1, Z:I");
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        // A failed statement before must not undo the next change.
        world.says(&query("set a.x = '3'"), "C:SET, Z:I");
        world.primary = 1;
        world.says(&query("select current_setting('a.x')"), "T:v, D:3, C:SELECT 1, Z:I");
    });
}

#[test]
fn state_that_lived_on_the_server_ends_the_session() {
    for sql in ["create temp table x (a int)", "select setseed(1)", "begin; select setseed(1)", "listen c"] {
        every_cut(|world| {
            world.send(&query(sql));
            let error = PgError::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection");
            assert!(!world.lose_server(0, Some(error.clone())), "{sql}");
            assert_eq!(world.clients[0].end, Some(End::Told(error)));
            world.forget();
        });
    }
}

#[test]
fn a_server_lost_during_our_own_work() {
    every_cut(|world| {
        world.says(&query("set a.x = '1'"), "C:SET, Z:I");
        world.primary = 1;
        world.servers[1].fake.stalled = true;
        world.send(&query("select current_setting('a.x')"));
        // The client's request was not sent yet, and is sent elsewhere.
        world.primary = 0;
        assert!(world.lose_server(0, None));
        world.expect("T:v, D:1, C:SELECT 1, Z:I");
        world.servers[1].fake.stalled = false;
        // What the probe was to find is gone with the server.
        world.servers[0].fake.stalled_at_probe = true;
        world.says(&query("select f()"), "T:f, D:, C:SELECT 1, Z:I");
        assert!(!world.lose_server(0, None));
    });
}

#[test]
fn a_fatal_error_is_the_answer_to_what_runs() {
    let mut fatal = Vec::new();
    PgError::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection").write(&mut fatal);
    every_cut(|world| {
        world.servers[0].fake.stalled = true;
        world.send(&query("select 1"));
        world.servers[0].fake.inject(&fatal);
        world.settle(0);
        world.expect("E:57P01, Z:I");
        world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_server_that_breaks_the_protocol_is_lost() {
    let mut ready = Vec::new();
    write::ready_for_query(&mut ready, b'I');
    let mut strange = Vec::new();
    write::ready_for_query(&mut strange, b'?');
    let mut complete = Vec::new();
    write::command_complete(&mut complete, "SELECT 1");
    let parse_complete = write::PARSE_COMPLETE.to_vec();
    let cases: [(&[u8], Vec<u8>); 9] = [
        (&query("select 1"), parse_complete.clone()),
        (&query("select 1"), strange),
        (&query("select 1"), b"?\0\0\0\x04".to_vec()),
        (&query("select 1"), b"Z\0\0\0\x03".to_vec()),
        (&query("select 1"), b"Z\x7f\xff\xff\xff".to_vec()),
        (&query("select 1"), b"C\0\0\0\x06xy".to_vec()),
        (&query("select 1"), b"S\0\0\0\x06xy".to_vec()),
        (&[once("select 1"), sync()].concat(), ready.clone()),
        (&[once("select 1"), sync()].concat(), complete),
    ];
    for (request, nonsense) in cases {
        every_cut(|world| {
            world.servers[0].fake.stalled = true;
            world.send(request);
            world.servers[0].fake.inject(&nonsense);
            world.servers[0].fake.inject(&[0; 2000]);
            world.settle(0);
            let words = world.received_by(0);
            assert!(words[0].starts_with("E:08P01"), "{nonsense:?}: {words:?}");
            assert_eq!(words[1], "Z:I");
            world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
        });
    }
}

#[test]
fn a_server_that_cannot_be_cleaned_is_not_handed_on() {
    every_cut(|world| {
        world.send(&query("create temp table x (a int)"));
        world.servers[0].fake.refuses_discard = true;
        let _ = world.leave(0);
        assert_eq!(world.servers[0].fake.leftovers, Default::default());
        world.clients[0].end = Some(End::Terminated);
        world.forget();
    });
}
