//! State that cannot be carried keeps its server, as long as it is there and no longer.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::session::{Parting, PoolMode};

#[track_caller]
fn pins(world: &World, expected: &[&str]) {
    let found: Vec<_> = world.clients[0].session.pin_names().collect();
    assert_eq!(found, expected);
    assert_eq!(world.clients[0].session.is_attached(), !expected.is_empty());
}

/// Runs `sets`, checks that it pins, runs `clears`, checks that it does no more.
fn pinned_until(pin: &str, sets: &str, clears: &str) {
    every_cut(|world| {
        world.send(&query(sets));
        pins(world, &[pin]);
        world.send(&query("select 1"));
        pins(world, &[pin]);
        world.forget();
        world.send(&query(clears));
        pins(world, &[]);
        world.forget();
        world.send(&query(sets));
        pins(world, &[pin]);
        world.send(&query("discard all"));
        pins(world, &[]);
        world.received_by(0);
    });
}

#[test]
fn each_kind_is_set_and_released() {
    pinned_until("temp_object", "create temp table x (a int)", "drop table x");
    pinned_until("temp_object", "select f()", "drop table hidden");
    pinned_until("advisory_lock", "select pg_advisory_lock(1)", "select pg_advisory_unlock(1)");
    pinned_until("listen", "listen c", "unlisten *");
    pinned_until("hold_cursor", "declare c cursor with hold for select 1", "close c");
    pinned_until("sql_prepared", "prepare s as select 1", "deallocate s");
    pinned_until("sql_prepared", "prepare s as select 1", "deallocate all");
}

#[test]
fn kinds_that_no_server_tells_last_until_discard_all() {
    for (pin, sql) in [
        ("sequence", "select currval('s')"),
        ("random_seed", "select setseed(0.5)"),
        ("dblink", "select dblink_connect('x')"),
        ("untracked_setting", "select set_config(a, b, false) from t"),
    ] {
        every_cut(|world| {
            world.send(&query(sql));
            let found: Vec<_> = world.clients[0].session.pin_names().collect();
            assert_eq!(found, [pin], "{sql}");
            world.send(&query("select 1"));
            assert!(world.clients[0].session.is_attached());
            if pin != "dblink" {
                world.send(&query("discard all"));
                pins(world, &[]);
            }
            world.received_by(0);
        });
    }
}

#[test]
fn the_server_is_asked_only_when_there_is_something_to_ask() {
    every_cut(|world| {
        for sql in ["select 1", "insert into t values (1)", "begin", "select 1", "commit", "discard all"] {
            world.send(&query(sql));
        }
        let quiet = "Q:select 1, Q:insert into t values (1), Q:begin, Q:select 1, Q:commit, Q:discard all";
        world.expect_at(0, quiet);
        world.send(&query("create temp table x (a int)"));
        world.expect_at(0, "Q:create temp table x (a int), Q:<probe>");
        world.send(&query("create temp table y (a int)"));
        world.send(&query("select 1"));
        world.expect_at(0, "Q:create temp table y (a int), Q:select 1");
        world.send(&query("drop table x"));
        world.expect_at(0, "Q:drop table x, Q:<probe>");
        pins(world, &["temp_object"]);
        world.send(&query("drop table y"));
        pins(world, &[]);
        // Once for a transaction, after it.
        world.forget();
        world.send(&query("begin"));
        world.send(&query("select f()"));
        world.send(&query("select nothing()"));
        world.expect_at(0, "Q:begin, Q:select f(), Q:select nothing()");
        world.send(&query("commit"));
        world.expect_at(0, "Q:commit, Q:<probe>");
        world.send(&query("discard all"));
        world.expect_at(0, "Q:discard all");
        world.send(&[close_statement("nope"), close_statement(""), sync()].concat());
        world.expect_at(0, "C:Snope, C:S, S");
        world.forget();
    });
}

#[test]
fn nothing_left_is_no_pin() {
    every_cut(|world| {
        world.send(&query("select nothing()"));
        world.expect_at(0, "Q:select nothing(), Q:<probe>");
        pins(world, &[]);
        world.forget();
    });
}

