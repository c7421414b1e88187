//! The extended query protocol: groups, errors in them, portals.

use super::messages::*;
use super::world::every_cut;

#[test]
fn a_group_is_one_checkout() {
    every_cut(|world| {
        let all = [once("select 1"), sync()].concat();
        world.says(&all, "1, 2, D:1, C:SELECT 1, Z:I");
        world.expect_at(0, "P::select 1, B::, E:, S");
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn an_error_at_any_message_skips_to_sync() {
    every_cut(|world| {
        let tail = [run("", &[]), sync()].concat();
        world.says(&[parse("", "selec"), tail.clone()].concat(), "E:42601, Z:I");
        world.says(&[parse("", "select 1"), bind("", "nope", &[]), tail.clone()].concat(), "1, E:26000, Z:I");
        let describe = [parse("", "select 1"), describe_portal("nope"), tail.clone()].concat();
        world.says(&describe, "1, E:34000, Z:I");
        world.says(&[once("select 1/0"), tail.clone()].concat(), "1, 2, E:22012, Z:I");
        let query_within = [once("select 1/0"), query("select 5"), sync()].concat();
        world.says(&query_within, "1, 2, E:22012, Z:I");
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn an_error_is_told_before_the_sync_is_sent() {
    every_cut(|world| {
        world.says(&parse("", "selec"), "E:42601");
        world.says(&[run("", &[]), query("select 1"), flush(), function_call(1)].concat(), "");
        world.expect_at(0, "P::selec");
        world.says(&sync(), "Z:I");
        world.expect_at(0, "S");
    });
}

#[test]
fn flush_brings_the_answers_and_keeps_the_server() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&[once("select 1"), flush()].concat(), "1, 2, D:1, C:SELECT 1");
        assert!(world.clients[0].session.is_attached());
        world.says(&[parse("", "select 2"), describe_statement(""), flush()].concat(), "1, t, T:c");
        world.says(&[run("", &[]), flush()].concat(), "2, D:2, C:SELECT 1");
        world.says(&sync(), "Z:I");
        world.expect_at(0, "P::select 1, B::, E:, H, P::select 2, D:S, H, B::, E:, H, S");
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn a_group_that_has_only_prepared_holds_no_server_behind_its_flush() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&[parse("", "select 1"), describe_statement(""), flush()].concat(), "1, t, T:c");
        assert!(!world.clients[0].session.is_attached());
        world.expect_at(0, "P::select 1, D:S, S");
        world.says(&[run("", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, "P::select 1, B::, E:, S");
        world.says(&[parse("s", "select 2"), describe_statement("s"), flush()].concat(), "1, t, T:c");
        world.says(&sync(), "Z:I");
        world.says(&[run("s", &[]), sync()].concat(), "2, D:2, C:SELECT 1, Z:I");
        // Everything at once.
        let all = [parse("", "select 3"), flush(), describe_statement(""), flush(), run("", &[]), sync()];
        world.says(&all.concat(), "1, t, T:c, 2, D:3, C:SELECT 1, Z:I");
        // What is in a transaction stays there.
        world.says(&query("begin; insert into t values (1)"), "C:BEGIN, C:INSERT 0 1, Z:T");
        world.says(&[parse("", "select 4"), flush()].concat(), "1");
        assert!(world.clients[0].session.is_attached());
        world.says(&[run("", &[]), sync()].concat(), "2, D:4, C:SELECT 1, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
    });
}

#[test]
fn behind_a_parse_that_failed_everything_is_skipped_although_its_flush_ended_the_group() {
    every_cut(|world| {
        let write = [once("insert into t values (1)"), query("insert into t values (2)"), sync()].concat();
        world.says(&[parse("", "selec"), describe_statement(""), flush()].concat(), "E:42601");
        world.says(&write, "Z:I");
        world.says(&[parse("", "selec"), flush(), write.clone()].concat(), "E:42601, Z:I");
        world.says(&[describe_statement("nope"), flush(), write].concat(), "E:26000, Z:I");
        assert!(world.database.borrow().is_empty());
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_query_within_an_open_group_ends_it() {
    every_cut(|world| {
        let all = [once("insert into t values (1)"), query("select 2"), once("select 3"), sync()].concat();
        world.says(&all, "1, 2, C:INSERT 0 1, T:c, D:2, C:SELECT 1, Z:I, 1, 2, D:3, C:SELECT 1, Z:I");
        assert_eq!(world.database.borrow().len(), 1);
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn of_several_groups_one_fails_alone() {
    every_cut(|world| {
        let group = |sql: &str| [once(sql), sync()].concat();
        let all = [group("insert into t values (1)"), group("select 1/0"), group("insert into t values (2)")]
            .concat();
        world.says(&all, "1, 2, C:INSERT 0 1, Z:I, 1, 2, E:22012, Z:I, 1, 2, C:INSERT 0 1, Z:I");
        assert_eq!(*world.database.borrow(), ["1", "2"]);
    });
}

#[test]
fn a_failed_group_fails_the_transaction_for_the_groups_behind() {
    every_cut(|world| {
        let group = |sql: &str| [once(sql), sync()].concat();
        let all =
            [group("begin"), group("select 1/0"), group("select 1"), group("rollback"), group("select 2")];
        let expected = "1, 2, C:BEGIN, Z:T, 1, 2, E:22012, Z:E, E:25P02, Z:E, \
                        1, 2, C:ROLLBACK, Z:I, 1, 2, D:2, C:SELECT 1, Z:I";
        world.says(&all.concat(), expected);
    });
}

#[test]
fn portals_with_row_limits_are_suspended_and_go_on() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        let open = [parse("", "select generate_series(1, 5)"), bind("p", "", &[]), execute("p", 2), sync()];
        world.says(&open.concat(), "1, 2, D:1, D:2, s, Z:T");
        world.says(&[execute("p", 2), sync()].concat(), "D:3, D:4, s, Z:T");
        world.says(&[describe_portal("p"), execute("p", 0), sync()].concat(), "T:n, D:5, C:SELECT 1, Z:T");
        world.says(&[close_portal("p"), execute("p", 0), sync()].concat(), "3, E:34000, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        let two = [once("select generate_series(1, 3)"), execute("", 1), sync()].concat();
        world.says(&two, "1, 2, D:1, D:2, D:3, C:SELECT 3, C:SELECT 0, Z:I");
    });
}

#[test]
fn a_suspended_portal_keeps_its_server_until_sync() {
    every_cut(|world| {
        world.rotate = true;
        let open = [parse("", "select generate_series(1, 3)"), bind("", "", &[]), execute("", 1), flush()];
        world.says(&open.concat(), "1, 2, D:1, s");
        world.says(&[execute("", 1), flush()].concat(), "D:2, s");
        world.says(&[execute("", 5), sync()].concat(), "D:3, C:SELECT 1, Z:I");
        world.says(&[execute("", 1), sync()].concat(), "E:34000, Z:I");
    });
}

#[test]
fn a_portal_bound_behind_an_unanswered_sync_is_followed() {
    every_cut(|world| {
        // The SET is bound while the group before it is outstanding, and executed after that was answered.
        let first = [once("select 1"), sync(), parse("", "set work_mem = '2MB'"), bind("", "", &[])].concat();
        world.send(&first);
        world.says(&[execute("", 0), sync()].concat(), "1, 2, D:1, C:SELECT 1, Z:I, 1, 2, C:SET, Z:I");
        assert_eq!(world.clients[0].session.settings().get("work_mem"), Some("2MB"));
    });
}

#[test]
fn syncs_alone_and_empty_statements() {
    every_cut(|world| {
        world.says(&sync(), "Z:I");
        world.says(&[flush(), sync(), sync()].concat(), "Z:I, Z:I");
        world.expect_at(0, "");
        world.says(&[once(""), sync()].concat(), "1, 2, I, Z:I");
        world.says(&[close_statement("x"), close_portal("y"), sync()].concat(), "3, 3, Z:I");
    });
}

#[test]
fn values_are_bound() {
    every_cut(|world| {
        let all = [parse("", "select $1"), run("", &["a"]), run("", &["b"]), sync()].concat();
        world.says(&all, "1, 2, D:a, C:SELECT 1, 2, D:b, C:SELECT 1, Z:I");
    });
}

#[test]
fn terminate_ends_the_session_and_cleans_the_server() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:T");
        world.send(&terminate());
        world.expect_at(0, "Q:begin, Q:select 1, Q:ROLLBACK");
        assert!(world.clients[0].server.is_none());
    });
}
