//! Sessions of the read-only endpoint.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::routing::Target;
use bellwether::session::PoolMode;

/// Makes the first client one of the read-only endpoint, and adds a standby; returns that.
fn read_only(world: &mut World) -> usize {
    world.clients.clear();
    let client = world.add_client(PoolMode::Transaction, &[("default_transaction_read_only", "on")]);
    world.read_only(client, "Port 6432 takes writes.");
    let standby = world.add_server(true);
    world.standby = Some(standby);
    standby
}

fn went(world: &mut World) -> Vec<(Target, &'static str)> {
    let needs = std::mem::take(&mut world.clients[0].needs);
    needs.iter().map(|need| (need.target, need.reason.name())).collect()
}

#[test]
fn everything_goes_to_a_standby_whatever_it_asks_for() {
    for (bytes, reason) in [
        (query("select 1"), "asked_read"),
        (query("select nothing()"), "endpoint"),
        (query("/* bellwether: primary */ select 1"), "asked_read"),
        (query("insert into t values (1)"), "endpoint"),
        (query("selec"), "endpoint"),
        (query("begin; select 1; commit"), "endpoint"),
        ([once("select nothing()"), once("select 1"), sync()].concat(), "endpoint"),
        (function_call(1), "endpoint"),
        ([parse("", "select 1"), flush()].concat(), "asked_read"),
        ([once("select 1"), flush()].concat(), "endpoint"),
    ] {
        every_cut(|world| {
            read_only(world);
            world.send(&query("set bellwether.route = 'primary'"));
            world.send(&bytes);
            assert_eq!(went(world), [(Target::Standby, reason)], "{}", String::from_utf8_lossy(&bytes));
            world.send(&sync());
            world.forget();
        });
    }
}

#[test]
fn writes_are_refused_by_the_standby_and_the_hint_says_where_they_go() {
    every_cut(|world| {
        read_only(world);
        for bytes in [query("insert into t values (1)"), [once("insert into t values (1)"), sync()].concat()]
        {
            world.send(&bytes);
            let raw = world.clients[0].take_raw();
            let text = String::from_utf8_lossy(&raw);
            assert!(text.contains("C25006") && text.contains("HPort 6432 takes writes.\0"), "{text}");
        }
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("select nothing()"), "T:f, D:, C:SELECT 1, Z:T");
        world.says(&query("insert into t values (1)"), "E:25006, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        assert!(world.clients[0].healed.is_empty());
        world.forget();
    });
}

#[test]
fn nobody_may_write_where_the_primary_serves_for_want_of_a_standby() {
    every_cut(|world| {
        read_only(world);
        world.standby = None;
        for sql in [
            "set default_transaction_read_only = off",
            "set default_transaction_read_only to 'false'",
            "begin read write",
            "begin; set transaction read write",
            "select set_config('default_transaction_read_only', 'no', false)",
        ] {
            world.send(&query(sql));
            let words = world.received_by(0);
            assert!(words.iter().any(|word| word.starts_with("E:25006")), "{sql}: {words:?}");
            world.send(&query("rollback"));
            world.forget();
        }
        world.send(
            &[
                parse("w", "set default_transaction_read_only = off"),
                bind("", "w", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        );
        assert!(world.received_by(0).iter().any(|word| word.starts_with("E:25006")));
        world.says(&query("show default_transaction_read_only"), "T:v, D:on, C:SELECT 1, Z:I");
        assert!(world.database.borrow().is_empty());
    });
}

#[test]
fn a_session_that_keeps_one_server_keeps_a_standby() {
    every_cut(|world| {
        read_only(world);
        world.clients.clear();
        let client = world.add_client(PoolMode::Session, &[]);
        world.read_only(client, "Port 6432 takes writes.");
        world.says(&query("select nothing()"), "T:f, D:, C:SELECT 1, Z:I");
        assert_eq!(went(world), [(Target::Standby, "endpoint")]);
        let _ = world.leave(client);
        world.clients[client].end = Some(super::world::End::Terminated);
    });
}
