//! Where requests go, as the session sees it.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::routing::{Need, Reason, Target};
use bellwether::session::PoolMode;

/// Checks the first server asked for by `bytes`.
fn needs(bytes: Vec<u8>, target: Target, reason: &str) {
    every_cut(|world| {
        world.send(&bytes);
        check(world, 0, target, reason);
        world.send(&sync());
        world.send(&query("rollback"));
        world.forget();
    });
}

#[track_caller]
fn check(world: &World, client: usize, target: Target, reason: &str) {
    let Need { target: found, reason: why } = world.clients[client].needs[0];
    assert_eq!((found, why.name()), (target, reason));
}

#[test]
fn queries_go_by_what_they_are() {
    needs(query("select 1"), Target::Standby, "plain_read");
    needs(query("select 1; select 2"), Target::Standby, "plain_read");
    needs(query("select 1; insert into t values (1)"), Target::Primary, "writes");
    needs(query("insert into t values (1)"), Target::Primary, "writes");
    needs(query("begin; insert into t values (1)"), Target::Primary, "read_write");
    needs(query("show a.x"), Target::Primary, "session_state");
    needs(query("selec"), Target::Primary, "unparsed");
    needs(query("select f()"), Target::Primary, "function");
    needs(function_call(1), Target::Primary, "function_call");
}

#[test]
fn groups_go_as_a_whole() {
    needs([once("select 1"), sync()].concat(), Target::Standby, "plain_read");
    needs([once("select 1"), once("select 2"), sync()].concat(), Target::Standby, "plain_read");
    needs([once("select 1"), once("insert into t values (1)"), sync()].concat(), Target::Primary, "writes");
    needs([once("select 1"), query("select 2")].concat(), Target::Standby, "plain_read");
    needs([once("select 1"), query("begin")].concat(), Target::Primary, "read_write");
    needs([once("select 1"), flush()].concat(), Target::Primary, "open_group");
    needs([parse("", "select 1"), flush()].concat(), Target::Standby, "plain_read");
    needs([parse("", "insert into t values (1)"), flush()].concat(), Target::Primary, "writes");
    needs([parse("", "select 1"), describe_portal(""), flush()].concat(), Target::Primary, "open_group");
    needs([run("nope", &[]), sync()].concat(), Target::Primary, "unparsed");
}

#[test]
fn what_was_prepared_with_a_flush_is_executed_where_it_belongs() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        let prepare = |sql: &str| [parse("", sql), describe_statement(""), flush()].concat();
        let execute = [run("", &[]), sync()].concat();
        world.says(&prepare("select 1"), "1, t, T:c");
        world.says(&execute, "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(standby, "P::select 1, D:S, S, B::, E:, S");
        world.says(&prepare("insert into t values (1)"), "1, t, n");
        world.says(&execute, "2, C:INSERT 0 1, Z:I");
        // Something else than was to be expected.
        world.says(&prepare("select 1"), "1, t, T:c");
        world.says(&query("insert into t values (2)"), "C:INSERT 0 1, Z:I");
        world.says(&prepare("select 1"), "1, t, T:c");
        world.says(
            &[run("", &[]), once("insert into t values (3)"), sync()].concat(),
            "2, D:1, C:SELECT 1, 1, 2, C:INSERT 0 1, Z:I",
        );
        assert_eq!(*world.database.borrow(), ["1", "2", "3"]);
        world.expect_at(standby, "P::select 1, D:S, S, P::select 1, D:S, S");
        world.forget();
    });
}

#[test]
fn a_group_waits_for_its_end() {
    every_cut(|world| {
        world.send(&once("select 1"));
        assert!(world.clients[0].needs.is_empty());
        world.says(&sync(), "1, 2, D:1, C:SELECT 1, Z:I");
        check(world, 0, Target::Standby, "plain_read");
    });
}

