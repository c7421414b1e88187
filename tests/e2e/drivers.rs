//! Clients people use, unchanged, through the endpoint.

use crate::support::Bench;

#[test]
fn pgbench_in_all_three_query_modes() {
    let bench = Bench::start();
    bench.pgbench(&["-i", "-q", "-s", "1"]);
    for mode in ["simple", "extended", "prepared"] {
        for script in ["select-only", "tpcb-like"] {
            let printed = bench.pgbench(&["-n", "-b", script, "-M", mode, "-c", "4", "-j", "2", "-t", "25"]);
            assert!(
                printed.contains("number of transactions actually processed: 100/100"),
                "{mode}: {printed}"
            );
        }
    }
    let balance =
        "SELECT (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)";
    assert_eq!(bench.cluster.sql("a", balance).unwrap(), "t");
}

#[test]
fn psycopg() {
    let printed = Bench::start().python("with_psycopg.py");
    assert!(printed.trim_end().ends_with("all well"), "{printed}");
}

#[test]
fn asyncpg() {
    let printed = Bench::start().python("with_asyncpg.py");
    assert!(printed.trim_end().ends_with("all well"), "{printed}");
}

#[test]
fn sessions_of_python_see_their_writes() {
    let printed = Bench::start().python("sees_its_writes.py");
    assert!(printed.trim_end().ends_with("all well"), "{printed}");
}

#[test]
fn drivers_for_python_in_depth() {
    let bench = Bench::with(crate::support::applied_everywhere(), &[]);
    for program in ["psycopg_session.py", "asyncpg_session.py"] {
        let printed = bench.python(program);
        assert!(printed.trim_end().ends_with("all well"), "{program}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres() {
    let bench = Bench::start();
    let mut client = bench.connect().await;
    client.batch_execute("CREATE TABLE t (n int PRIMARY KEY, word text)").await.unwrap();

    let insert = client.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    for (n, word) in [(1, "one"), (2, "two"), (3, "three")] {
        assert_eq!(client.execute(&insert, &[&n, &word]).await.unwrap(), 1);
    }

    let transaction = client.transaction().await.unwrap();
    let row = transaction.query_one("SELECT word FROM t WHERE n = $1", &[&2]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "two");
    transaction.execute("DELETE FROM t", &[]).await.unwrap();
    transaction.rollback().await.unwrap();

    let error = client.execute(&insert, &[&1, &"again"]).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("23505"));

    bench.cluster.wait_replayed().unwrap();
    let (sum, count) = tokio::join!(
        client.query_one("SELECT sum(n) FROM t", &[]),
        client.query_one("SELECT count(*) FROM t", &[]),
    );
    assert_eq!((sum.unwrap().get::<_, i64>(0), count.unwrap().get::<_, i64>(0)), (6, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_the_running_statement() {
    let bench = Bench::start();
    let client = bench.connect().await;
    let token = client.cancel_token();
    let canceller = async {
        // The statement must be running on some server before it can be cancelled.
        let running =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        while bench.cluster.sql("a", running).unwrap() == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), canceller);
    assert_eq!(outcome.unwrap_err().code().map(|code| code.code()), Some("57014"));
    client.batch_execute("SELECT 1").await.unwrap();
}
