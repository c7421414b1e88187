//! Settings travel with the session, transactionally, and never stay behind.

use super::messages::*;
use super::world::{End, World, every_cut};
use bellwether::session::{PoolMode, Reported, ServerState, Session};
use std::sync::Arc;

/// Sends a Query and leaves the answer alone.
fn run(world: &mut World, sql: &str) {
    world.send(&query(sql));
    world.received_by(0);
}

/// Checks what `name` is, on the next server in turn.
#[track_caller]
fn is(world: &mut World, name: &str, value: &str) {
    world.rotate = true;
    let expected = format!("T:v, D:{value}, C:SELECT 1, Z:I");
    for _ in 0..2 {
        world.says(&query("select nothing()"), "T:f, D:, C:SELECT 1, Z:I");
        let sql = format!("select current_setting('{name}')");
        world.says(&query(&sql), &expected);
    }
    world.forget();
}

#[test]
fn a_setting_follows_its_session_and_leaves_no_other() {
    every_cut(|world| {
        let other = world.add_client(PoolMode::Transaction, &[]);
        world.says(&query("set work_mem = '2MB'"), "C:SET, Z:I");
        world.expect_at(0, "Q:set work_mem = '2MB'");
        world.primary = 1;
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, "Q:SELECT pg_catalog.set_config('work_mem','2MB',false);, Q:select 1");
        // Nothing to do the second time.
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, "Q:select 1");
        world.send_as(other, &query("select 2"));
        world.expect_as(other, "T:c, D:2, C:SELECT 1, Z:I");
        world.expect_at(1, "Q:RESET \"work_mem\";, Q:select 2");
        assert!(world.servers[1].fake.settings.differing().is_empty());
        world.primary = 0;
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.expect_at(0, "Q:select 1");
    });
}

#[test]
fn the_difference_is_minimal() {
    every_cut(|world| {
        let other = world.add_client(PoolMode::Transaction, &[("a.x", "1"), ("a.y", "2"), ("a.z", "it's")]);
        run(world, "set a.x = '1'; set a.y = '9'; set a.w = '4'");
        world.forget();
        world.send_as(other, &query("select 2"));
        world.expect_as(other, "T:c, D:2, C:SELECT 1, Z:I");
        let sync = "RESET \"a\".\"w\";SELECT pg_catalog.set_config('a.y','2',false),\
                    pg_catalog.set_config('a.z','it''s',false);";
        world.expect_at(0, &format!("Q:{sync}, Q:select 2"));
    });
}

/// PostgreSQL forgets no such name within a session: it is empty after a RESET or a rollback, not unknown.
#[test]
fn what_a_session_has_made_up_is_on_every_server() {
    every_cut(|world| {
        let other = world.add_client(PoolMode::Transaction, &[]);
        run(world, "begin; set local my.a = '1'; rollback");
        run(world, "set my.b = '2'");
        run(world, "reset my.b");
        run(world, "set my.c = '3'");
        world.forget();
        let one = "T:c, D:1, C:SELECT 1, Z:I";
        world.primary = 1;
        world.says(&query("select 1"), one);
        let made = "RESET \"my\".\"a\";RESET \"my\".\"b\";SELECT pg_catalog.set_config('my.c','3',false);";
        world.expect_at(1, &format!("Q:{made}, Q:select 1"));
        // Once for each server, and for nobody else.
        world.send_as(other, &query("select 1"));
        world.expect_as(other, one);
        world.expect_at(1, "Q:RESET \"my\".\"c\";, Q:select 1");
        world.says(&query("select 1"), one);
        world.expect_at(1, "Q:SELECT pg_catalog.set_config('my.c','3',false);, Q:select 1");
        world.primary = 0;
        world.says(&query("select 1"), one);
        world.expect_at(0, "Q:select 1");
    });
}

