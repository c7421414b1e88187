//! The simple query protocol, and function calls.

use super::messages::*;
use super::world::every_cut;

#[test]
fn a_query_is_forwarded_and_the_server_released() {
    every_cut(|world| {
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.expect_at(0, "Q:select 1");
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn several_statements_and_none() {
    every_cut(|world| {
        world.says(&query("select 1; select 2"), "T:c, D:1, C:SELECT 1, T:c, D:2, C:SELECT 1, Z:I");
        world.says(&query(""), "I, Z:I");
        world.says(&query("select 1; select 1/0; select 2"), "T:c, D:1, C:SELECT 1, E:22012, Z:I");
        world.says(&query("selec"), "E:42601, Z:I");
    });
}

#[test]
fn a_transaction_keeps_its_server() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("insert into t values (1)"), "C:INSERT 0 1, Z:T");
        world.says(&query("select 1/0"), "E:22012, Z:E");
        world.says(&query("select 1"), "E:25P02, Z:E");
        world.says(&query("commit"), "C:ROLLBACK, Z:I");
        world.expect_at(1, "");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, "Q:select 1");
        assert!(world.database.borrow().is_empty());
    });
}

#[test]
fn pipelined_queries_are_answered_in_turn() {
    every_cut(|world| {
        let all = [query("insert into t values (1)"), query("select 1/0"), query("select 2")].concat();
        world.says(&all, "C:INSERT 0 1, Z:I, E:22012, Z:I, T:c, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn function_calls() {
    every_cut(|world| {
        world.says(&function_call(1), "V, Z:I");
        world.expect_at(0, "F, Q:<probe>");
        world.says(&function_call(0), "E:42883, Z:I");
        let all = [function_call(1), query("select 1")].concat();
        world.says(&all, "V, Z:I, T:c, D:1, C:SELECT 1, Z:I");
    });
}
