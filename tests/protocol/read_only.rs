//! Transactions that wait for their first statement, and those that go to a standby and stay there.

use super::messages::*;
use super::world::{World, every_cut};
use bellwether::routing::{Route, Target, Wishes};
use bellwether::session::PoolMode;
use bellwether::wire::error_response::PgError;

/// Adds a standby, and returns it.
fn standby(world: &mut World) -> usize {
    let standby = world.add_server(true);
    world.standby = Some(standby);
    standby
}

/// Where the first client's requests went since the last time, and why.
fn went(world: &mut World) -> Vec<(Target, &'static str)> {
    let needs = std::mem::take(&mut world.clients[0].needs);
    needs.iter().map(|need| (need.target, need.reason.name())).collect()
}

const ONE: &str = "T:c, D:1, C:SELECT 1";

#[test]
fn an_empty_transaction_needs_no_server() {
    every_cut(|world| {
        world.says(&query("BEGIN"), "C:BEGIN, Z:T");
        world.says(&query("COMMIT"), "C:COMMIT, Z:I");
        world.says(&query("start transaction isolation level serializable"), "C:START TRANSACTION, Z:T");
        world.says(&query("set transaction read only"), "C:SET, Z:T");
        world.says(&query("abort"), "C:ROLLBACK, Z:I");
        world.says(&[query("begin;"), query("end")].concat(), "C:BEGIN, Z:T, C:COMMIT, Z:I");
        world.says(&query("begin; set transaction read only"), "C:BEGIN, C:SET, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        assert_eq!(went(world), []);
        world.expect_at(0, "");
    });
}

#[test]
fn a_transaction_begins_with_its_first_statement() {
    every_cut(|world| {
        standby(world);
        world.says(&query("begin"), "C:BEGIN, Z:T");
        assert!(!world.clients[0].session.is_attached() && !world.clients[0].session.is_idle());
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.says(&query("insert into t values (1)"), "C:INSERT 0 1, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        assert_eq!(went(world), [(Target::Primary, "read_write")]);
        world.expect_at(0, "Q:begin, Q:select 1, Q:insert into t values (1), Q:commit");
        // All in one packet.
        let all = ["begin", "insert into t values (2)", "rollback"].map(query).concat();
        world.says(&all, "C:BEGIN, Z:T, C:INSERT 0 1, Z:T, C:ROLLBACK, Z:I");
        assert_eq!(*world.database.borrow(), ["1"]);
    });
}

/// Who asks for `currval()` keeps the server it writes on; a standby refuses the write, and is none to keep.
#[test]
fn a_write_that_a_standby_refuses_keeps_no_server() {
    every_cut(|world| {
        world.keeps_sequences = true;
        let standby = standby(world);
        world.says(&query("begin; set transaction read only"), "C:BEGIN, C:SET, Z:T");
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.says(&query("insert into t values (1)"), "E:25006, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        assert_eq!(world.clients[0].session.pin_names().count(), 0);
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("insert into t values (2)"), "C:INSERT 0 1, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        assert_eq!(went(world), [(Target::Standby, "read_only"), (Target::Primary, "read_write")]);
        assert_eq!(world.clients[0].session.pin_names().collect::<Vec<_>>(), ["sequence"]);
        world.expect_at(
            standby,
            "Q:begin; set transaction read only, Q:select 1, Q:insert into t values (1), Q:rollback",
        );
    });
}

#[test]
fn the_first_statement_may_be_of_the_extended_protocol() {
    every_cut(|world| {
        let standby = standby(world);
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&[once("select 1"), sync()].concat(), "1, 2, D:1, C:SELECT 1, Z:T");
        world.says(&[once("commit"), sync()].concat(), "1, 2, C:COMMIT, Z:I");
        assert_eq!(went(world), [(Target::Standby, "read_only")]);
        world.servers[standby].fake.take_log();
        world.says(&[parse("k", "select 1"), sync()].concat(), "1, Z:I");
        world.says(&[run("k", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        world.clients[0].needs.clear();
        world.says(&query("begin"), "C:BEGIN, Z:T");
        // What may write is not looked at any further: no Sync is waited for.
        world.says(&[parse("p", "select 1"), describe_statement("p"), flush()].concat(), "1, t, T:c");
        world.says(&[run("p", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        assert_eq!(went(world), [(Target::Primary, "read_write")]);
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&[parse("f", "select 1"), describe_statement("f"), flush()].concat(), "1, t, T:c");
        world.says(&[run("f", &[]), sync()].concat(), "2, D:1, C:SELECT 1, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        assert_eq!(went(world), [(Target::Standby, "read_only")]);
        // Preparing what is known needs no server, in a transaction either.
        let other = world.add_client(PoolMode::Transaction, &[]);
        world.send_as(other, &query("begin"));
        world.send_as(other, &[parse("q", "select 1"), sync()].concat());
        world.send_as(other, &sync());
        world.send_as(other, &query("commit"));
        world.expect_as(other, "C:BEGIN, Z:T, 1, Z:T, Z:T, C:COMMIT, Z:I");
    });
}

#[test]
fn read_only_transactions_go_to_a_standby_and_stay_there() {
    for begin in [
        vec!["begin read only"],
        vec!["start transaction read only, isolation level repeatable read"],
        vec!["begin", "set transaction read only"],
        vec!["begin; set transaction read only"],
        vec!["begin read write", "set transaction read only"],
        vec!["set default_transaction_read_only = on", "begin"],
        vec!["set session characteristics as transaction read only", "begin"],
        vec!["/* bellwether: standby */ begin"],
        vec!["begin", "set local bellwether.route = 'standby'"],
    ] {
        every_cut(|world| {
            let standby = standby(world);
            for sql in &begin {
                world.send(&query(sql));
            }
            world.forget();
            world.clients[0].needs.clear();
            world.says(&query("select 1"), &format!("{ONE}, Z:T"));
            world.says(&query("select * from t"), "T:a, C:SELECT 0, Z:T");
            world.says(&query("commit"), "C:COMMIT, Z:I");
            let went = went(world);
            assert_eq!((went.len(), went[0].0), (1, Target::Standby), "{begin:?}");
            world.forget();
            let _ = standby;
        });
    }
}

#[test]
fn others_go_to_the_primary() {
    for (begin, reason) in [
        (vec!["begin"], "read_write"),
        (vec!["begin read only", "set transaction read write"], "read_write"),
        (vec!["set default_transaction_read_only = on", "begin read write"], "read_write"),
        (vec!["begin read only, isolation level serializable"], "session_state"),
        (vec!["begin read only", "set transaction isolation level serializable"], "session_state"),
        (vec!["set default_transaction_isolation = 'serializable'", "begin read only"], "session_state"),
        (vec!["/* bellwether: primary */ begin read only"], "hint"),
        (vec!["begin read only", "set local bellwether.route = 'primary'"], "setting"),
        // A standby does not take these whoever asks.
        (vec!["/* bellwether: standby */ begin read write"], "read_write"),
    ] {
        every_cut(|world| {
            standby(world);
            for sql in &begin {
                world.send(&query(sql));
            }
            world.forget();
            world.clients[0].needs.clear();
            world.says(&query("select 1"), &format!("{ONE}, Z:T"));
            world.says(&query("rollback"), "C:ROLLBACK, Z:I");
            assert_eq!(went(world), [(Target::Primary, reason)], "{begin:?}");
            world.forget();
        });
    }
}

#[test]
fn the_first_statement_decides() {
    for (sql, target, reason) in [
        ("select 1", Target::Standby, "read_only"),
        ("show a.x", Target::Standby, "read_only"),
        ("declare c cursor for select * from t", Target::Standby, "read_only"),
        ("explain select * from t", Target::Standby, "read_only"),
        ("copy t to stdout", Target::Standby, "read_only"),
        ("lock table t in access share mode", Target::Standby, "read_only"),
        ("savepoint s", Target::Standby, "read_only"),
        ("set a.x = '1'", Target::Standby, "read_only"),
        ("select nothing()", Target::Primary, "function"),
        ("select pg_advisory_lock(1)", Target::Primary, "function"),
        ("select * from pg_locks", Target::Primary, "node_specific"),
        ("lock table t in row share mode", Target::Primary, "utility"),
        ("declare c cursor with hold for select * from t", Target::Primary, "session_state"),
        ("explain select nothing()", Target::Primary, "function"),
        ("copy t to '/tmp/x'", Target::Primary, "utility"),
        ("listen c", Target::Primary, "session_state"),
        ("select * from nowhere", Target::Primary, "unknown_relation"),
        ("insert into t values (1)", Target::Primary, "writes"),
        ("select 1 /* bellwether: primary */", Target::Primary, "hint"),
        ("selec", Target::Primary, "unparsed"),
        ("prepare transaction 'x'", Target::Primary, "session_state"),
    ] {
        every_cut(|world| {
            standby(world);
            world.send(&query("begin read only"));
            world.send(&query(sql));
            assert_eq!(went(world)[..1], [(target, reason)], "{sql}");
            world.clients[0].needs.clear();
            world.send(&query("rollback"));
            world.send(&query("close c"));
            world.forget();
            let _ = world.leave(0);
            world.clients[0].end = Some(super::world::End::Terminated);
            // The little server takes every cursor for one that is held.
            world.servers.iter_mut().for_each(|server| server.fake.leftovers.cursors.clear());
        });
    }
}

#[test]
fn one_text_or_group_may_be_a_whole_transaction() {
    let text = |sql: &str| query(sql);
    for (bytes, target, reason) in [
        (text("begin read only; select 1; commit"), Target::Standby, "read_only"),
        (text("begin; set transaction read only; select 1; commit"), Target::Standby, "read_only"),
        (text("begin read only; select 1"), Target::Standby, "read_only"),
        (text("begin read only; select 1; commit; select 1"), Target::Primary, "session_state"),
        (text("begin read only; commit; begin"), Target::Primary, "session_state"),
        (text("begin read only; select nothing(); commit"), Target::Primary, "function"),
        (text("begin; select 1; commit"), Target::Primary, "read_write"),
        (
            [once("begin read only"), once("select 1"), once("commit"), sync()].concat(),
            Target::Standby,
            "read_only",
        ),
        ([once("begin read only"), once("show a.x"), sync()].concat(), Target::Standby, "read_only"),
        ([once("begin read only"), once("select nothing()"), sync()].concat(), Target::Primary, "function"),
        ([once("begin"), once("select 1"), sync()].concat(), Target::Primary, "read_write"),
        ([once("begin read only"), sync()].concat(), Target::Standby, "read_only"),
    ] {
        every_cut(|world| {
            standby(world);
            world.send(&bytes);
            assert_eq!(went(world), [(target, reason)], "{}", String::from_utf8_lossy(&bytes));
            world.send(&query("rollback"));
            world.forget();
        });
    }
}

#[test]
fn what_needs_the_primary_later_on_is_refused_and_fails_the_transaction() {
    every_cut(|world| {
        let standby = standby(world);
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.says(&query("select nothing()"), "E:25006, Z:E");
        world.says(&query("select 1"), "E:25P02, Z:E");
        world.says(&query("commit"), "C:ROLLBACK, Z:I");
        world.expect_at(standby, "Q:begin read only, Q:select 1, Q:!, Q:select 1, Q:commit");
        assert_eq!(world.clients[0].session.take_refused_on_standby(), 1);
        // In the extended protocol, by name as well, and with what comes behind.
        world.says(&[parse("n", "select nothing()"), sync()].concat(), "1, Z:I");
        for refused in [once("select nothing()"), run("n", &[]), parse("", "select * from pg_locks")] {
            world.says(&query("begin read only"), "C:BEGIN, Z:T");
            world.says(&[once("select 1"), sync()].concat(), "1, 2, D:1, C:SELECT 1, Z:T");
            world.send(&[refused, bind("", "", &[]), execute("", 0), once("select 1"), sync()].concat());
            let words = world.received_by(0);
            assert!(words.iter().any(|word| word.starts_with("E:25006")), "{words:?}");
            assert_eq!(words.last().map(String::as_str), Some("Z:E"));
            world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        }
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.says(&function_call(1), "E:25006, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        // What fails on the primary as well is the standby's to refuse.
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.servers[standby].fake.take_log();
        world.says(&query("insert into t values (1)"), "E:25006, Z:E");
        world.expect_at(standby, "Q:insert into t values (1)");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        world.forget();
    });
}

#[test]
fn a_schema_change_meanwhile_is_waited_out() {
    every_cut(|world| {
        standby(world);
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&query("select * from t"), "T:a, C:SELECT 0, Z:T");
        world.coming = world.catalog.take();
        world.says(&query("select * from t"), "T:a, C:SELECT 0, Z:T");
        world.coming = world.catalog.take();
        world.says(&[once("select * from t"), sync()].concat(), "1, 2, C:SELECT 0, Z:T");
        // None comes in time.
        world.catalog = None;
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.says(&query("select * from t"), "E:25006, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
    });
}

#[test]
fn on_the_primary_for_want_of_a_standby_nothing_is_refused() {
    every_cut(|world| {
        world.says(&query("begin read only"), "C:BEGIN, Z:T");
        world.says(&query("select 1"), &format!("{ONE}, Z:T"));
        world.says(&query("select nothing()"), "T:f, D:, C:SELECT 1, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.forget();
    });
}

#[test]
fn what_is_left_on_a_standby_keeps_the_session_from_the_primary_and_says_so() {
    every_cut(|world| {
        standby(world);
        for sql in ["begin read only", "select 1", "prepare q as select 5", "commit"] {
            world.send(&query(sql));
        }
        world.forget();
        world.clients[0].needs.clear();
        world.says(&query("select 1"), &format!("{ONE}, Z:I"));
        world.says(&query("execute q"), "T:c, D:5, C:SELECT 1, Z:I");
        world.says(&query("insert into t values (1)"), "E:25006, Z:I");
        world.says(&[once("select nothing()"), sync()].concat(), "1, E:25006, Z:I");
        world.says(&query("deallocate q"), "C:DEALLOCATE, Z:I");
        world.says(&query("insert into t values (1)"), "C:INSERT 0 1, Z:I");
        assert_eq!(went(world), [(Target::Primary, "writes")]);
        world.forget();
    });
}

#[test]
fn settings_of_our_own_count_before_the_first_statement() {
    every_cut(|world| {
        standby(world);
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set local bellwether.route = 'standby'"), "C:SET, Z:T");
        world.says(&query("show bellwether.route"), "T:bellwether.route, D:standby, C:SHOW, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.says(&query("show bellwether.route"), "T:bellwether.route, D:auto, C:SHOW, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set bellwether.route = 'primary'"), "C:SET, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set bellwether.route = 'auto'"), "C:SET, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        world.says(&query("show bellwether.route"), "T:bellwether.route, D:primary, C:SHOW, Z:I");
        // An error fails the transaction, of which no server knows.
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set bellwether.route = 'up'"), "E:22023, Z:E");
        world.says(&query("show bellwether.route"), "E:25P02, Z:E");
        world.says(&query("select 1"), "E:25P02, Z:E");
        world.says(&query("commit"), "C:ROLLBACK, Z:I");
        world.says(&query("show bellwether.route"), "T:bellwether.route, D:primary, C:SHOW, Z:I");
        world.forget();
    });
}

#[test]
fn for_want_of_a_server_the_transaction_fails() {
    every_cut(|world| {
        for end in ["commit", "rollback"] {
            world.says(&query("begin"), "C:BEGIN, Z:T");
            let request = query("insert into t values (1)");
            let error = PgError::error(bellwether::pg::SqlState::CANNOT_CONNECT_NOW, "none");
            refuse(world, &request, &error);
            world.expect("E:57P03, Z:E");
            world.says(&query(end), "C:ROLLBACK, Z:I");
        }
        world.says(&query("begin"), "C:BEGIN, Z:T");
        refuse(
            world,
            &query("select 1"),
            &PgError::error(bellwether::pg::SqlState::CANNOT_CONNECT_NOW, "none"),
        );
        world.expect("E:57P03, Z:E");
        world.says(&query("select 1"), "E:25P02, Z:E");
        world.says(&[once("rollback"), sync()].concat(), "1, 2, C:ROLLBACK, Z:I");
        assert!(world.database.borrow().is_empty());
        world.forget();
    });
}

/// What the shell does when there is no server for `request`.
fn refuse(world: &mut World, request: &[u8], error: &PgError) {
    world.refuse(request, error);
}

#[test]
fn a_server_lost_with_the_first_statement_takes_the_transaction_with_it() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.servers[0].fake.stalled = true;
        world.send(&query("insert into t values (1)"));
        assert!(world.lose_server(0, None));
        world.expect("E:40001, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        assert!(world.database.borrow().is_empty());
    });
}

#[test]
fn warnings_and_chains_are_the_servers_own() {
    every_cut(|world| {
        world.says(&[query("begin"), query("begin")].concat(), "C:BEGIN, Z:T, C:BEGIN, Z:T");
        world.says(&query("commit and chain"), "C:COMMIT, Z:T");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("rollback and chain"), "C:ROLLBACK, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.says(&query("savepoint s"), "E:25P01, Z:I");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("savepoint s"), "C:SAVEPOINT, Z:T");
        world.says(&query("rollback to s"), "C:ROLLBACK, Z:T");
        world.says(&query(""), "I, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.forget();
    });
}

#[test]
fn a_client_that_is_gone_leaves_nothing() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        assert_eq!(world.leave(0), bellwether::session::Parting::Nothing);
        world.clients[0].end = Some(super::world::End::Terminated);
        world.expect_at(0, "");
    });
}

#[test]
fn behind_reads_on_a_standby_a_transaction_waits_until_that_is_given_back() {
    every_cut(|world| {
        standby(world);
        let all = ["select 1", "begin read only", "select nothing()", "commit"].map(query).concat();
        world.says(&all, &format!("{ONE}, Z:I, C:BEGIN, Z:T, T:f, D:, C:SELECT 1, Z:T, C:COMMIT, Z:I"));
        assert_eq!(went(world), [(Target::Standby, "plain_read"), (Target::Primary, "function")]);
        world.forget();
    });
}

#[test]
fn it_is_not_held_back_where_there_is_nothing_to_decide() {
    every_cut(|world| {
        let other = world.add_client(PoolMode::Session, &[]);
        world.send_as(other, &query("begin"));
        assert!(world.clients[other].session.is_attached());
        world.send_as(other, &query("commit"));
        let _ = world.leave(other);
        world.clients[other].end = Some(super::world::End::Terminated);
        world.split = false;
        world.says(&query("begin"), "C:BEGIN, Z:T");
        assert!(world.clients[0].session.is_attached());
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.split = true;
        world.clients[0].session.wish(Wishes { route: Route::Primary, ..Wishes::default() });
        let long = format!("begin /* {} */", "x".repeat(2000));
        world.says(&query(&long), "C:BEGIN, Z:T");
        assert!(world.clients[0].session.is_attached());
        world.says(&query("commit"), "C:COMMIT, Z:I");
        world.forget();
    });
}