#[test]
fn changes_follow_the_outcome_of_their_transaction() {
    every_cut(|world| {
        run(world, "set a.x = '1'");
        is(world, "a.x", "1");
        run(world, "begin; set a.x = '2'; rollback");
        is(world, "a.x", "1");
        run(world, "begin; set a.x = '2'; commit");
        is(world, "a.x", "2");
        run(world, "begin; set local a.x = '3'; commit");
        is(world, "a.x", "2");
        run(world, "begin; set a.x = '3'; select 1/0; commit");
        run(world, "commit");
        is(world, "a.x", "2");
        run(world, "begin; set a.x = '3'");
        run(world, "savepoint s; set a.x = '4'; rollback to s; release s; commit");
        is(world, "a.x", "3");
        run(world, "begin; savepoint s; set a.x = '4'; release s; commit");
        is(world, "a.x", "4");
        run(world, "begin; set a.x = '5'; savepoint s");
        run(world, "select 1/0");
        run(world, "rollback to s");
        run(world, "commit");
        is(world, "a.x", "5");
        // The implicit transaction of one Query.
        run(world, "set a.x = '6'; select 1/0");
        is(world, "a.x", "5");
        run(world, "set a.x = '6'; select 1");
        is(world, "a.x", "6");
        run(world, "begin; set a.x = '7'; commit; select 1/0");
        is(world, "a.x", "7");
        run(world, "set a.x = '8'; begin; set a.y = '1'; rollback");
        is(world, "a.x", "7");
        run(world, "begin; set a.x = '9'; commit and chain");
        run(world, "set a.x = '10'; rollback");
        is(world, "a.x", "9");
    });
}

#[test]
fn changes_within_a_group_end_with_it() {
    every_cut(|world| {
        world.send(&[once("set a.x = '1'"), once("select 1/0"), sync()].concat());
        world.received_by(0);
        is(world, "a.x", "");
        world.send(&[once("set a.x = '1'"), once("select 1"), sync()].concat());
        world.received_by(0);
        is(world, "a.x", "1");
        // One group fails, the next keeps its change.
        let all = [once("set a.x = '2'"), once("select 1/0"), sync(), once("set a.y = '3'"), sync()].concat();
        world.send(&all);
        world.received_by(0);
        is(world, "a.x", "1");
        is(world, "a.y", "3");
    });
}

#[test]
fn set_config_with_literals_and_with_values() {
    every_cut(|world| {
        run(world, "select set_config('a.x', '1', false), set_config('a.y', '2', true)");
        is(world, "a.x", "1");
        is(world, "a.y", "");
        let all = [parse("s", "select set_config($1, $2, false)"), sync()].concat();
        world.says(&all, "1, Z:I");
        world.says(&[super::messages::run("s", &["a.x", "5"]), sync()].concat(), "2, D:5, C:SELECT 1, Z:I");
        is(world, "a.x", "5");
        let local =
            [parse("", "select set_config('a.x', $1, true)"), super::messages::run("", &["6"]), sync()];
        world.says(&local.concat(), "1, 2, D:6, C:SELECT 1, Z:I");
        is(world, "a.x", "5");
        assert_eq!(world.clients[0].session.pin_names().count(), 0);
        // With a row limit the portal is only suspended, but the function was called.
        let limited = [parse("", "select set_config('a.x', '7', false)"), bind("", "", &[]), execute("", 1)];
        world.says(&[limited.concat(), sync()].concat(), "1, 2, D:7, s, Z:I");
        is(world, "a.x", "7");
    });
}

#[test]
fn reset_returns_to_the_startup_values() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Transaction, &[("application_name", "app"), ("a.x", "mine")]);
        is(world, "a.x", "mine");
        for sql in ["reset a.x", "reset all", "set a.x to default", "discard all"] {
            run(world, "set a.x = '2'; set a.y = '3'");
            is(world, "a.x", "2");
            run(world, sql);
            is(world, "a.x", "mine");
            is(world, "application_name", "app");
        }
        is(world, "a.y", "");
        // Nobody sees the server's own value in between.
        let all = [query("reset all"), query("select current_setting('a.x')")].concat();
        world.says(&all, "C:RESET, Z:I, T:v, D:mine, C:SELECT 1, Z:I");
        world.says(&query("begin; reset all"), "C:BEGIN, C:RESET, Z:T");
        world.says(&query("show a.x"), "T:v, D:mine, C:SELECT 1, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        is(world, "a.x", "mine");
    });
}

