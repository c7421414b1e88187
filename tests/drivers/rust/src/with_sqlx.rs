//! sqlx, with rustls: everything is prepared and kept.

mod checks;

use checks::{NotApplicable, Told, WORDS, big, check, expect, lines, place};
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgSslMode};
use sqlx::{ConnectOptions, Connection, Error, Executor, PgConnection, Row};

#[tokio::main]
async fn main() {
    let mut client = connect("demo").await.expect("the server lets us in");
    checks::version("sqlx", include_str!("../Cargo.lock"));
    check("login", login(&mut client)).await;
    check("simple", simple(&mut client)).await;
    check("parameters", parameters(&mut client)).await;
    check("named", named(&mut client)).await;
    check("transaction", transaction(&mut client)).await;
    check("rollback", rollback(&mut client)).await;
    check("savepoint", savepoint(&mut client)).await;
    check("copy in", copy_in(&mut client)).await;
    check("copy out", copy_out(&mut client)).await;
    check("cursor", cursor(&mut client)).await;
    check("cancel", async { Err(NotApplicable("no call for it").into()) }).await;
    check("notify", notify()).await;
    check("big row", big_row(&mut client)).await;
    check("own writes", own_writes(&mut client)).await;
    check("altered", altered(&mut client)).await;
}

fn options(password: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&place("PGHOST"))
        .port(place("PGPORT").parse().expect("a port"))
        .username(&place("PGUSER"))
        .password(password)
        .database(&place("PGDATABASE"))
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert(place("PGSSLROOTCERT"))
}

async fn connect(password: &str) -> Result<PgConnection, Error> {
    options(password).connect().await
}

fn code(error: &Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.map_or_else(|| error.to_string(), |code| code.into_owned())
}

async fn count(client: &mut PgConnection, table: &'static str) -> Result<i64, Error> {
    let sql = match table {
        "moved" => "SELECT count(*) FROM moved",
        "copied" => "SELECT count(*) FROM copied",
        _ => "SELECT count(*) FROM own",
    };
    sqlx::query_scalar(sql).fetch_one(client).await
}

async fn login(client: &mut PgConnection) -> Told {
    let user: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(client).await?;
    expect(user, "demo".to_owned())?;
    let refused = connect("wrong").await.err().ok_or("a wrong password was taken")?;
    Ok(code(&refused))
}

async fn simple(client: &mut PgConnection) -> Told {
    let rows = client.fetch_all("SELECT 1; SELECT 2").await?;
    let seen: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    expect(seen, vec![1, 2])?;
    Ok(String::new())
}

async fn parameters(client: &mut PgConnection) -> Told {
    let query =
        sqlx::query_as("SELECT $1::int + 1, $2::text, $3::text").bind(41).bind(WORDS).bind(None::<String>);
    let row: (i32, String, Option<String>) = query.fetch_one(client).await?;
    expect(row, (42, WORDS.to_owned(), None))?;
    Ok(String::new())
}

async fn named(client: &mut PgConnection) -> Told {
    for n in 0..50 {
        let doubled: i32 = sqlx::query_scalar("SELECT $1::int * 2").bind(n).fetch_one(&mut *client).await?;
        expect(doubled, 2 * n)?;
    }
    Ok(String::new())
}

async fn transaction(client: &mut PgConnection) -> Told {
    client.execute("CREATE TABLE moved (n int PRIMARY KEY)").await?;
    let mut block = client.begin().await?;
    for n in [1, 2] {
        sqlx::query("INSERT INTO moved VALUES ($1)").bind(n).execute(&mut *block).await?;
    }
    block.commit().await?;
    expect(count(client, "moved").await?, 2)?;
    Ok(String::new())
}

async fn rollback(client: &mut PgConnection) -> Told {
    let mut block = client.begin().await?;
    sqlx::query("INSERT INTO moved VALUES (3)").execute(&mut *block).await?;
    let first = sqlx::query("SELECT 1 / 0").execute(&mut *block).await.err().ok_or("no error")?;
    let second = sqlx::query("SELECT 1").execute(&mut *block).await.err().ok_or("no error")?;
    block.rollback().await?;
    expect(count(client, "moved").await?, 2)?;
    Ok(format!("{}, {}", code(&first), code(&second)))
}