#[test]
fn named_statements_are_remembered_for_routing() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        world.says(
            &[parse("r", "select 1"), parse("w", "insert into t values (1)"), sync()].concat(),
            "1, 1, Z:I",
        );
        world.says(&[run("r", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(standby, "P:bellwether_0_1:select 1, B::bellwether_0_1, E:, S");
        world.says(&[run("w", &[]), sync()].concat(), "2, C:INSERT 0 1, Z:I");
        world.says(
            &[run("r", &[]), run("w", &[]), sync()].concat(),
            "2, D:1, C:SELECT 1, 2, C:INSERT 0 1, Z:I",
        );
        world.expect_at(standby, "");
    });
}

#[test]
fn what_needs_the_primary_does_not_follow_a_read_to_a_standby() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        let read = [once("select 1"), sync()].concat();
        let write = [once("insert into t values (1)"), sync()].concat();
        let (row, written) = ("1, 2, D:1, C:SELECT 1, Z:I", "1, 2, C:INSERT 0 1, Z:I");
        let both = format!("{row}, {row}, {written}, {row}");
        world.says(&[&read[..], &read, &write, &read].concat(), &both);
        world.says(&[parse("w", "insert into t values (1)"), sync()].concat(), "1, Z:I");
        let prepared = [&read[..], &run("w", &[]), &sync()].concat();
        world.says(&prepared, &format!("{row}, 2, C:INSERT 0 1, Z:I"));
        // Both inserts and the Parse of one, each by itself.
        let primary = world.clients[0].needs.iter().filter(|need| need.target == Target::Primary);
        assert_eq!(primary.count(), 3);
        world.forget();
    });
}

#[test]
fn without_a_catalog_names_go_to_the_primary() {
    every_cut(|world| {
        world.catalog = None;
        world.send(&query("select 1"));
        world.send(&query("select * from t"));
        check(world, 0, Target::Standby, "plain_read");
        let second = world.clients[0].needs[1];
        assert_eq!((second.target, second.reason.name()), (Target::Primary, "no_catalog"));
        world.forget();
    });
}

/// On a standby what comes next in it would be refused for want of a catalog.
#[test]
fn without_a_catalog_a_read_only_transaction_is_for_the_primary() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        world.catalog = None;
        let begin = [parse("", "begin read only"), bind("", "", &[]), execute("", 0), sync()].concat();
        world.says(&begin, "1, 2, C:BEGIN, Z:T");
        check(world, 0, Target::Primary, "no_catalog");
        world.send(&query("select * from t"));
        world.send(&query("commit"));
        world.send(&query("begin read only"));
        world.send(&query("select 1"));
        let last = world.clients[0].needs.last().copied();
        let last = last.expect("the second transaction has begun");
        assert_eq!((last.target, last.reason.name()), (Target::Primary, "no_catalog"));
        world.forget();
    });
}

#[test]
fn a_transaction_stays_where_it_is() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        for sql in ["begin", "select 1", "commit"] {
            world.send(&query(sql));
        }
        world.forget();
        assert_eq!(world.clients[0].needs.len(), 1);
        world.expect_at(standby, "");
    });
}

#[test]
fn splitting_may_be_off_or_of_no_use() {
    every_cut(|world| {
        world.split = false;
        world.send(&query("select 1"));
        check(world, 0, Target::Primary, "split_off");
        world.split = true;
        let other = world.add_client(PoolMode::Session, &[]);
        world.send_as(other, &query("select 1"));
        check(world, other, Target::Primary, "session_mode");
        let _ = world.leave(other);
        let strict =
            world.add_client(PoolMode::Transaction, &[("default_transaction_isolation", "serializable")]);
        world.send_as(strict, &query("select 1"));
        check(world, strict, Target::Primary, "session_state");
        assert_eq!(world.clients[0].needs[0].reason, Reason::SplitOff);
        world.clients[other].end = Some(super::world::End::Terminated);
        world.forget();
    });
}

