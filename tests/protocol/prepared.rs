//! Prepared statements: one identity on every server, each client's own names.

use super::messages::*;
use super::world::{Cut, World, every_cut};

const ONE: &str = "bellwether_0_1";
const TWO: &str = "bellwether_0_2";

/// Prepares `sql` under `name`.
fn prepare(world: &mut World, client: usize, name: &str, sql: &str) {
    world.send_as(client, &[parse(name, sql), sync()].concat());
    world.expect_as(client, "1, Z:I");
}

#[test]
fn a_statement_follows_its_client_to_another_server() {
    every_cut(|world| {
        world.rotate = true;
        prepare(world, 0, "s", "select 1");
        world.expect_at(0, &format!("P:{ONE}:select 1, S"));
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, &format!("P:{ONE}:select 1, B::{ONE}, E:, S"));
        world.says(&[describe_statement("s"), sync()].concat(), "t, T:c, Z:I");
        world.expect_at(0, &format!("D:S{ONE}, S"));
        // Told what rows there are, it must get no others: server 1 is asked, once.
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, &format!("D:S{ONE}, H, B::{ONE}, E:, S"));
        for server in [0, 1] {
            world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
            world.expect_at(server, &format!("B::{ONE}, E:, S"));
        }
    });
}

#[test]
fn equal_texts_are_shared_and_the_second_parse_is_ours_to_answer() {
    every_cut(|world| {
        let other = world.add_client(bellwether::session::PoolMode::Transaction, &[]);
        prepare(world, 0, "a", "select 1");
        world.forget();
        world.send_as(other, &[parse("b", "select 1"), run("b", &[]), sync()].concat());
        world.expect_as(other, "1, 2, D:1, C:SELECT 1, Z:I");
        world.expect_at(0, &format!("B::{ONE}, E:, S"));
        // Closing gives up the name, not the statement.
        world.says(&[close_statement("a"), sync()].concat(), "3, Z:I");
        world.expect_at(0, "");
        // Known to be sound, it needs no server to be prepared again; after a change of the schema it does.
        world.says(&[parse("a", "select 1"), sync()].concat(), "1, Z:I");
        world.expect_at(0, "");
        world.says(&[close_statement("a"), parse("c", "select 1"), sync()].concat(), "3, 1, Z:I");
        world.expect_at(0, "");
        world.schema_generation += 1;
        world.says(&[parse("d", "select 1"), sync()].concat(), "1, Z:I");
        world.expect_at(0, &format!("C:S{ONE}, P:{ONE}:select 1, S"));
        world.says(&[run("a", &[]), sync()].concat(), "E:26000, Z:I");
        world.send_as(other, &[run("b", &[]), sync()].concat());
        world.expect_as(other, "2, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn control_of_transactions_is_prepared_without_a_server() {
    // A Parse whose Sync has not come yet is not waited with.
    let mut world = World::new(Cut::Whole);
    prepare(&mut world, 0, "b", "begin");
    prepare(&mut world, 0, "c", "commit");
    world.expect_at(0, "");
    world.says(&[run("b", &[]), sync()].concat(), "2, C:BEGIN, Z:T");
    world.expect_at(0, &format!("P:{ONE}:begin, B::{ONE}, E:, S"));
    world.says(&[run("c", &[]), sync()].concat(), "2, C:COMMIT, Z:I");
    world.check();
}

#[test]
fn fabricated_answers_stand_in_turn_and_vanish_behind_an_error() {
    every_cut(|world| {
        prepare(world, 0, "a", "select 1");
        let behind = [once("select 1/0"), parse("b", "select 1"), close_statement("a"), sync()].concat();
        world.says(&behind, "1, 2, E:22012, Z:I");
        // Neither was done.
        world.says(&[run("a", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.says(&[run("b", &[]), sync()].concat(), "E:26000, Z:I");
        let amid = [once("select 2"), parse("b", "select 1"), close_statement("b"), run("a", &[]), sync()];
        world.says(&amid.concat(), "1, 2, D:2, C:SELECT 1, 1, 3, 2, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn nothing_is_fabricated_within_a_failed_transaction() {
    every_cut(|world| {
        prepare(world, 0, "a", "select 1");
        prepare(world, 0, "r", "rollback");
        world.says(&query("begin; select 1/0"), "C:BEGIN, E:22012, Z:E");
        world.says(&[parse("b", "select 1"), sync()].concat(), "E:25P02, Z:E");
        world.says(&[parse("a", "select 1"), sync()].concat(), "E:25P02, Z:E");
        world.says(&[run("a", &[]), sync()].concat(), "E:25P02, Z:E");
        world.says(&[close_statement("a"), sync()].concat(), "3, Z:E");
        world.says(&[parse("q", "rollback"), run("q", &[]), sync()].concat(), "1, 2, C:ROLLBACK, Z:I");
        world.says(&[parse("b", "select 1"), run("b", &[]), sync()].concat(), "1, 2, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_transaction_that_fails_within_the_pipeline_refuses_known_statements_too() {
    every_cut(|world| {
        prepare(world, 0, "a", "select 1");
        let group = |bytes: Vec<u8>| [bytes, sync()].concat();
        let all = [
            group(once("begin")),
            group(once("select 1/0")),
            group(parse("b", "select 1")),
            group(once("rollback")),
            group([parse("b", "select 1"), run("b", &[])].concat()),
        ];
        let expected = "1, 2, C:BEGIN, Z:T, 1, 2, E:22012, Z:E, E:25P02, Z:E, 1, 2, C:ROLLBACK, Z:I, \
                        1, 2, D:1, C:SELECT 1, Z:I";
        world.says(&all.concat(), expected);
    });
}

#[test]
fn duplicate_and_unknown_names_are_refused_in_postgresql_words() {
    every_cut(|world| {
        prepare(world, 0, "s", "select 1");
        world.send(&[parse("s", "select 2"), run("s", &[]), sync()].concat());
        let words = world.received_by(0);
        assert_eq!(words, ["E:42P05 prepared statement \"s\" already exists", "Z:I"]);
        world.send(&[bind("", "nope", &[]), sync()].concat());
        let words = world.received_by(0);
        assert_eq!(words, ["E:26000 prepared statement \"nope\" does not exist", "Z:I"]);
        // What the server would have looked at first.
        world.says(&[parse("s", "selec"), sync()].concat(), "E:42601, Z:I");
        world.says(&query("begin; select 1/0"), "C:BEGIN, E:22012, Z:E");
        world.says(&[parse("s", "select 2"), sync()].concat(), "E:25P02, Z:E");
        world.says(&[bind("", "nope", &[]), sync()].concat(), "E:26000, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        // A refused Parse fails a transaction as any other.
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&[parse("s", "select 2"), sync()].concat(), "E:42P05, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
    });
}

#[test]
fn names_of_ours_are_nobodys() {
    every_cut(|world| {
        prepare(world, 0, "s", "select 1");
        world.says(&[run(ONE, &[]), sync()].concat(), "E:26000, Z:I");
        world.says(&[describe_statement(ONE), sync()].concat(), "E:26000, Z:I");
        world.says(&[close_statement(ONE), sync()].concat(), "3, Z:I");
        world.says(&[parse(ONE, "select 2"), run(ONE, &[]), sync()].concat(), "1, 2, D:2, C:SELECT 1, Z:I");
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn the_unnamed_statement_lives_until_the_next_query() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&[parse("", "select 1"), sync()].concat(), "1, Z:I");
        world.says(&[run("", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.expect_at(1, "P::select 1, B::, E:, S");
        world.says(&query("select 2"), "T:c, D:2, C:SELECT 1, Z:I");
        world.says(&[run("", &[]), sync()].concat(), "E:26000, Z:I");
        world.says(
            &[parse("", "select 1"), close_statement(""), run("", &[]), sync()].concat(),
            "1, 3, E:26000, Z:I",
        );
        world.says(&[describe_statement(""), sync()].concat(), "E:26000, Z:I");
    });
}

#[test]
fn the_unnamed_statement_of_another_client_cannot_be_used() {
    every_cut(|world| {
        let other = world.add_client(bellwether::session::PoolMode::Transaction, &[]);
        world.says(&[parse("", "select 'secret'"), sync()].concat(), "1, Z:I");
        for bytes in [run("", &[]), describe_statement("")] {
            world.send_as(other, &[bytes, sync()].concat());
            assert_eq!(
                world.received_by(other),
                ["E:26000 unnamed prepared statement does not exist", "Z:I"]
            );
        }
        // Nor when our own was to come with a group that failed.
        world.says(&[parse("", "select 'secret'"), sync()].concat(), "1, Z:I");
        let all = [bind("", "nope", &[]), parse("", "select 2"), sync(), run("", &[]), sync()].concat();
        world.send_as(other, &all);
        world.expect_as(other, "E:26000, Z:I, E:26000, Z:I");
    });
}

#[test]
fn a_failed_parse_of_the_unnamed_statement_drops_the_old_one() {
    every_cut(|world| {
        world.says(&[parse("", "select 1"), sync()].concat(), "1, Z:I");
        world.says(&[parse("", "selec"), sync()].concat(), "E:42601, Z:I");
        world.says(&[run("", &[]), sync()].concat(), "E:26000, Z:I");
        world.says(&[parse("", "select 1"), sync()].concat(), "1, Z:I");
        // Skipped is not failed: neither the Parse nor the Query was looked at.
        let skipped = [bind("", "nope", &[]), parse("", "select 2"), query("select 3"), sync()].concat();
        world.says(&skipped, "E:26000, Z:I");
        world.says(&[run("", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn registrations_skipped_with_an_error_are_undone() {
    every_cut(|world| {
        let all = [bind("", "nope", &[]), parse("a", "select 1"), parse("b", "select 2"), sync()].concat();
        world.says(&all, "E:26000, Z:I");
        world.says(&[run("a", &[]), sync()].concat(), "E:26000, Z:I");
        let again = [parse("a", "select 1"), parse("b", "select 2"), run("b", &[]), sync()].concat();
        world.says(&again, "1, 1, 2, D:2, C:SELECT 1, Z:I");
        world.says(&[parse("c", "selec"), sync()].concat(), "E:42601, Z:I");
        world.says(&[parse("c", "select 3"), run("c", &[]), sync()].concat(), "1, 2, D:3, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_name_from_a_group_that_fails_is_unknown_to_the_group_behind() {
    every_cut(|world| {
        let all = [
            bind("", "nope", &[]),
            parse("a", "select 1"),
            sync(),
            run("a", &[]),
            sync(),
            once("select 2"),
            sync(),
        ];
        world.says(&all.concat(), "E:26000, Z:I, E:26000, Z:I, 1, 2, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_statement_put_before_a_group_that_fails_is_there_for_the_group_behind() {
    every_cut(|world| {
        world.rotate = true;
        prepare(world, 0, "s", "select 1");
        // The next server does not have it; the first group fails before it is told.
        let all = [bind("", "nope", &[]), run("s", &[]), sync(), run("s", &[]), sync()].concat();
        world.says(&all, "E:26000, Z:I, 2, D:1, C:SELECT 1, Z:I");
        for _ in 0..3 {
            world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        }
    });
}

#[test]
fn the_statement_used_longest_ago_makes_room() {
    every_cut(|world| {
        world.prepared_limit = 2;
        prepare(world, 0, "a", "select 1");
        prepare(world, 0, "b", "select 2");
        world.says(&[run("a", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.forget();
        prepare(world, 0, "c", "select 3");
        world.expect_at(0, &format!("C:S{TWO}, P:bellwether_0_3:select 3, S"));
        world.says(&[run("b", &[]), sync()].concat(), "2, D:2, C:SELECT 1, Z:I");
        assert_eq!(world.servers[0].fake.prepared.len(), 2);
        // Closed in vain: the error comes first.
        world.says(&[bind("", "nope", &[]), run("a", &[]), sync()].concat(), "E:26000, Z:I");
        for (name, row) in [("a", 1), ("b", 2), ("c", 3), ("a", 1)] {
            world.says(&[run(name, &[]), sync()].concat(), &format!("2, D:{row}, C:SELECT 1, Z:I"));
            assert!(world.servers[0].fake.prepared.len() <= 3);
        }
    });
}

#[test]
fn room_is_made_within_a_pipeline_whose_groups_fail() {
    every_cut(|world| {
        world.prepared_limit = 1;
        prepare(world, 0, "a", "select 1");
        prepare(world, 0, "b", "select 2");
        let fails = |name: &str| [bind("", "nope", &[]), run(name, &[]), sync()].concat();
        let works = |name: &str| [run(name, &[]), sync()].concat();
        let all = [fails("a"), works("b"), fails("a"), works("a"), works("b"), works("a")].concat();
        let (no, a, b) = ("E:26000, Z:I", "2, D:1, C:SELECT 1, Z:I", "2, D:2, C:SELECT 1, Z:I");
        world.says(&all, &[no, b, no, a, b, a].join(", "));
    });
}

#[test]
fn deallocate_by_name_and_all() {
    every_cut(|world| {
        prepare(world, 0, "a", "select 1");
        prepare(world, 0, "b", "select 2");
        world.says(&query("deallocate a"), "C:DEALLOCATE, Z:I");
        world.says(&[run("a", &[]), sync()].concat(), "E:26000, Z:I");
        world.says(&[run("b", &[]), sync()].concat(), "2, D:2, C:SELECT 1, Z:I");
        world.says(&query("deallocate a"), "E:26000, Z:I");
        prepare(world, 0, "a", "select 3");
        world.says(&[once("deallocate a"), sync()].concat(), "1, 2, C:DEALLOCATE, Z:I");
        // All at once, with what comes behind prepared anew.
        let all = [query("deallocate all"), parse("b", "select 2"), run("b", &[]), sync()].concat();
        world.says(&all, "C:DEALLOCATE ALL, Z:I, 1, 2, D:2, C:SELECT 1, Z:I");
        world.says(&[run("b", &[]), sync()].concat(), "2, D:2, C:SELECT 1, Z:I");
        let within = [once("deallocate all"), parse("b", "select 2"), run("b", &[]), sync()].concat();
        world.says(&within, "1, 2, C:DEALLOCATE ALL, 1, 2, D:2, C:SELECT 1, Z:I");
        let all = [query("discard all"), parse("b", "select 2"), run("b", &[]), sync()].concat();
        world.says(&all, "C:DISCARD ALL, Z:I, 1, 2, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn an_execute_is_shared_with_nobody() {
    every_cut(|world| {
        let other = world.add_client(bellwether::session::PoolMode::Transaction, &[]);
        // Parsed where there is no such name, it would return nothing for ever.
        prepare(world, 0, "e", "execute s");
        world.forget();
        prepare(world, other, "s", "select 1");
        world.forget();
        world.send_as(other, &[parse("e", "execute s"), sync()].concat());
        world.expect_as(other, "1, Z:I");
        let words = world.servers[0].fake.take_log().join(", ");
        assert!(words.starts_with("P:bellwether_0_") && words.ends_with(":execute s, S"), "{words}");
    });
}

#[test]
fn sql_execute_finds_a_protocol_level_statement() {
    every_cut(|world| {
        prepare(world, 0, "s", "select 1");
        world.says(&query("execute s"), "T:c, D:1, C:SELECT 1, Z:I");
        world.says(&[once("execute s"), sync()].concat(), "1, 2, D:1, C:SELECT 1, Z:I");
        let failing = [once("execute s"), once("select 1/0"), sync()].concat();
        world.says(&failing, "1, 2, D:1, C:SELECT 1, 1, 2, E:22012, Z:I");
        assert_eq!(world.servers[0].fake.prepared.keys().collect::<Vec<_>>(), [ONE]);
        world.says(&query("prepare s as select 2"), "E:42P05, Z:I");
        world.says(&query("execute nope"), "E:26000, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("execute s"), "T:c, D:1, C:SELECT 1, Z:T");
        world.says(&query("select 1/0"), "E:22012, Z:E");
        world.says(&query("execute s"), "E:25P02, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        assert_eq!(world.servers[0].fake.prepared.keys().collect::<Vec<_>>(), [ONE]);
    });
}

#[test]
fn protocol_bind_finds_a_statement_prepared_by_sql() {
    every_cut(|world| {
        world.rotate = true;
        world.says(&query("prepare s as select 1"), "C:PREPARE, Z:I");
        world.says(&[run("s", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.says(&[parse("s", "select 2"), sync()].concat(), "E:42P05, Z:I");
        world.says(&[close_statement("s"), sync()].concat(), "3, Z:I");
        assert_eq!(world.clients[0].session.pin_names().count(), 0);
        world.says(&[parse("s", "select 2"), run("s", &[]), sync()].concat(), "1, 2, D:2, C:SELECT 1, Z:I");
    });
}

#[test]
fn a_schema_change_makes_shared_statements_parsed_again() {
    every_cut(|world| {
        prepare(world, 0, "a", "select * from t");
        world.schema_generation = 1;
        world.forget();
        prepare(world, 0, "b", "select * from t");
        world.expect_at(0, &format!("C:S{ONE}, P:{ONE}:select * from t, S"));
        world.says(&[run("a", &[]), run("b", &[]), sync()].concat(), "2, C:SELECT 0, 2, C:SELECT 0, Z:I");
        world.expect_at(0, &format!("B::{ONE}, E:, B::{ONE}, E:, S"));
        world.says(&query("alter table t add b int"), "C:ALTER TABLE, Z:I");
        assert!(world.clients[0].session.take_schema_changed());
    });
}

#[test]
fn an_outdated_plan_is_healed_unseen() {
    every_cut(|world| {
        prepare(world, 0, "a", "select * from t");
        world.servers[0].fake.outdate();
        let all = [parse("b", "select * from t"), describe_statement("b"), run("b", &[]), sync()].concat();
        world.says(&all, "1, t, T:a, 2, C:SELECT 0, Z:I");
        world.servers[0].fake.outdate();
        world.says(&[run("a", &[]), sync()].concat(), "2, C:SELECT 0, Z:I");
        assert_eq!(world.clients[0].replays, 2);
        // The unnamed one as well, and a second statement of the same group.
        world.says(&[parse("", "select * from t"), sync()].concat(), "1, Z:I");
        world.servers[0].fake.outdate();
        world.says(&[run("", &[]), run("a", &[]), sync()].concat(), "2, C:SELECT 0, 2, C:SELECT 0, Z:I");
        assert!(!world.clients[0].session.is_attached());
    });
}

#[test]
fn whoever_was_told_of_a_portals_rows_is_told_when_they_change() {
    every_cut(|world| {
        prepare(world, 0, "a", "select * from t");
        // As pgjdbc does: the first execution describes the portal, later ones believe that.
        let described = [bind("", "a", &[]), describe_portal(""), execute("", 0), sync()].concat();
        world.says(&described, "2, T:a, C:SELECT 0, Z:I");
        world.servers[0].fake.outdate();
        world.says(&[run("a", &[]), sync()].concat(), "E:0A000, Z:I");
        // As libpq does: each execution asks, and is refused as well.
        world.says(&described, "2, T:a, C:SELECT 0, Z:I");
        world.servers[0].fake.outdate();
        world.says(&described, "E:0A000, Z:I");
        assert_eq!(world.clients[0].replays, 0);
        // Whoever prepares anew is served.
        world.servers[0].fake.outdate();
        let anew = [close_statement("a"), parse("a", "select * from t"), run("a", &[]), sync()].concat();
        world.says(&anew, "3, 1, 2, C:SELECT 0, Z:I");
    });
}

#[test]
fn an_outdated_plan_is_told_where_it_cannot_be_healed() {
    every_cut(|world| {
        prepare(world, 0, "a", "select * from t");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.servers[0].fake.outdate();
        world.says(&[run("a", &[]), sync()].concat(), "E:0A000, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        // No later one meets it again.
        world.says(&[run("a", &[]), sync()].concat(), "2, C:SELECT 0, Z:I");
        // What is answered, or committed, is not run again.
        world.servers[0].fake.outdate();
        let behind = [once("insert into t values (1)"), sync(), run("a", &[]), sync()].concat();
        world.send(&behind);
        let words = world.received_by(0);
        assert_eq!(words[..4], ["1", "2", "C:INSERT 0 1", "Z:I"]);
        assert_eq!(*world.database.borrow(), ["1"]);
        world.says(&[run("a", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.servers[0].fake.outdate();
        let all = [once("insert into t values (2)"), once("commit"), run("a", &[]), sync()].concat();
        world.says(&all, "1, 2, C:INSERT 0 1, 1, 2, C:COMMIT, E:0A000, Z:I");
        assert_eq!(*world.database.borrow(), ["1", "2"]);
    });
}

#[test]
fn a_statement_deallocated_behind_our_back_is_prepared_again() {
    every_cut(|world| {
        prepare(world, 0, "a", "select 1");
        world.servers[0].fake.prepared.clear();
        world.says(&[run("a", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
    });
}

#[test]
fn texts_parsed_under_other_settings_are_not_shared() {
    every_cut(|world| {
        let other = world.add_client(bellwether::session::PoolMode::Transaction, &[("search_path", "other")]);
        prepare(world, 0, "a", "select 1");
        prepare(world, other, "a", "select 1");
        assert_eq!(world.servers[0].fake.prepared.len(), 2);
        world.says(&query("set work_mem = '1MB'"), "C:SET, Z:I");
        prepare(world, 0, "b", "select 1");
        assert_eq!(world.servers[0].fake.prepared.len(), 2);
        // In the same breath, and for one transaction only.
        let all = [query("set timezone = 'Asia/Tokyo'"), parse("c", "select 1"), sync()].concat();
        world.says(&all, "C:SET, S:TimeZone=Asia/Tokyo, Z:I, 1, Z:I");
        assert_eq!(world.servers[0].fake.prepared.len(), 3);
        world.says(&query("begin; set local search_path = 'x'"), "C:BEGIN, C:SET, Z:T");
        world.says(&[parse("d", "select 1"), sync()].concat(), "1, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        assert_eq!(world.servers[0].fake.prepared.len(), 4);
    });
}
