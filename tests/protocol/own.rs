//! The proxy's own settings and EXPLAIN ROUTE: answered as PostgreSQL answers, in turn, and hidden from servers.

use bellwether::routing::{Route, Wishes};
use bellwether::session::PoolMode;

use super::messages::*;
use super::world::{World, every_cut};

const ROUTE: &str = "show bellwether.route";

/// Checks what route holds, outside a transaction.
#[track_caller]
fn is(world: &mut World, route: &str) {
    world.says(&query(ROUTE), &format!("T:bellwether.route, D:{route}, C:SHOW, Z:I"));
}

/// Checks that no server heard of any of it.
#[track_caller]
fn unheard(world: &mut World) {
    for server in &mut world.servers {
        assert!(
            server.fake.settings.differing().is_empty(),
            "a server has {:?}",
            server.fake.settings.differing()
        );
        let log = server.fake.take_log().join(", ");
        assert!(!log.contains("bellwether.r"), "a server heard {log}");
    }
}

#[test]
fn an_idle_session_is_answered_without_a_server() {
    every_cut(|world| {
        is(world, "auto");
        world.says(&query("SET bellwether.route = 'Primary'"), "C:SET, Z:I");
        is(world, "primary");
        assert_eq!(world.clients[0].session.wishes().route, Route::Primary);
        world.says(&query("reset bellwether.route"), "C:RESET, Z:I");
        is(world, "auto");
        world.says(
            &query("select set_config('bellwether.route', 'standby', false) as x"),
            "T:x, D:standby, C:SELECT 1, Z:I",
        );
        is(world, "standby");
        world.says(
            &query("set bellwether.route = auto; show bellwether.wait_limit; show bellwether.route"),
            "C:SET, T:bellwether.wait_limit, D:500ms, C:SHOW, T:bellwether.route, D:auto, C:SHOW, Z:I",
        );
        world.says(&query("set local bellwether.route = 'primary'"), "N:25P01, C:SET, Z:I");
        is(world, "auto");
        assert_eq!(world.clients[0].needs, []);
        unheard(world);
    });
}

#[test]
fn bad_names_and_values_are_refused_as_the_server_would() {
    every_cut(|world| {
        world.says(&query("set bellwether.route = 'up'"), "E:22023, Z:I");
        world.says(&query("set bellwether.rout = 'up'"), "E:42602, Z:I");
        world.says(&query("reset bellwether.rout"), "E:42602, Z:I");
        world.says(&query("show bellwether.rout"), "E:42704, Z:I");
        world.says(&query("select 1, set_config('bellwether.route', 'auto', false)"), "E:0A000, Z:I");
        // What came before in the same Query is undone with it.
        world.says(
            &query("set bellwether.route = 'standby'; set bellwether.route = 'up'"),
            "C:SET, E:22023, Z:I",
        );
        is(world, "auto");
        world.says(
            &query("select 1; set bellwether.route = 'up'; select 2"),
            "T:c, D:1, C:SELECT 1, E:22023, Z:I",
        );
        world.says(
            &[once("set bellwether.route = 'up'"), once("select 1"), sync()].concat(),
            "1, 2, E:22023, Z:I",
        );
        world.says(&[parse("s", "select set_config($1, $2, false)"), sync()].concat(), "1, Z:I");
        world.says(&[run("s", &["bellwether.route", "auto"]), sync()].concat(), "E:0A000, Z:I");
        world.says(&[run("s", &["a.x", "1"]), sync()].concat(), "2, D:1, C:SELECT 1, Z:I");
        is(world, "auto");
    });
}

#[test]
fn they_live_and_die_with_their_transaction() {
    every_cut(|world| {
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set bellwether.route = 'standby'"), "C:SET, Z:T");
        world.says(&query("savepoint s"), "C:SAVEPOINT, Z:T");
        world.says(&query("set bellwether.route = 'primary'"), "C:SET, Z:T");
        world.says(&query(ROUTE), "T:bellwether.route, D:primary, C:SHOW, Z:T");
        world.says(&query("rollback to s"), "C:ROLLBACK, Z:T");
        world.says(&query("set local bellwether.route = 'primary'"), "C:SET, Z:T");
        world.says(&query(ROUTE), "T:bellwether.route, D:primary, C:SHOW, Z:T");
        world.says(&query("commit"), "C:COMMIT, Z:I");
        is(world, "standby");
        world.says(
            &query("begin; set bellwether.route = 'primary'; rollback"),
            "C:BEGIN, C:SET, C:ROLLBACK, Z:I",
        );
        is(world, "standby");
        world.says(&query("begin"), "C:BEGIN, Z:T");
        world.says(&query("set bellwether.route = 'up'"), "E:22023, Z:E");
        world.says(&query("set bellwether.route = 'primary'"), "E:25P02, Z:E");
        world.says(&query(ROUTE), "E:25P02, Z:E");
        world.says(&query("explain route select 1"), "E:25P02, Z:E");
        world.says(&[once(ROUTE), sync()].concat(), "E:25P02, Z:E");
        world.says(&query("rollback"), "C:ROLLBACK, Z:I");
        is(world, "standby");
        for sql in ["reset all", "discard all"] {
            world.says(&query("set bellwether.route = 'primary'"), "C:SET, Z:I");
            world.send(&query(sql));
            world.forget();
            is(world, "auto");
        }
        unheard(world);
    });
}

#[test]
fn they_start_from_what_the_client_gave_at_its_start() {
    every_cut(|world| {
        let startup = Wishes { route: Route::Standby, ..Wishes::default() };
        world.clients[0].session.wish(startup);
        is(world, "standby");
        world.says(&query("set bellwether.route = 'auto'"), "C:SET, Z:I");
        world.says(&query("set bellwether.route to default"), "C:SET, Z:I");
        is(world, "standby");
    });
}