#[test]
fn the_client_is_told_its_startup_value_only() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Transaction, &[("application_name", "app")]);
        world.says(&query("set application_name = 'b'"), "C:SET, S:application_name=b, Z:I");
        world.says(&query("reset application_name"), "C:RESET, S:application_name=app, Z:I");
        world.says(&query("set application_name = 'b'"), "C:SET, S:application_name=b, Z:I");
        let reset = [once("reset application_name"), sync()].concat();
        world.says(&reset, "1, 2, C:RESET, S:application_name=app, Z:I");
        world.says(&query("begin; set application_name = 'b'"), "C:BEGIN, C:SET, S:application_name=b, Z:T");
        world.says(&query("reset application_name"), "C:RESET, S:application_name=app, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.says(&query("set application_name = 'app'"), "C:SET, Z:I");
    });
}

#[test]
fn what_stands_behind_a_reset_in_its_group_has_the_startup_value() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Transaction, &[("application_name", "app"), ("a.x", "mine")]);
        let show = || [parse("", "show a.x"), bind("", "", &[]), execute("", 0)].concat();
        run(world, "set a.x = '2'; set application_name = 'b'");
        world.forget();
        world.says(
            &[once("reset a.x"), show(), sync()].concat(),
            "1, 2, C:RESET, 1, 2, D:mine, C:SELECT 1, Z:I",
        );
        let again = "bellwether_again";
        let log = format!(
            "P::reset a.x, B::, E:, H, P:{again}:SELECT pg_catalog.set_config('a.x','mine',false), \
             B:{again}:{again}, E:{again}, C:P{again}, C:S{again}, P::show a.x, B::, E:, S"
        );
        world.expect_at(0, &log);
        is(world, "application_name", "b");
        is(world, "a.x", "mine");
        for sql in ["reset a.x", "reset all", "set a.x to default", "discard all", "set local a.x to default"]
        {
            run(world, "set a.x = '2'");
            world.send(&[once(sql), show(), show(), sync()].concat());
            let words = world.received_by(0);
            assert_eq!(words.iter().filter(|word| *word == "D:mine").count(), 2, "{sql}: {words:?}");
            run(world, "set a.x = '2'");
            // A group behind it, and a Query within it.
            world.send(&[once(sql), sync(), show(), sync()].concat());
            let expected = if sql.contains("local") { "D:2" } else { "D:mine" };
            let words = world.received_by(0);
            assert!(words.iter().any(|word| word == expected), "{sql}: {words:?}");
            world.send(&[once(sql), query("show a.x"), sync()].concat());
            let words = world.received_by(0);
            assert!(words.iter().any(|word| word == "D:mine"), "{sql}: {words:?}");
        }
    });
}

#[test]
fn a_reset_that_is_undone_leaves_the_value_that_was() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Transaction, &[("a.x", "mine")]);
        run(world, "set a.x = '2'");
        let fails = [once("reset a.x"), once("select 1"), once("select 1/0"), sync()].concat();
        world.says(&fails, "1, 2, C:RESET, 1, 2, D:1, C:SELECT 1, 1, 2, E:22012, Z:I");
        is(world, "a.x", "2");
        // What is discarded is not undone, and what was set again is set again once more.
        let fails = [once("discard all"), once("select 1"), once("select 1/0"), sync()].concat();
        world.says(&fails, "1, 2, C:DISCARD ALL, 1, 2, D:1, C:SELECT 1, 1, 2, E:22012, Z:I");
        is(world, "a.x", "mine");
        run(world, "set a.x = '2'");
        world.says(&query("begin; set local a.x = '3'"), "C:BEGIN, C:SET, Z:T");
        world.says(&query("set local a.x to default"), "C:SET, Z:T");
        let shown = |value: &str| format!("T:v, D:{value}, C:SELECT 1, Z:T");
        world.says(&query("show a.x"), &shown("mine"));
        world.says(&query("select 1/0"), "E:22012, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        is(world, "a.x", "2");
        // Another setting that is local stays so.
        world.says(&query("begin; set local a.x = '3'; reset a.y"), "C:BEGIN, C:SET, C:RESET, Z:T");
        world.says(&query("show a.x"), &shown("3"));
        world.says(&query("commit"), "C:COMMIT, Z:I");
        is(world, "a.x", "2");
    });
}

#[test]
fn a_server_that_is_lost_while_values_are_set_again_is_told() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Transaction, &[("a.x", "mine")]);
        run(world, "select 1");
        world.servers[0].fake.stalled_at_settings = true;
        world.send(&query("reset a.x"));
        assert!(world.lose_server(0, None));
        world.expect("C:RESET, E:08006, Z:I");
        is(world, "a.x", "mine");
    });
}

