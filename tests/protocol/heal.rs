//! Reads that a standby refuses, or cancels, are run again on the primary, and the shape is remembered.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::pg::SqlState;
use bellwether::session::{Healing, PoolMode};
use bellwether::sql::{Catalog, Facts, Lists};
use bellwether::wire::error_response::PgError;

const WRITES: (&str, &str) = ("25006", "PreventCommandIfReadOnly");
const UNLOGGED: (&str, &str) = ("0A000", "get_relation_info");
const SERIALIZABLE: (&str, &str) = ("0A000", "GetSerializableTransactionSnapshot");
const CONFLICT: (&str, &str) = ("40001", "ProcessInterrupts");
const DEADLOCK: (&str, &str) = ("40P01", "ProcessInterrupts");

/// More than a shell lets wait.
const MANY: usize = 30_000;

const READ: &str = "select * from t";
const ROW: &str = "T:a, D:5, C:SELECT 1, Z:I";

/// A table of one row, and a standby that refuses to read it after `rows` rows; returns the standby.
fn refusing(world: &mut World, (code, routine): (&'static str, &'static str), rows: usize) -> usize {
    world.says(&query("insert into t values (5)"), "C:INSERT 0 1, Z:I");
    let standby = world.add_server(true);
    world.standby = Some(standby);
    world.servers[standby].fake.refuses = Some((code, routine, rows));
    standby
}

/// The reasons of all servers asked for since the table was filled.
fn reasons(world: &World) -> Vec<&'static str> {
    world.clients[0].needs[1..].iter().map(|need| need.reason.name()).collect()
}

#[test]
fn what_writes_after_all_goes_to_the_primary_and_is_remembered() {
    for (error, cause) in
        [(WRITES, Healing::Writes), (UNLOGGED, Healing::Unlogged), (SERIALIZABLE, Healing::Serializable)]
    {
        every_cut(|world| {
            let standby = refusing(world, error, 0);
            world.says(&query(READ), ROW);
            assert_eq!(world.clients[0].healed, [cause]);
            world.expect_at(standby, "Q:select * from t");
            // The next one goes there at once, whoever sends it and however.
            world.says(&query(READ), ROW);
            world.says(&[once(READ), sync()].concat(), "1, 2, D:5, C:SELECT 1, Z:I");
            let other = world.add_client(PoolMode::Transaction, &[]);
            world.send_as(other, &query("select count(*) from t"));
            assert_eq!(world.clients[other].needs[0].reason.name(), "plain_read", "another shape");
            world.expect_at(standby, "Q:select count(*) from t");
            assert_eq!(reasons(world), ["plain_read", "learned", "learned", "learned"]);
            // With the next catalog it is tried again.
            world.catalog =
                Some(Catalog::new(2, Facts::default().with_table("public", "t"), Lists::default()));
            world.servers[standby].fake.refuses = None;
            world.says(&query(READ), ROW);
            assert_eq!(reasons(world)[4], "plain_read");
            world.forget();
        });
    }
}

#[test]
fn groups_are_run_again_as_a_whole() {
    every_cut(|world| {
        let standby = refusing(world, WRITES, 0);
        let group = [parse("s", "select 1"), run("s", &[]), once(READ), sync()].concat();
        world.says(&group, "1, 2, D:1, C:SELECT 1, 1, 2, D:5, C:SELECT 1, Z:I");
        assert_eq!(world.clients[0].healed, [Healing::Writes]);
        world.expect_at(
            standby,
            "P:bellwether_0_1:select 1, B::bellwether_0_1, E:, P::select * from t, B::, E:, S",
        );
        // The name is the client's once, and only what failed was learned.
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(standby, "B::bellwether_0_1, E:, S");
        world.says(&[parse("s", "select 2"), sync()].concat(), "E:42P05, Z:I");
        world.forget();
        world.says(&[parse("t", READ), run("t", &[]), sync()].concat(), "1, 2, D:5, C:SELECT 1, Z:I");
        world.says(&[run("t", &[]), sync()].concat(), "2, D:5, C:SELECT 1, Z:I");
        world.expect_at(standby, "");
    });
}