#[test]
fn in_the_extended_protocol_they_are_what_a_servers_would_be() {
    every_cut(|world| {
        let set =
            [parse("", "set bellwether.route = 'standby'"), describe_statement(""), run("", &[]), sync()];
        world.says(&set.concat(), "1, t, n, 2, C:SET, Z:I");
        let show = [parse("r", ROUTE), describe_statement("r"), sync()];
        world.says(&show.concat(), "1, t, T:bellwether.route, Z:I");
        let again = [bind("", "r", &[]), describe_portal(""), execute("", 0), sync()].concat();
        world.says(&again, "2, T:bellwether.route, D:standby, C:SHOW, Z:I");
        // Prepared once, and never stale.
        world.says(&query("set bellwether.route = 'primary'"), "C:SET, Z:I");
        world.says(&again, "2, T:bellwether.route, D:primary, C:SHOW, Z:I");
        // In a pipeline, in turn.
        let all = [
            once("set bellwether.route = 'auto'"),
            run("r", &[]),
            once("select 1/0"),
            sync(),
            run("r", &[]),
            sync(),
        ];
        world.says(
            &all.concat(),
            "1, 2, C:SET, 2, D:auto, C:SHOW, 1, 2, E:22012, Z:I, 2, D:primary, C:SHOW, Z:I",
        );
        let mixed = [
            query("begin"),
            run("r", &[]),
            sync(),
            query("insert into t values (1); set bellwether.route = 'auto'"),
            query("commit"),
        ];
        world.says(
            &mixed.concat(),
            "C:BEGIN, Z:T, 2, D:primary, C:SHOW, Z:T, C:INSERT 0 1, C:SET, Z:T, C:COMMIT, Z:I",
        );
        is(world, "auto");
        unheard(world);
    });
}

#[test]
fn no_server_is_brought_to_them() {
    every_cut(|world| {
        let other = world.add_client(PoolMode::Transaction, &[]);
        world.says(&query("set bellwether.consistency = 'strong'"), "C:SET, Z:I");
        world.says(&query("select 1"), "T:c, D:1, C:SELECT 1, Z:I");
        world.send_as(other, &query("select 2"));
        world.expect_as(other, "T:c, D:2, C:SELECT 1, Z:I");
        world.expect_at(0, "Q:select 1, Q:select 2");
    });
}

#[test]
fn the_token_is_asked_for_when_all_before_it_is_done() {
    every_cut(|world| {
        let show = "show bellwether.token";
        let column = "T:bellwether.token";
        world.says(&query(show), &format!("{column}, D:1:0/1, C:SHOW, Z:I"));
        world.says(&[parse("k", show), sync()].concat(), "1, Z:I");
        let token = |token: &str| format!("2, D:{token}, C:SHOW, Z:I");
        world.says(&[run("k", &[]), sync()].concat(), &token("1:0/1"));
        let after = [query("insert into t values (1)"), run("k", &[]), sync()].concat();
        world.says(&after, &format!("C:INSERT 0 1, Z:I, {}", token("1:0/2")));
        let pipeline = [once("insert into t values (2)"), sync(), run("k", &[]), sync()].concat();
        world.says(&pipeline, &format!("1, 2, C:INSERT 0 1, Z:I, {}", token("1:0/3")));
        world.says(&query("set bellwether.token = '1:0/AB'"), "C:SET, Z:I");
        assert_eq!(world.clients[0].session.wishes().token.map(|it| it.to_string()), Some("1:0/AB".into()));
        world.says(&query("set bellwether.token = '0/AB'"), "E:22023, Z:I");
    });
}

/// What EXPLAIN ROUTE says about `about`.
fn told(words: &[String], about: &str) -> Vec<String> {
    let rows = words.iter().filter_map(|word| word.strip_prefix("D:")?.split_once('|'));
    rows.filter(|(known, _)| *known == about).map(|(_, line)| line.to_owned()).collect()
}

#[test]
fn explain_route_tells_where_and_why() {
    every_cut(|world| {
        let mut explain = |bytes: Vec<u8>| {
            world.send(&bytes);
            world.received_by(0)
        };
        let words = explain(query("EXPLAIN ROUTE select * from t"));
        assert_eq!((&*words[0], &*words[words.len() - 2]), ("T:about", "C:EXPLAIN"));
        assert_eq!(
            (told(&words, "target"), told(&words, "reason")),
            (vec!["standby".into()], vec!["plain_read".into()])
        );
        assert_eq!(
            (told(&words, "node"), told(&words, "catalog")),
            (vec!["Standby".into()], vec!["loaded".into()])
        );
        let words = explain(query("explain /* ? */ route select f(); insert into t values (1)"));
        assert_eq!(told(&words, "target"), ["primary"]);
        assert_eq!(told(&words, "name"), ["function f() is not known to be harmless"]);
        assert_eq!(told(&words, "statement"), ["select f()", "insert into t values (1)"]);
        let words = explain(query("explain route selec"));
        assert_eq!(
            (told(&words, "target"), told(&words, "reason")),
            (vec!["primary".into()], vec!["unparsed".into()])
        );
        let words = explain([once("explain route select 1"), sync()].concat());
        assert_eq!((words[..2].concat(), told(&words, "target")), ("12".into(), vec!["standby".into()]));
        explain(query("begin"));
        let words = explain(
            [
                parse("e", "explain route select 1"),
                bind("", "e", &[]),
                describe_portal(""),
                execute("", 0),
                sync(),
            ]
            .concat(),
        );
        assert!(told(&words, "session")[0].starts_with("in a transaction on the primary"), "{words:?}");
        explain(query("commit"));
    });
}