#[test]
fn role_and_session_user_are_carried_as_identity() {
    every_cut(|world| {
        run(world, "set role reader");
        is(world, "role", "reader");
        run(world, "reset all");
        is(world, "role", "reader");
        run(world, "set session authorization ann");
        is(world, "role", "none");
        is(world, "session_authorization", "ann");
        run(world, "set role reader");
        world.rotate = false;
        world.primary = 1;
        run(world, "set a.x = '1'");
        world.forget();
        world.primary = 0;
        run(world, "select 1");
        world.expect_at(
            0,
            "Q:RESET ROLE;RESET SESSION AUTHORIZATION;SELECT pg_catalog.set_config('a.x','1',false);\
             SET SESSION AUTHORIZATION 'ann';SET ROLE 'reader';, Q:select 1",
        );
        run(world, "reset session authorization");
        is(world, "session_authorization", "postgres");
        is(world, "role", "none");
        run(world, "discard all");
        is(world, "a.x", "");
    });
}

#[test]
fn a_setting_that_cannot_be_applied_ends_the_session() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Transaction, &[("a.x", "invalid")]);
        world.send(&query("select 1"));
        match &world.clients[0].end {
            Some(End::Told(error)) => assert_eq!(error.code.as_str(), "22023"),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.received_by(0), [""; 0]);
    });
}

#[test]
fn a_failed_change_is_none() {
    every_cut(|world| {
        world.says(&query("set a.x = invalid"), "E:22023, Z:I");
        is(world, "a.x", "");
    });
}

#[test]
fn reports_are_told_once_and_roles_of_nodes_never() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.expect_at(standby, "Q:select 1");
        world.says(&query("set application_name = 'b'"), "C:SET, S:application_name=b, Z:I");
        // The standby reports it as well, to nobody.
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.says(&query("begin; set application_name = 'c'"), "C:BEGIN, C:SET, S:application_name=c, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, S:application_name=b, Z:I");
        let mut report = Vec::new();
        bellwether::wire::write::parameter_status(&mut report, b"in_hot_standby", b"on");
        bellwether::wire::write::parameter_status(&mut report, b"TimeZone", b"Asia/Tokyo");
        world.says(&query("begin; select 1"), "C:BEGIN, T:c, D:1, C:SELECT 1, Z:T");
        world.servers[0].fake.inject(&report);
        world.settle(0);
        world.expect("S:TimeZone=Asia/Tokyo");
        world.servers[0].fake.inject(&report);
        world.settle(0);
        world.expect("");
        world.says(&query("commit"), "C:COMMIT, Z:I");
    });
}

#[test]
fn the_version_is_the_primarys_and_told_again_when_that_changes() {
    every_cut(|world| {
        let version = |version: &str| ("server_version".into(), version.into());
        let standby = world.add_server(true);
        world.standby = Some(standby);
        for (server, its) in [(0, "15.5"), (1, "15.7"), (standby, "15.9")] {
            let reported = world.servers[server].fake.settings.all_reported();
            let all = reported.into_iter().chain([version(its)]).collect();
            world.servers[server].state = Some(ServerState::new(all));
        }
        let told = Reported::new([version("15.5")]);
        world.clients[0].session = Session::new(PoolMode::Transaction, Arc::default(), told);
        world.says(&query("insert into t values (1)"), "C:INSERT 0 1, Z:I");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.primary = 1;
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.says(&query("insert into t values (2)"), "S:server_version=15.7, C:INSERT 0 1, Z:I");
        world.says(&query("insert into t values (3)"), "C:INSERT 0 1, Z:I");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn session_mode_keeps_one_server_and_syncs_once() {
    every_cut(|world| {
        world.clients.clear();
        world.add_client(PoolMode::Session, &[("a.x", "1")]);
        world.rotate = true;
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.says(&query("set a.x = '2'"), "C:SET, Z:I");
        world.says(&query("reset a.x"), "C:RESET, Z:I");
        world.says(&query("show a.x"), "T:v, D:1, C:SELECT 1, Z:I");
        world.says(&query("create temp table x (a int)"), "C:CREATE TABLE, Z:I");
        world.expect_at(1, "");
        let _ = world.leave(0);
        assert!(world.servers[0].fake.settings.differing().is_empty());
        assert_eq!(world.servers[0].fake.leftovers, Default::default());
    });
}
