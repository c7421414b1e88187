//! The server of an open transaction is gone: the client is told, and goes on.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::wire::write;

/// Begins a transaction on the first server, loses it and makes the second one the primary.
fn lose_between(world: &mut World) {
    world.says(&query("begin"), "C:BEGIN, Z:T");
    world.says(&query("insert into t values (1)"), "C:INSERT 0 1, Z:T");
    assert!(world.lose_server(0, None));
    world.expect("");
    world.primary = 1;
}

/// What all must come to: a session like any other.
fn goes_on(world: &mut World) {
    world.says(&query("select 9"), "T:c, D:9, C:SELECT 1, Z:I");
    world.says(&[once("select 8"), sync()].concat(), "1, 2, D:8, C:SELECT 1, Z:I");
}

#[test]
fn what_is_outstanding_fails_and_the_block_is_to_be_ended() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.servers[0].fake.stalled = true;
        world.send(&[query("select 1"), query("select 2")].concat());
        assert!(world.lose_server(0, None));
        world.expect("E:40001, Z:E, E:25P02, Z:E");
        world.primary = 1;
        world.says(&query("select 3"), "E:25P02, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        goes_on(world);
    });
}

#[test]
fn whatever_comes_first_afterwards_is_told() {
    for (request, expected) in [
        (query("select 1"), "E:40001, Z:E"),
        (function_call(1), "E:40001, Z:E"),
        (query("rollback to s"), "E:40001, Z:E"),
        (query("commit; select 1"), "E:40001, Z:I"),
        (query("commit and chain"), "E:40001, Z:I"),
        // Its tag would be overlooked.
        (query("commit"), "E:40001, Z:I"),
        (query("rollback"), "C:ROLLBACK, Z:I"),
        ([once("select 1"), sync()].concat(), "E:40001, Z:E"),
        ([once("commit"), sync()].concat(), "E:40001, Z:E"),
    ] {
        every_cut(|world| {
            lose_between(world);
            world.says(&request, expected);
            if expected.ends_with('E') {
                world.says(&query("rollback"), "C:ROLLBACK, Z:I");
            }
            goes_on(world);
        });
    }
}

#[test]
fn once_told_it_is_like_any_failed_transaction() {
    for (request, expected) in [
        (query("commit"), "C:ROLLBACK, Z:I"),
        ([once("rollback"), sync()].concat(), "1, 2, C:ROLLBACK, Z:I"),
        ([once("commit"), sync()].concat(), "1, 2, C:ROLLBACK, Z:I"),
        (query("rollback; select 7"), "C:ROLLBACK, T:c, D:7, C:SELECT 1, Z:I"),
    ] {
        every_cut(|world| {
            lose_between(world);
            world.says(&query("select 1"), "E:40001, Z:E");
            world.says(&[once("select 2"), sync()].concat(), "E:25P02, Z:E");
            world.says(&request, expected);
            goes_on(world);
        });
    }
}

#[test]
fn a_commit_that_was_sent_is_in_doubt() {
    for (request, expected) in [
        (query("commit"), "E:08007, Z:I"),
        ([query("insert into t values (2)"), query("commit")].concat(), "E:40001, Z:E, E:25P02, Z:I"),
        ([query("commit"), query("select 1")].concat(), "E:08007, Z:I, E:08006, Z:I"),
        ([once("commit"), sync()].concat(), "E:08007, Z:I"),
        ([once("insert into t values (2)"), once("commit"), sync()].concat(), "E:08007, Z:I"),
        (query("rollback"), "E:40001, Z:I"),
    ] {
        every_cut(|world| {
            world.says(&query("begin; select 1"), "C:BEGIN, T:c, D:1, C:SELECT 1, Z:T");
            world.servers[0].fake.stalled = true;
            world.send(&request);
            world.received_by(0);
            assert!(world.lose_server(0, None));
            world.expect(expected);
            world.primary = 1;
            goes_on(world);
        });
    }
}