#[test]
fn hints_say_where_in_both_protocols() {
    needs(query("/* bellwether: primary */ select 1"), Target::Primary, "hint");
    needs(query("select 1 -- bellwether: primary"), Target::Primary, "hint");
    needs(query("/* bellwether: standby */ select f()"), Target::Standby, "hint");
    needs(query("select 1 /* Bellwether: Standby */"), Target::Standby, "asked_read");
    needs(query("select '/* bellwether: primary */'"), Target::Standby, "plain_read");
    let (primary, standby) =
        (once("/* bellwether: primary */ select 1"), once("select f() /*bellwether:standby*/"));
    needs([&primary[..], &sync()].concat(), Target::Primary, "hint");
    needs([&standby[..], &sync()].concat(), Target::Standby, "hint");
    // A hint is about its own text.
    needs([&standby[..], &primary, &sync()].concat(), Target::Primary, "hint");
    needs([&standby[..], &once("select f()"), &sync()].concat(), Target::Primary, "function");
    needs([&once("select 1"), &standby[..], &once("select 2"), &sync()].concat(), Target::Standby, "hint");
}

#[test]
fn a_hint_stays_with_its_prepared_statement() {
    every_cut(|world| {
        world.says(&[parse("p", "/* bellwether: primary */ select 1"), sync()].concat(), "1, Z:I");
        world.says(&[run("p", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        assert!(world.clients[0].needs.iter().all(|need| need.reason == Reason::Hint));
        world.forget();
    });
}

#[test]
fn hints_that_say_nothing_clear_are_counted() {
    every_cut(|world| {
        world.says(&query("/* bellwether: replica */ select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        check(world, 0, Target::Standby, "plain_read");
        world.send(&[once("/* bellwether: primary */ select 1 /* bellwether: standby */"), sync()].concat());
        assert_eq!(world.clients[0].session.take_bad_hints(), 2);
        assert_eq!(world.clients[0].session.take_bad_hints(), 0);
        world.forget();
    });
}

#[test]
fn the_setting_says_where_until_it_is_reset() {
    every_cut(|world| {
        let mut reason = |bytes: Vec<u8>| {
            world.clients[0].needs.clear();
            world.send(&bytes);
            let Need { target, reason } = world.clients[0].needs[0];
            (target, reason.name())
        };
        let set = |route: &str| query(&format!("set bellwether.route = '{route}'; select 1"));
        reason(set("primary"));
        assert_eq!(reason(query("select 1")), (Target::Primary, "setting"));
        assert_eq!(reason(query("select 1 -- bellwether: standby")), (Target::Standby, "asked_read"));
        assert_eq!(reason([once("select 1"), sync()].concat()), (Target::Primary, "setting"));
        reason(set("standby"));
        assert_eq!(reason(query("select nothing()")), (Target::Standby, "setting"));
        assert_eq!(reason(query("select 1")), (Target::Standby, "asked_read"));
        assert_eq!(reason(query("selec")), (Target::Standby, "setting"));
        assert_eq!(reason(function_call(1)), (Target::Standby, "setting"));
        assert_eq!(
            reason([once("select 1"), once("select nothing()"), sync()].concat()),
            (Target::Standby, "setting")
        );
        assert_eq!(reason(query("/* bellwether: primary */ select 1")), (Target::Primary, "hint"));
        reason(set("auto"));
        assert_eq!(reason(query("select nothing()")), (Target::Primary, "function"));
        world.forget();
    });
}

#[test]
fn what_asked_for_a_standby_gets_the_standbys_own_error() {
    every_cut(|world| {
        let standby = world.add_server(true);
        world.standby = Some(standby);
        world.says(&query("set bellwether.route = 'standby'"), "C:SET, Z:I");
        world.says(&query("insert into t values (1)"), "E:25006, Z:I");
        world.says(&[once("insert into t values (1)"), sync()].concat(), "1, 2, E:25006, Z:I");
        assert_eq!(world.clients[0].healed, []);
        // What may have left something is asked about there too.
        world.servers[standby].fake.take_log();
        world.send(&query("select nothing()"));
        assert!(world.servers[standby].fake.take_log().join(",").contains("<probe>"));
        world.forget();
    });
}

#[test]
fn a_group_too_long_to_wait_for_goes_to_the_primary() {
    every_cut(|world| {
        let long = format!("select '{}'", "x".repeat(200_000));
        let group: Vec<u8> = (0..6).flat_map(|_| once(&long)).collect();
        world.send(&group);
        check(world, 0, Target::Primary, "open_group");
        world.send(&sync());
        world.forget();
    });
}
