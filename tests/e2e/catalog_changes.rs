//! The catalog changes while clients are at work: every session, in both protocols and with statements that were prepared
//! before, is routed by the change from the next statement on.

use crate::raw::{self, Raw};
use crate::story::{Story, eventually_with};
use crate::support::applied_everywhere;

const OBJECTS: &str = "
    CREATE TABLE t (n int); INSERT INTO t VALUES (1);
    CREATE TABLE other (n int); INSERT INTO other VALUES (1);
    CREATE FUNCTION f(n int) RETURNS int STABLE LANGUAGE sql AS 'SELECT n';
    CREATE FUNCTION v(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT n';
    CREATE FUNCTION same(a int, b int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT a = b';
    CREATE FUNCTION same_v(a int, b int) RETURNS bool VOLATILE LANGUAGE sql AS 'SELECT a = b';
    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
    CREATE TYPE pair AS (a int, b int);
    CREATE FUNCTION to_pair(n int) RETURNS pair VOLATILE LANGUAGE sql AS 'SELECT n, n';
    CREATE FUNCTION to_pair_s(n int) RETURNS pair STABLE LANGUAGE sql AS 'SELECT n, n';
    CREATE CAST (int AS pair) WITH FUNCTION to_pair_s(int);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN watched AS int CHECK (same_v(VALUE, VALUE));
    CREATE TYPE holder AS (a int);
    CREATE VIEW plain_view AS SELECT f(n) FROM t;
    CREATE VIEW above AS SELECT * FROM plain_view;
    CREATE SCHEMA app;";

/// A primary `a`, a standby `b`, and sessions on all workers that have prepared nothing yet.
struct Scene {
    story: Story,
    clients: Vec<Session>,
    /// Does the changes.
    changer: Raw,
}

struct Session {
    raw: Raw,
    prepared: Vec<String>,
}

/// A statement that returns the name of the node it ran on.
fn reading(rest: &str) -> String {
    format!("SELECT current_setting('cluster_name') FROM {rest} LIMIT 1")
}

impl Session {
    fn nodes(&mut self, sql: &str) -> [String; 3] {
        let name = match self.prepared.iter().position(|known| known == sql) {
            Some(place) => format!("s{place}"),
            None => {
                self.prepared.push(sql.to_owned());
                let name = format!("s{}", self.prepared.len() - 1);
                self.raw.prepare(&name, sql);
                name
            }
        };
        let answer = self.raw.execute(&name, &[]);
        assert_eq!(answer.failure, None, "{sql}");
        [answer.text(), self.raw.sql(sql), self.raw.extended(sql, &[])]
    }
}

impl Scene {
    fn new(settings: &[&str]) -> Scene {
        let story = Story::on(applied_everywhere(), &[&["workers = 3"], settings].concat());
        let mut changer = story.client();
        changer.sql(OBJECTS);
        let session = |_| Session { raw: story.client(), prepared: Vec::new() };
        let clients = (0..8).map(session).collect();
        Scene { clients, changer, story }
    }

    /// Where a statement runs, in all sessions and every form.
    fn nodes(&mut self, sql: &str) -> Vec<[String; 3]> {
        self.clients.iter_mut().map(|session| session.nodes(sql)).collect()
    }

    fn settles_on_standby(&mut self, sql: &str) {
        eventually_with(&format!("on the standby: {sql}"), || {
            let nodes = self.nodes(sql);
            if nodes.iter().flatten().all(|node| node == "b") { Ok(()) } else { Err(format!("{nodes:?}")) }
        });
    }

    fn is_on_primary(&mut self, sql: &str, when: &str) {
        let nodes = self.nodes(sql);
        assert!(nodes.iter().flatten().all(|node| node == "a"), "{when}: {sql}: {nodes:?}");
    }
}

#[test]
fn changes_count_for_every_session_in_every_form_from_the_next_statement() {
    let mut scene = Scene::new(&["routing.catalog_refresh = \"1h\""]);
    // What else is read while the catalog is as it was.
    let untouched = reading("t");
    let calling = reading("t WHERE f(n) = 1");
    for (change, sql, back) in [
        ("ALTER FUNCTION f(int) VOLATILE", calling.clone(), "ALTER FUNCTION f(int) STABLE"),
        (
            "DROP FUNCTION f CASCADE; CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql AS 'SELECT n'",
            calling.clone(),
            "ALTER FUNCTION f STABLE; CREATE VIEW plain_view AS SELECT f(n) FROM t;
             CREATE VIEW above AS SELECT * FROM plain_view",
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER FUNCTION f(int) VOLATILE'; END $$",
            calling.clone(),
            "DO $$ BEGIN EXECUTE 'ALTER FUNCTION f(int) STABLE'; END $$",
        ),
        ("ALTER TABLE other SET UNLOGGED", reading("other"), "ALTER TABLE other SET LOGGED"),
        (
            "DROP TABLE other; CREATE UNLOGGED TABLE other AS SELECT 1 AS n",
            reading("other"),
            "DROP TABLE other; CREATE TABLE other AS SELECT 1 AS n",
        ),
        (
            "CREATE OR REPLACE VIEW plain_view AS SELECT v(n) AS f FROM t",
            reading("above"),
            "CREATE OR REPLACE VIEW plain_view AS SELECT f(n) FROM t",
        ),
        (
            "ALTER TABLE other ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON other USING (v(n) = 1)",
            reading("other"),
            "DROP POLICY p ON other; ALTER TABLE other DISABLE ROW LEVEL SECURITY",
        ),
        (
            "DROP OPERATOR === (int, int); CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same_v)",
            reading("t WHERE n === 1"),
            "DROP OPERATOR === (int, int); CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same)",
        ),
        (
            "DROP CAST (int AS pair); CREATE CAST (int AS pair) WITH FUNCTION to_pair(int)",
            reading("t WHERE (n::pair).a = 1"),
            "DROP CAST (int AS pair); CREATE CAST (int AS pair) WITH FUNCTION to_pair_s(int)",
        ),
        (
            "ALTER DOMAIN positive ADD CONSTRAINT seen CHECK (same_v(VALUE, VALUE))",
            reading("t WHERE n::positive = 1"),
            "ALTER DOMAIN positive DROP CONSTRAINT seen",
        ),
        (
            "ALTER TYPE holder ALTER ATTRIBUTE a TYPE watched",
            reading("t WHERE (row(n)::holder).a = 1"),
            "ALTER TYPE holder ALTER ATTRIBUTE a TYPE int",
        ),
        (
            "CREATE FUNCTION public.abs(t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            reading("t WHERE abs(n) = 1"),
            "DROP FUNCTION public.abs(t)",
        ),
        (
            "CREATE FUNCTION public.lower(int) RETURNS text LANGUAGE sql AS 'SELECT $1::text'; \
             ALTER SCHEMA app RENAME TO apps; ALTER SCHEMA apps RENAME TO app",
            reading("t WHERE lower(n::text) = '1'"),
            "DROP FUNCTION public.lower(int)",
        ),
    ] {
        scene.settles_on_standby(&sql);
        scene.changer.sql(change);
        scene.is_on_primary(&sql, &format!("at once after {change}"));
        // Loaded again, it is still so.
        scene.settles_on_standby(&untouched);
        scene.is_on_primary(&sql, &format!("for good after {change}"));
        scene.changer.sql(back);
        scene.settles_on_standby(&sql);
    }
}

#[test]
fn changes_count_from_their_commit_on_however_they_are_committed() {
    let mut scene = Scene::new(&["routing.catalog_refresh = \"1h\""]);
    let untouched = reading("t");
    let sql = reading("t WHERE f(n) = 1");
    let steps: [&[&str]; 5] = [
        &["BEGIN", "ALTER FUNCTION f(int) VOLATILE", "SELECT 1", "COMMIT"],
        &[
            "BEGIN",
            "SAVEPOINT s",
            "ALTER FUNCTION f(int) VOLATILE",
            "RELEASE s",
            "COMMIT AND CHAIN",
            "COMMIT",
        ],
        &["BEGIN", "ALTER FUNCTION f(int) VOLATILE", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'"],
        &["BEGIN; ALTER FUNCTION f(int) VOLATILE; COMMIT"],
        &["PREPARE d AS SELECT 1; ALTER FUNCTION f(int) VOLATILE; DEALLOCATE d"],
    ];
    for steps in steps {
        scene.settles_on_standby(&sql);
        let (commit, before) = steps.split_last().expect("there are some");
        for step in before {
            scene.changer.sql(step);
            // It is checked, and found as it was: others go on reading where they did.
            scene.settles_on_standby(&sql);
        }
        scene.changer.sql(commit);
        scene.is_on_primary(&sql, &format!("at once after {steps:?}"));
        scene.settles_on_standby(&untouched);
        scene.is_on_primary(&sql, &format!("for good after {steps:?}"));
        scene.changer.sql("ALTER FUNCTION f(int) STABLE");
    }
    // In the extended protocol, in a group of its own and as a part of one.
    for group in [vec!["ALTER FUNCTION f(int) VOLATILE"], vec!["SELECT 1", "ALTER FUNCTION f(int) VOLATILE"]]
    {
        scene.settles_on_standby(&sql);
        let one = |sql| [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0)].concat();
        let bytes: Vec<u8> = group.into_iter().flat_map(one).chain(raw::sync()).collect();
        scene.changer.send(&bytes);
        assert_eq!(scene.changer.answer().failure, None);
        scene.is_on_primary(&sql, "at once after a group");
        scene.changer.sql("ALTER FUNCTION f(int) STABLE");
    }
    // What is undone changes nothing for long.
    for undone in [
        &["BEGIN", "ALTER FUNCTION f(int) VOLATILE", "ROLLBACK"][..],
        &["BEGIN", "SAVEPOINT s", "ALTER FUNCTION f(int) VOLATILE", "ROLLBACK TO s", "COMMIT"],
        &["BEGIN", "ALTER FUNCTION f(int) VOLATILE", "PREPARE TRANSACTION 'x'", "ROLLBACK PREPARED 'x'"],
    ] {
        for step in undone {
            scene.changer.sql(step);
            scene.settles_on_standby(&sql);
        }
    }
}

#[test]
fn search_paths_and_roles_give_names_another_meaning_at_once() {
    let mut scene = Scene::new(&["routing.catalog_refresh = \"1h\""]);
    scene.story.bench.cluster.sql("a", "ALTER ROLE demo CREATEROLE").expect("it can be altered");
    let sql = reading("t WHERE f(n) = 1");
    scene.settles_on_standby(&sql);
    // In a schema that only some sessions look into.
    for session in &mut scene.clients[..4] {
        session.raw.sql("SET search_path = app, public");
    }
    scene.changer.sql("CREATE FUNCTION app.f(n int) RETURNS int LANGUAGE sql AS 'SELECT n'");
    scene.settles_on_standby(&reading("t"));
    let nodes = scene.nodes(&sql);
    for (place, nodes) in nodes.iter().enumerate() {
        let node = if place < 4 { "a" } else { "b" };
        assert!(nodes.iter().all(|found| found == node), "session {place}: {nodes:?}");
    }
    for session in &mut scene.clients {
        session.raw.sql("SET search_path = app, public");
    }
    scene.is_on_primary(&sql, "by a SET alone");
    // A schema that was there before its role.
    scene.changer.sql(
        "CREATE SCHEMA newcomer; CREATE FUNCTION newcomer.g(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
         GRANT USAGE ON SCHEMA newcomer TO public; GRANT SELECT ON t TO public;
         CREATE FUNCTION public.g(n int) RETURNS int STABLE LANGUAGE sql AS 'SELECT n'",
    );
    let sql = reading("public.t WHERE g(n) = 1");
    scene.settles_on_standby(&sql);
    scene.changer.sql("CREATE ROLE newcomer LOGIN");
    let mut newcomer = Raw::connect(scene.story.bench.proxy.port(), "newcomer");
    assert_eq!(newcomer.sql(&sql), "a");
    scene.settles_on_standby(&reading("public.t"));
    assert_eq!(newcomer.sql(&sql), "a");
}

#[test]
fn extensions_change_the_catalog_too() {
    let mut scene = Scene::new(&["routing.catalog_refresh = \"1h\""]);
    scene.settles_on_standby(&reading("t"));
    scene.changer.sql("CREATE EXTENSION hstore");
    let sql = reading("t WHERE hstore('a', 'b') -> 'a' = 'b'");
    scene.settles_on_standby(&sql);
    scene.changer.sql("DROP EXTENSION hstore; CREATE FUNCTION hstore(text, text) RETURNS json LANGUAGE sql AS 'SELECT ''{\"a\": 1}''::json'");
    let plain = reading("t WHERE hstore('a', 'b') IS NOT NULL");
    scene.is_on_primary(&plain, "at once");
    scene.settles_on_standby(&reading("t"));
    scene.is_on_primary(&plain, "for good");
}

#[test]
fn what_functions_and_others_change_unseen_counts_within_the_period() {
    let mut scene = Scene::new(&["routing.catalog_refresh = \"100ms\""]);
    scene.changer.sql(
        "CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER FUNCTION f(int) VOLATILE; END $$;
         CREATE PROCEDURE change_p() LANGUAGE plpgsql AS $$ BEGIN ALTER FUNCTION f(int) VOLATILE; END $$",
    );
    let sql = reading("t WHERE f(n) = 1");
    for change in ["SELECT change()", "CALL change_p()"] {
        scene.settles_on_standby(&sql);
        scene.changer.sql(change);
        eventually_with("it is noticed", || {
            let nodes = scene.nodes(&sql);
            if nodes.iter().flatten().all(|node| node == "a") { Ok(()) } else { Err(format!("{nodes:?}")) }
        });
        scene.changer.sql("ALTER FUNCTION f(int) STABLE");
    }
}
