//! The parameter types of a prepared statement: what the client was told is what every server has.

use bellwether::session::PoolMode;

use super::messages::*;
use super::world::{World, every_cut};

const ONE: &str = "bellwether_0_1";
const TWO: &str = "bellwether_0_2";

const RUN: &str = "2, D:7, C:SELECT 1, Z:I";

fn told(name: &str) -> Vec<u8> {
    [parse(name, "select $1"), describe_statement(name), sync()].concat()
}

fn executed(name: &str) -> Vec<u8> {
    [run(name, &["7"]), sync()].concat()
}

/// A schema change that gives the parameter another type; the proxy may not have seen it.
fn change(world: &mut World, finds: u32, seen: bool) {
    world.servers.iter_mut().for_each(|server| server.fake.finds = finds);
    world.schema_generation += u64::from(seen);
}

#[test]
fn nothing_is_given_while_nothing_changes() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&told("s"), "1, t:25, T:c, Z:I");
        world.expect_at(0, &format!("P:{ONE}:select $1, D:S{ONE}, S"));
        world.says(&executed("s"), RUN);
        world.expect_at(1, &format!("P:{ONE}:select $1, D:S{ONE}, H, B::{ONE}, E:, S"));
        for server in [0, 1] {
            world.says(&executed("s"), RUN);
            world.expect_at(server, &format!("B::{ONE}, E:, S"));
        }
    });
}

#[test]
fn a_server_that_parses_after_a_change_is_given_what_was_told() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&told("s"), "1, t:25, T:c, Z:I");
        world.forget();
        change(world, 20, true);
        world.says(&executed("s"), RUN);
        world.expect_at(1, &format!("P:{TWO}:select $1[25], D:S{TWO}, H, B::{TWO}, E:, S"));
        world.says(&[describe_statement("s"), sync()].concat(), "t:25, T:c, Z:I");
        world.expect_at(0, &format!("P:{TWO}:select $1[25], D:S{TWO}, S"));
        for server in [1, 0] {
            world.says(&executed("s"), RUN);
            world.expect_at(server, &format!("B::{TWO}, E:, S"));
        }
    });
}

#[test]
fn sql_that_speaks_of_it_meets_the_same() {
    every_cut(|world| {
        world.says(&told("s"), "1, t:25, T:c, Z:I");
        world.forget();
        change(world, 20, true);
        world.says(&query("deallocate s"), "C:DEALLOCATE, Z:I");
        world.expect_at(0, "P:s:select $1[25], S, Q:deallocate s, C:Ss, S");
    });
}

#[test]
fn a_change_that_nobody_has_seen_is_found_out_by_asking() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&told("s"), "1, t:25, T:c, Z:I");
        world.forget();
        change(world, 20, false);
        world.says(&executed("s"), RUN);
        let asked = format!("P:{ONE}:select $1, D:S{ONE}, H");
        world.expect_at(1, &format!("{asked}, P:{TWO}:select $1[25], D:S{TWO}, H, B::{TWO}, E:, S"));
        // The same where it asks again.
        world.says(&told("t"), "1, t:25, T:c, Z:I");
        world.says(&[describe_statement("t"), sync()].concat(), "t:25, T:c, Z:I");
    });
}

#[test]
fn each_client_keeps_what_it_was_told() {
    every_cut(|world| {
        let other = world.add_client(PoolMode::Transaction, &[]);
        world.says(&told("s"), "1, t:25, T:c, Z:I");
        change(world, 20, true);
        world.forget();
        world.send_as(other, &told("s"));
        world.expect_as(other, "1, t:20, T:c, Z:I");
        world.expect_at(0, &format!("C:S{ONE}, P:{ONE}:select $1, D:S{ONE}, S"));
        world.says(&executed("s"), RUN);
        world.expect_at(0, &format!("P:{TWO}:select $1[25], D:S{TWO}, H, B::{TWO}, E:, S"));
        world.send_as(other, &executed("s"));
        world.expect_as(other, RUN);
        world.says(&[describe_statement("s"), sync()].concat(), "t:25, T:c, Z:I");
        // Whoever prepares anew is told what is found now.
        world.says(&[close_statement("s"), told("s")].concat(), "3, 1, t:20, T:c, Z:I");
    });
}

#[test]
fn whoever_never_asked_gets_what_is_found() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&[parse("s", "select $1"), sync()].concat(), "1, Z:I");
        change(world, 20, true);
        world.says(&executed("s"), RUN);
        world.expect_at(1, &format!("P:{ONE}:select $1, B::{ONE}, E:, S"));
        world.says(&[describe_statement("s"), sync()].concat(), "t:25, T:c, Z:I");
        world.forget();
        // From here on it has been told.
        world.says(&executed("s"), RUN);
        let asked = format!("D:S{ONE}, H");
        world.expect_at(1, &format!("{asked}, P:{TWO}:select $1[25], D:S{TWO}, H, B::{TWO}, E:, S"));
    });
}

#[test]
fn the_unnamed_statement_keeps_its_types_too() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&told(""), "1, t:25, T:c, Z:I");
        world.says(&executed(""), RUN);
        world.expect_at(1, "P::select $1, B::, E:, S");
        change(world, 20, true);
        world.forget();
        // Another one has the server that has it still, and leaves it with the type found now.
        let other = world.add_client(PoolMode::Transaction, &[]);
        world.send_as(other, &told(""));
        world.expect_as(other, "1, t:20, T:c, Z:I");
        world.expect_at(0, "P::select $1, D:S, S");
        world.says(&executed(""), RUN);
        world.expect_at(1, "B::, E:, S");
        world.says(&[describe_statement(""), sync()].concat(), "t:25, T:c, Z:I");
        world.forget();
        // The other one is told the same on the server that has not parsed it since.
        world.send_as(other, &[describe_statement(""), sync()].concat());
        world.expect_as(other, "t:20, T:c, Z:I");
    });
}

#[test]
fn a_server_that_refuses_the_types_says_so() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&told("s"), "1, t:25, T:c, Z:I");
        change(world, 20, true);
        world.servers[1].fake.lacks = 25;
        world.says(&executed("s"), "E:42883, Z:I");
        world.says(&executed("s"), RUN);
        world.says(&[describe_statement("s"), sync()].concat(), "E:42883, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&executed("s"), "2, D:7, C:SELECT 1, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
    });
}