#[test]
fn a_conflict_is_run_again_once_and_not_remembered() {
    for error in [CONFLICT, DEADLOCK] {
        every_cut(|world| {
            let standby = refusing(world, error, 0);
            world.says(&query(READ), ROW);
            world.says(&[once(READ), sync()].concat(), "1, 2, D:5, C:SELECT 1, Z:I");
            assert_eq!(world.clients[0].healed, [Healing::Conflict; 2]);
            assert_eq!(
                reasons(world),
                ["plain_read", "recovery_conflict", "plain_read", "recovery_conflict"]
            );
            // The same from the primary is the client's.
            world.servers[0].fake.refuses = Some((error.0, error.1, 0));
            world.says(&query(READ), &format!("E:{}, Z:I", error.0));
            world.servers[standby].fake.refuses = None;
            world.says(&query(READ), ROW);
        });
    }
}

#[test]
fn rows_that_went_out_cannot_be_taken_back() {
    every_cut(|world| {
        // Few rows wait for the end, and nobody has seen them.
        let standby = refusing(world, WRITES, 3);
        world.says(&query(READ), ROW);
        assert_eq!(world.clients[0].healed, [Healing::Writes]);
        // Many do not wait.
        world.servers[standby].fake.refuses = Some((CONFLICT.0, CONFLICT.1, MANY));
        world.catalog = Some(Catalog::new(2, Facts::default().with_table("public", "t"), Lists::default()));
        world.send(&query(READ));
        let words = world.received_by(0);
        assert_eq!(
            (words.len(), &*words[MANY + 1], &*words[MANY + 2]),
            (MANY + 3, "E:40001 refused here", "Z:I")
        );
        assert_eq!(world.clients[0].healed.len(), 1);
        // It is remembered all the same.
        world.servers[standby].fake.refuses = Some((WRITES.0, WRITES.1, MANY));
        world.send(&query(READ));
        assert_eq!(&*world.received_by(0)[MANY + 1], "E:25006 refused here");
        world.says(&query(READ), ROW);
    });
}

#[test]
fn what_waits_behind_runs_behind() {
    every_cut(|world| {
        refusing(world, CONFLICT, 0);
        let group = [once(READ), sync()].concat();
        // Sent when the first is answered or before: the answers come in order, and nothing is done twice.
        world.send(&query(READ));
        world.send(&[query("insert into t values (6)"), query("select 1")].concat());
        world.expect(&format!("{ROW}, C:INSERT 0 1, Z:I, T:c, D:1, C:SELECT 1, Z:I"));
        world.send(&[&group[..], &group].concat());
        let rows = "1, 2, D:5, D:6, C:SELECT 2, Z:I";
        let words = world.received_by(0).join(", ");
        // Two groups on their way at once are not taken back.
        assert!(words == format!("{rows}, {rows}") || words.contains("E:40001"), "{words}");
        assert_eq!(words.matches("Z:I").count(), 2);
    });
}

#[test]
fn only_a_proven_read_on_a_standby_outside_a_transaction_is_healed() {
    every_cut(|world| {
        refusing(world, WRITES, 0);
        // The primary's own word counts.
        world.servers[0].fake.refuses = Some((WRITES.0, WRITES.1, 0));
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query(READ), "E:25006, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        world.standby = None;
        world.says(&query(READ), "E:25006, Z:I");
        assert!(world.clients[0].healed.is_empty());
    });
    // Who wants no writes is told of them.
    every_cut(|world| {
        let standby = refusing(world, WRITES, 0);
        world.says(&query("set default_transaction_read_only = on"), "C:SET, Z:I");
        world.says(&query(READ), "E:25006, Z:I");
        world.servers[standby].fake.refuses = Some((CONFLICT.0, CONFLICT.1, 0));
        world.says(&query(READ), ROW);
        assert_eq!(world.clients[0].healed, [Healing::Conflict]);
    });
}

#[test]
fn a_standby_lost_with_its_error_said_is_left_all_the_same() {
    every_cut(|world| {
        refusing(world, WRITES, 0);
        let standby = world.standby.unwrap();
        let mut error = Vec::new();
        PgError::error(SqlState::READ_ONLY_SQL_TRANSACTION, "no").write(&mut error);
        world.servers[standby].fake.stalled = true;
        world.send(&query(READ));
        world.servers[standby].fake.inject(&error);
        world.settle(0);
        world.expect("");
        let mut fatal = Vec::new();
        PgError::fatal(SqlState::ADMIN_SHUTDOWN, "bye").write(&mut fatal);
        world.servers[standby].fake.inject(&fatal);
        world.settle(0);
        world.expect(ROW);
        assert_eq!(reasons(world), ["plain_read", "learned"]);
    });
}