#[test]
fn what_a_failed_or_suspended_statement_leaves_is_found() {
    every_cut(|world| {
        world.says(&query("select pg_advisory_lock(1), 1/0"), "E:22012, Z:I");
        pins(world, &["advisory_lock"]);
        world.send(&query("discard all"));
        world.send(&[once("select pg_advisory_lock(1), 1/0"), sync()].concat());
        pins(world, &["advisory_lock"]);
        world.send(&query("discard all"));
        let limited = [parse("", "select pg_advisory_lock(1)"), bind("", "", &[]), execute("", 1), sync()];
        world.send(&limited.concat());
        pins(world, &["advisory_lock"]);
        world.send(&query("discard all"));
        pins(world, &[]);
        world.forget();
        // A text nobody can read leaves nothing.
        world.says(&query("selec"), "E:42601, Z:I");
        world.expect_at(0, "Q:selec");
    });
}

#[test]
fn a_probe_of_ours_is_not_seen_and_holds_the_next_request() {
    every_cut(|world| {
        let all =
            [query("select f()"), query("select 2"), query("drop table hidden"), query("select 3")].concat();
        world.says(
            &all,
            "T:f, D:, C:SELECT 1, Z:I, T:c, D:2, C:SELECT 1, Z:I, C:DROP TABLE, Z:I, T:c, D:3, C:SELECT 1, Z:I",
        );
        pins(world, &[]);
    });
}

#[test]
fn notifications_come_through_while_listening() {
    every_cut(|world| {
        world.send(&query("listen c"));
        world.received_by(0);
        world.says(&query("notify c"), "A:c, C:NOTIFY, Z:I");
        world.servers[0].fake.inject(&super::fake::notification("c"));
        world.settle(0);
        world.expect("A:c");
        world.servers[0].fake.inject(&super::fake::notice("by the way"));
        world.settle(0);
        world.expect("N:00000");
        world.send(&query("unlisten *"));
        pins(world, &[]);
        world.forget();
    });
}

#[test]
fn a_client_that_leaves_takes_its_state_along() {
    let cases = [
        ("", Parting::Nothing, ""),
        ("select 1", Parting::Nothing, ""),
        ("set a.x = '1'", Parting::Nothing, ""),
        ("begin", Parting::Nothing, ""),
        ("begin; select 1", Parting::Clean, "Q:ROLLBACK"),
        ("create temp table x (a int)", Parting::Clean, "Q:DISCARD ALL"),
        ("begin; listen c", Parting::Clean, "Q:ROLLBACK, Q:DISCARD ALL"),
        ("begin; select 1/0", Parting::Clean, "Q:ROLLBACK"),
        ("select setseed(0.5)", Parting::Close { running: false }, ""),
        ("copy t from stdin", Parting::Close { running: true }, ""),
    ];
    for (sql, expected, sent) in cases {
        every_cut(|world| {
            if !sql.is_empty() {
                world.send(&query(sql));
            }
            world.forget();
            assert_eq!(world.leave(0), expected, "{sql}");
            world.expect_at(0, sent);
            world.clients.clear();
            let next = world.add_client(PoolMode::Transaction, &[]);
            world.send_as(next, &query("select current_setting('a.x')"));
            world.expect_as(next, "T:v, D:, C:SELECT 1, Z:I");
            assert_eq!(world.servers[0].fake.leftovers, Default::default());
        });
    }
}

#[test]
fn prepared_statements_are_gone_with_the_cleaning() {
    every_cut(|world| {
        world.send(&[parse("s", "select 1"), sync()].concat());
        world.send(&query("create temp table x (a int)"));
        assert_eq!(world.leave(0), Parting::Clean);
        assert!(world.servers[0].fake.prepared.is_empty());
        let next = world.add_client(PoolMode::Transaction, &[]);
        world.send_as(next, &[parse("s", "select 1"), run("s", &[]), sync()].concat());
        world.expect_as(next, "1, 2, D:1, C:SELECT 1, Z:I");
        world.clients[0].end = Some(super::world::End::Terminated);
    });
}

#[test]
fn a_client_that_leaves_within_a_group_costs_its_server() {
    every_cut(|world| {
        world.send(&[once("insert into t values (1)"), flush()].concat());
        assert_eq!(world.leave(0), Parting::Close { running: false });
        assert!(world.database.borrow().is_empty());
    });
}
