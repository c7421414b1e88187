//! tokio-postgres through the endpoint: it describes each statement once, and believes that for as long as it lives.

use crate::support::{Bench, applied_everywhere};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_portals_and_pipelines_over_many_servers() {
    let bench = Bench::with(applied_everywhere(), &[]);
    let mut client = bench.connect().await;
    client.batch_execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 100) AS n").await.unwrap();
    let statement = client.prepare("SELECT n, $1::int + n FROM t WHERE n = $2").await.unwrap();
    // All at once: the driver sends them without waiting, and each group may go to another server.
    let runs = (1..=50).map(|n| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[&1000, &n]).await.map(|row| (row.get(0), row.get(1))) }
    });
    let mut runs: Vec<_> = runs.map(Box::pin).collect();
    for (n, run) in (1..=50).zip(&mut runs) {
        assert_eq!(run.await.unwrap(), (n, 1000 + n));
    }
    drop(runs);
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT n FROM t ORDER BY n", &[]).await.unwrap();
    let other = transaction.bind("SELECT n FROM t ORDER BY n DESC", &[]).await.unwrap();
    let mut walked = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 7).await.unwrap();
        if rows.is_empty() {
            break;
        }
        walked.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
        assert_eq!(transaction.query_portal(&other, 1).await.unwrap().len(), 1);
    }
    assert_eq!(walked, (1..=100).collect::<Vec<_>>());
    transaction.commit().await.unwrap();
    rows_of_another_shape(&bench, &client).await;
}

/// The driver reads rows by the description it has: it gets PostgreSQL's error, never other rows, from any server,
/// whoever changed the schema.
async fn rows_of_another_shape(bench: &Bench, client: &tokio_postgres::Client) {
    let changes = [
        (true, "ALTER TABLE t ADD COLUMN word text DEFAULT 'new'", 2),
        (false, "ALTER TABLE t DROP COLUMN n CASCADE", 1),
        (false, "ALTER TABLE t ALTER word DROP DEFAULT, ALTER word TYPE bytea USING word::bytea", 1),
    ];
    let mut others = Vec::new();
    for (through, change, columns) in changes {
        let mut statement = client.prepare("SELECT * FROM t LIMIT 1").await.unwrap();
        for _ in 0..6 {
            client.query_one(&statement, &[]).await.unwrap();
        }
        match through {
            true => drop(bench.sql(change)),
            false => drop(bench.cluster.sql("a", change).unwrap()),
        }
        // Other clients have servers that never saw the statement, or have it anew.
        let other = bench.connect().await;
        other.query_one("SELECT * FROM t LIMIT 1", &[]).await.unwrap();
        others.push(other);
        for _ in 0..6 {
            let error = client.query_one(&statement, &[]).await.expect_err(change);
            let error = error.as_db_error().unwrap_or_else(|| panic!("{change}: {error}"));
            assert_eq!((error.code().code(), error.routine()), ("0A000", Some("RevalidateCachedQuery")));
        }
        statement = client.prepare("SELECT * FROM t LIMIT 1").await.unwrap();
        for _ in 0..6 {
            assert_eq!(client.query_one(&statement, &[]).await.unwrap().len(), columns, "{change}");
        }
    }
}
