//! What the catalog says of a name decides where it is read, and a change of it counts from the next statement.

use std::time::Duration;

use tokio_postgres::Client;

use crate::support::{Bench, applied_everywhere, eventually};

/// Tells whether a statement runs on the standby: each returns, in its only column, where it ran.
async fn on_standby(client: &Client, sql: &str) -> bool {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get(0)
}

fn reading(from: &str) -> String {
    format!("SELECT current_setting('cluster_name') = 'b' FROM {from} LIMIT 1")
}

/// Waits until the catalog is loaded again and `sql` runs on the standby.
async fn settles_on_standby(client: &Client, sql: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !on_standby(client, sql).await {
        assert!(std::time::Instant::now() < deadline, "stays on the primary: {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const OBJECTS: &str = "
    CREATE TABLE t (n int); INSERT INTO t VALUES (1);
    CREATE TABLE other (n int); INSERT INTO other VALUES (1);
    CREATE SEQUENCE s;
    CREATE FUNCTION f(n int) RETURNS int STABLE LANGUAGE sql AS 'SELECT n';
    CREATE FUNCTION v(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT n';
    CREATE VIEW plain_view AS SELECT f(n) FROM t;
    CREATE VIEW above AS SELECT * FROM plain_view;
    CREATE VIEW counting AS SELECT nextval('s') FROM t;
    CREATE VIEW sessions AS SELECT pid FROM pg_stat_activity;
    CREATE UNLOGGED TABLE unlogged_t (n int); INSERT INTO unlogged_t VALUES (1);
    CREATE SCHEMA app; CREATE UNLOGGED TABLE app.t (n int); INSERT INTO app.t VALUES (1);";

#[tokio::test]
async fn changes_of_the_catalog_count_from_the_next_statement() {
    let bench = Bench::with(applied_everywhere(), &[]);
    let (one, two) = (bench.connect().await, bench.connect().await);
    one.batch_execute(OBJECTS).await.unwrap();
    let f = "SELECT current_setting('cluster_name') = 'b' FROM t WHERE f(n) = 1";
    let prepared = two.prepare(f).await.unwrap();
    // The change, the statement that it sends to the primary, and the change that lets it go again.
    for (change, sql, back) in [
        ("ALTER FUNCTION f(int) VOLATILE", f.to_owned(), "ALTER FUNCTION f(int) STABLE"),
        (
            "CREATE OR REPLACE FUNCTION f(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT n'",
            reading("above"),
            "CREATE OR REPLACE FUNCTION f(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n'",
        ),
        ("ALTER TABLE other SET UNLOGGED", reading("other"), "ALTER TABLE other SET LOGGED"),
        (
            "CREATE OR REPLACE VIEW plain_view AS SELECT v(n) AS f FROM t",
            reading("above"),
            "CREATE OR REPLACE VIEW plain_view AS SELECT f(n) FROM t",
        ),
        (
            "CREATE POLICY p ON other USING (v(n) = 1); ALTER TABLE other ENABLE ROW LEVEL SECURITY",
            reading("other"),
            "DROP POLICY p ON other; ALTER TABLE other DISABLE ROW LEVEL SECURITY",
        ),
        (
            "CREATE FUNCTION abs(t) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1'",
            "SELECT current_setting('cluster_name') = 'b' FROM t WHERE abs(n) = 1".to_owned(),
            "DROP FUNCTION abs(t)",
        ),
    ] {
        settles_on_standby(&two, &sql).await;
        one.batch_execute(change).await.unwrap();
        assert!(!on_standby(&two, &sql).await, "at once, with another client: {change}");
        assert!(!on_standby(&one, &sql).await, "at once: {change}");
        // Loaded again, it is still so.
        settles_on_standby(&two, &reading("t")).await;
        assert!(!on_standby(&two, &sql).await, "for good: {change}");
        one.batch_execute(back).await.unwrap();
        settles_on_standby(&two, &sql).await;
    }
    // A prepared statement is judged again.
    let runs = async || two.query_one(&prepared, &[]).await.unwrap().get::<_, bool>(0);
    assert!(runs().await);
    one.batch_execute("BEGIN; ALTER FUNCTION f(int) VOLATILE; COMMIT").await.unwrap();
    assert!(!runs().await);
    settles_on_standby(&two, &reading("t")).await;
    assert!(!runs().await);
}

#[tokio::test]
async fn what_a_name_stands_for_decides() {
    let bench = Bench::with(applied_everywhere(), &["routing.standby_functions = [\"listed_f\"]"]);
    let client = bench.connect().await;
    client.batch_execute(OBJECTS).await.unwrap();
    let listed = "CREATE FUNCTION listed_f(n int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT n'";
    client.batch_execute(listed).await.unwrap();
    settles_on_standby(&client, &reading("t")).await;
    for from in
        ["plain_view", "above", "t CROSS JOIN LATERAL f(t.n) x", "t WHERE listed_f(n) = 1", "app.t a, t"]
    {
        let standby = from != "app.t a, t";
        assert_eq!(on_standby(&client, &reading(from)).await, standby, "{from}");
    }
    for from in ["counting", "sessions", "s", "unlogged_t", "t WHERE v(n) = 1", "pg_stat_activity"] {
        assert!(!on_standby(&client, &reading(from)).await, "{from}");
    }
    client.batch_execute("SET search_path = app, public").await.unwrap();
    assert!(!on_standby(&client, &reading("t")).await, "app.t is not logged");
    assert!(on_standby(&client, &reading("other")).await);
}

#[tokio::test]
async fn changes_made_elsewhere_are_noticed() {
    let bench = Bench::with(applied_everywhere(), &["routing.catalog_refresh = \"50ms\""]);
    let client = bench.connect().await;
    client.batch_execute(OBJECTS).await.unwrap();
    let sql = "SELECT current_setting('cluster_name') = 'b' FROM t WHERE f(n) = 1";
    settles_on_standby(&client, sql).await;
    let direct = crate::support::connect(&bench.cluster.conninfo_as("a", "demo", "demo").unwrap()).await;
    direct.batch_execute("ALTER FUNCTION f(int) VOLATILE").await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while on_standby(&client, sql).await {
        assert!(std::time::Instant::now() < deadline, "not noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn without_a_catalog_what_is_named_is_read_on_the_primary() {
    let bench = Bench::with(applied_everywhere(), &["routing.catalog_refresh = \"50ms\""]);
    let read = "SELECT current_setting('cluster_name') FROM t";
    let table = "CREATE TABLE t (n int); INSERT INTO t VALUES (1)";
    bench.sql(table);
    eventually("the catalog is loaded", || bench.sql(read) == "b");
    // Into a database of their own the clients may, and the proxy's login may not.
    for sql in [
        "ALTER ROLE bellwether NOSUPERUSER",
        "GRANT SELECT ON pg_authid TO bellwether",
        "CREATE DATABASE closed OWNER demo",
        "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
    ] {
        bench.cluster.sql("a", sql).unwrap();
    }
    let closed = bench.proxy.conninfo_as("demo", "closed");
    let ask = |sql: &str| bench.cluster.sql_at(&closed, sql).unwrap();
    ask(table);
    assert_eq!(ask(read), "a");
    assert_eq!(ask("SELECT 1"), "1");
    let warnings = || bench.proxy.log().matches("catalog.unavailable").count();
    assert_eq!(warnings(), 1, "{}", bench.proxy.log_tail());
    // Not for good: once it may, the catalog is there.
    bench.cluster.sql("a", "GRANT CONNECT ON DATABASE closed TO bellwether").unwrap();
    let client = bench.cluster.sql_at(&closed, "SELECT 1");
    assert!(client.is_ok());
    eventually("the catalog is loaded after all", || ask(read) == "b");
    assert_eq!(warnings(), 1);
}