async fn savepoint(client: &mut PgConnection) -> Told {
    let mut block = client.begin().await?;
    sqlx::query("INSERT INTO moved VALUES (4)").execute(&mut *block).await?;
    let mut inner = block.begin().await?;
    let refused =
        sqlx::query("INSERT INTO moved VALUES (4)").execute(&mut *inner).await.err().ok_or("no error")?;
    inner.rollback().await?;
    sqlx::query("INSERT INTO moved VALUES (5)").execute(&mut *block).await?;
    block.commit().await?;
    expect(count(client, "moved").await?, 4)?;
    Ok(code(&refused))
}

async fn copy_in(client: &mut PgConnection) -> Told {
    client.execute("CREATE TABLE copied (n int, word text)").await?;
    let mut copy = client.copy_in_raw("COPY copied FROM STDIN").await?;
    copy.send(lines().into_bytes()).await?;
    expect(copy.finish().await?, 1000)?;
    expect(count(client, "copied").await?, 1000)?;
    Ok(String::new())
}

async fn copy_out(client: &mut PgConnection) -> Told {
    let told: Vec<_> = client.copy_out_raw("COPY copied TO STDOUT").await?.try_collect().await?;
    expect(String::from_utf8(told.concat())?, lines())?;
    Ok(String::new())
}

/// In SQL: the driver has no portals with a limit.
async fn cursor(client: &mut PgConnection) -> Told {
    let mut block = client.begin().await?;
    let declare = "DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 1000) AS n";
    sqlx::query(declare).execute(&mut *block).await?;
    let mut total = 0;
    loop {
        let rows = sqlx::query("FETCH 100 FROM walk").fetch_all(&mut *block).await?;
        if rows.is_empty() {
            break;
        }
        total += rows.iter().map(|row| row.get::<i32, _>(0)).sum::<i32>();
    }
    block.commit().await?;
    expect(total, 500_500)?;
    Ok(String::new())
}

async fn notify() -> Told {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(2).connect_with(options("demo")).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("bells").await?;
    sqlx::query("NOTIFY bells, 'ding'").execute(&pool).await?;
    let heard = tokio::time::timeout(std::time::Duration::from_secs(30), listener.recv()).await??;
    expect((heard.channel(), heard.payload()), ("bells", "ding"))?;
    listener.unlisten_all().await?;
    Ok(String::new())
}

async fn big_row(client: &mut PgConnection) -> Told {
    let big = big();
    let back: String = sqlx::query_scalar("SELECT $1::text").bind(&big).fetch_one(client).await?;
    expect(back == big, true)?;
    Ok(String::new())
}

async fn own_writes(client: &mut PgConnection) -> Told {
    client.execute("CREATE TABLE own (n int)").await?;
    for n in 1..=100_i32 {
        sqlx::query("INSERT INTO own VALUES ($1)").bind(n).execute(&mut *client).await?;
        expect(count(client, "own").await?, i64::from(n))?;
    }
    Ok(String::new())
}

async fn altered(client: &mut PgConnection) -> Told {
    client.execute("CREATE TABLE changing AS SELECT 1 AS n").await?;
    for _ in 0..10 {
        expect(sqlx::query("SELECT * FROM changing").fetch_one(&mut *client).await?.len(), 1)?;
    }
    let mut other = connect("demo").await?;
    other.execute("ALTER TABLE changing ADD COLUMN word text").await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match sqlx::query("SELECT * FROM changing").fetch_one(&mut *client).await {
            Ok(row) => format!("{} columns", row.len()),
            Err(error) => code(&error),
        });
    }
    client.clear_cached_statements().await?;
    let again = sqlx::query("SELECT * FROM changing").fetch_one(&mut *client).await?;
    seen.push(format!("prepared again {} columns", again.len()));
    Ok(seen.join(", "))
}