#[test]
fn a_group_that_is_not_ended_is_passed_over() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.servers[0].fake.stalled = true;
        world.send(&[once("select 1"), flush()].concat());
        assert!(world.lose_server(0, None));
        world.expect("E:40001");
        world.says(&[run("", &[]), query("select 1")].concat(), "");
        world.says(&sync(), "Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        goes_on(world);
    });
}

#[test]
fn settings_of_the_lost_transaction_are_undone_and_others_carried_on() {
    every_cut(|world| {
        world.says(&query("set a.x = '1'"), "C:SET, Z:I");
        world.says(&[parse("s", "select 5"), sync()].concat(), "1, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set a.x = '2'"), "C:SET, Z:T");
        // It is gone with the transaction, so nothing is lost by that.
        world.says(&query("create temp table x (a int)"), "C:CREATE TABLE, Z:T");
        assert!(world.lose_server(0, None));
        world.primary = 1;
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        world.says(&query("select current_setting('a.x')"), "T:v, D:1, C:SELECT 1, Z:I");
        world.says(&[run("s", &[]), sync()].concat(), "2, D:5, C:SELECT 1, Z:I");
    });
}

#[test]
fn servers_may_be_lost_one_after_the_other() {
    every_cut(|world| {
        lose_between(world);
        world.says(&query("select 1"), "E:40001, Z:E");
        world.says(&query("select 1"), "E:25P02, Z:E");
        assert!(world.lose_server(0, None));
        world.primary = 0;
        world.says(&query("select 1"), "E:25P02, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        goes_on(world);
    });
}

/// What a server says when a commit stops waiting for its standbys, then what follows it.
fn gave_up_waiting(after: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write::message(&mut out, b'N', |body| {
        for (field, text) in
            [(b'S', "WARNING"), (b'C', "01000"), (b'M', "canceling"), (b'R', "SyncRepWaitForLSN")]
        {
            body.push(field);
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
    });
    after.iter().for_each(|message| out.extend_from_slice(message));
    out
}

fn ends(tag: &str) -> [Vec<u8>; 2] {
    let (mut complete, mut ready) = (Vec::new(), Vec::new());
    write::command_complete(&mut complete, tag);
    write::ready_for_query(&mut ready, b'I');
    [complete, ready]
}

#[test]
fn a_commit_that_did_not_wait_is_no_success() {
    every_cut(|world| {
        for strict in [false, true] {
            if strict {
                world.clients[0].session.be_strict();
            }
            world.servers[0].fake.stalled = true;
            world.send(&query("insert into t values (1)"));
            world.servers[0].fake.inject(&gave_up_waiting(&ends("INSERT 0 1")));
            world.settle(0);
            world.expect(if strict { "E:40003, Z:I" } else { "N:01000, C:INSERT 0 1, Z:I" });
            world.servers[0].fake.stalled = false;
            goes_on(world);
        }
        // The answer to Execute has gone out before the commit at Sync.
        world.servers[0].fake.stalled = true;
        world.send(&[once("insert into t values (1)"), sync()].concat());
        let [complete, ready] = ends("INSERT 0 1");
        let before = [write::PARSE_COMPLETE, b"2\0\0\0\x04".as_slice(), &complete].concat();
        world.servers[0].fake.inject(&before);
        world.servers[0].fake.inject(&gave_up_waiting(&[ready]));
        world.settle(0);
        world.expect("1, 2, C:INSERT 0 1, E:40003, Z:I");
        world.servers[0].fake.stalled = false;
        goes_on(world);
        // And the server may go down right then.
        world.servers[0].fake.stalled = true;
        world.send(&query("insert into t values (1)"));
        world.servers[0].fake.inject(&gave_up_waiting(&[]));
        world.settle(0);
        assert!(world.lose_server(0, None));
        world.expect("E:40003, Z:I");
    });
}
