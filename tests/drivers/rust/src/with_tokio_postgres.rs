//! tokio-postgres, with rustls.

mod checks;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use checks::{Told, WORDS, big, check, expect, lines, place};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::mpsc;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Error, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

const SLEEPING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                            AND state = 'active' AND query LIKE 'SELECT pg_sleep%'";

#[tokio::main]
async fn main() {
    let (mut client, mut notices) = connect("demo").await.expect("the server lets us in");
    checks::version("tokio-postgres", include_str!("../Cargo.lock"));
    check("login", login(&client)).await;
    check("simple", simple(&client)).await;
    check("parameters", parameters(&client)).await;
    check("named", named(&client)).await;
    check("transaction", transaction(&mut client)).await;
    check("rollback", rollback(&mut client)).await;
    check("savepoint", savepoint(&mut client)).await;
    check("copy in", copy_in(&client)).await;
    check("copy out", copy_out(&client)).await;
    check("cursor", cursor(&mut client)).await;
    check("cancel", cancel(&client)).await;
    check("notify", notify(&client, &mut notices)).await;
    check("big row", big_row(&client)).await;
    check("own writes", own_writes(&client)).await;
    check("altered", altered(&client)).await;
}

fn tls() -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(place("PGSSLROOTCERT")).expect("a certificate");
    roots.add(authority).expect("an authority's certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// A client, and where its connection puts notifications.
async fn connect(password: &str) -> Result<(Client, mpsc::UnboundedReceiver<AsyncMessage>), Error> {
    let mut config = Config::new();
    config.host(place("PGHOST")).port(place("PGPORT").parse().expect("a port")).user(place("PGUSER"));
    config.password(password).dbname(place("PGDATABASE")).ssl_mode(SslMode::Require);
    let (client, mut connection) = config.connect(tls()).await?;
    let (sender, notices) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = pin!(stream::poll_fn(move |context| connection.poll_message(context)));
        while let Some(Ok(message)) = messages.next().await {
            let _ = sender.send(message);
        }
    });
    Ok((client, notices))
}

fn code(error: &Error) -> String {
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

async fn count(client: &Client, table: &str) -> Result<i64, Error> {
    Ok(client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?.get(0))
}

async fn login(client: &Client) -> Told {
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    expect(row.get(0), "demo".to_owned())?;
    let refused = connect("wrong").await.err().ok_or("a wrong password was taken")?;
    Ok(code(&refused))
}

async fn simple(client: &Client) -> Told {
    let mut seen = Vec::new();
    for message in client.simple_query("SELECT 1; SELECT 'two'").await? {
        if let SimpleQueryMessage::Row(row) = message {
            seen.push(row.get(0).unwrap_or_default().to_owned());
        }
    }
    expect(seen, vec!["1".to_owned(), "two".to_owned()])?;
    Ok(String::new())
}

async fn parameters(client: &Client) -> Told {
    let none: Option<&str> = None;
    let row = client.query_one("SELECT $1::int + 1, $2::text, $3::text", &[&41, &WORDS, &none]).await?;
    expect((row.get(0), row.get(1), row.get(2)), (42, WORDS.to_owned(), None::<String>))?;
    Ok(String::new())
}

async fn named(client: &Client) -> Told {
    let doubled = client.prepare("SELECT $1::int * 2").await?;
    for n in 0..50 {
        expect(client.query_one(&doubled, &[&n]).await?.get(0), 2 * n)?;
    }
    Ok(String::new())
}

async fn transaction(client: &mut Client) -> Told {
    client.batch_execute("CREATE TABLE moved (n int PRIMARY KEY)").await?;
    let block = client.transaction().await?;
    block.execute("INSERT INTO moved VALUES ($1)", &[&1]).await?;
    block.execute("INSERT INTO moved VALUES ($1)", &[&2]).await?;
    block.commit().await?;
    expect(count(client, "moved").await?, 2)?;
    Ok(String::new())
}

async fn rollback(client: &mut Client) -> Told {
    let block = client.transaction().await?;
    block.execute("INSERT INTO moved VALUES (3)", &[]).await?;
    let first = block.query_one("SELECT 1 / 0", &[]).await.err().ok_or("no error")?;
    let second = block.query_one("SELECT 1", &[]).await.err().ok_or("no error")?;
    block.rollback().await?;
    expect(count(client, "moved").await?, 2)?;
    Ok(format!("{}, {}", code(&first), code(&second)))
}

async fn savepoint(client: &mut Client) -> Told {
    let mut block = client.transaction().await?;
    block.execute("INSERT INTO moved VALUES (4)", &[]).await?;
    let inner = block.transaction().await?;
    let refused = inner.execute("INSERT INTO moved VALUES (4)", &[]).await.err().ok_or("no error")?;
    inner.rollback().await?;
    block.execute("INSERT INTO moved VALUES (5)", &[]).await?;
    block.commit().await?;
    expect(count(client, "moved").await?, 4)?;
    Ok(code(&refused))
}

async fn copy_in(client: &Client) -> Told {
    client.batch_execute("CREATE TABLE copied (n int, word text)").await?;
    let mut sink = pin!(client.copy_in("COPY copied FROM STDIN").await?);
    sink.send(bytes::Bytes::from(lines())).await?;
    let rows: u64 = sink.finish().await?;
    expect(rows, 1000)?;
    expect(count(client, "copied").await?, 1000)?;
    Ok(String::new())
}

async fn copy_out(client: &Client) -> Told {
    let rows = client.copy_out("COPY copied TO STDOUT").await?;
    let told: Vec<_> = rows.try_collect().await?;
    expect(String::from_utf8(told.concat())?, lines())?;
    Ok(String::new())
}

async fn cursor(client: &mut Client) -> Told {
    let block = client.transaction().await?;
    let portal = block.bind("SELECT n FROM generate_series(1, 1000) AS n", &[]).await?;
    let mut total = 0;
    loop {
        let rows = block.query_portal(&portal, 100).await?;
        if rows.is_empty() {
            break;
        }
        total += rows.iter().map(|row| row.get::<_, i32>(0)).sum::<i32>();
    }
    block.commit().await?;
    expect(total, 500_500)?;
    Ok(String::new())
}

async fn cancel(client: &Client) -> Told {
    let token = client.cancel_token();
    let canceller = async {
        let (other, _notices) = connect("demo").await?;
        while other.query_one(SLEEPING, &[]).await?.get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        token.cancel_query(tls()).await
    };
    let (slept, cancelled) = tokio::join!(client.query_one("SELECT pg_sleep(60)", &[]), canceller);
    cancelled?;
    expect(client.query_one("SELECT 1", &[]).await?.get(0), 1)?;
    Ok(code(&slept.err().ok_or("it slept")?))
}

async fn notify(client: &Client, notices: &mut mpsc::UnboundedReceiver<AsyncMessage>) -> Told {
    client.batch_execute("LISTEN bells").await?;
    let (other, _notices) = connect("demo").await?;
    other.batch_execute("NOTIFY bells, 'ding'").await?;
    let heard = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Some(AsyncMessage::Notification(heard)) = notices.recv().await {
                return heard;
            }
        }
    });
    let heard = heard.await?;
    expect((heard.channel(), heard.payload()), ("bells", "ding"))?;
    client.batch_execute("UNLISTEN bells").await?;
    Ok(String::new())
}

async fn big_row(client: &Client) -> Told {
    let big = big();
    let row = client.query_one("SELECT $1::text", &[&big]).await?;
    expect(row.get::<_, String>(0) == big, true)?;
    Ok(String::new())
}

async fn own_writes(client: &Client) -> Told {
    client.batch_execute("CREATE TABLE own (n int)").await?;
    let (insert, counted) = (
        client.prepare("INSERT INTO own VALUES ($1)").await?,
        client.prepare("SELECT count(*) FROM own").await?,
    );
    for n in 1..=100 {
        client.execute(&insert, &[&n]).await?;
        expect(client.query_one(&counted, &[]).await?.get(0), i64::from(n))?;
    }
    Ok(String::new())
}

async fn altered(client: &Client) -> Told {
    client.batch_execute("CREATE TABLE changing AS SELECT 1 AS n").await?;
    let statement = client.prepare("SELECT * FROM changing").await?;
    for _ in 0..10 {
        expect(client.query_one(&statement, &[]).await?.len(), 1)?;
    }
    let (other, _notices) = connect("demo").await?;
    other.batch_execute("ALTER TABLE changing ADD COLUMN word text").await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match client.query_one(&statement, &[]).await {
            Ok(row) => format!("{} columns", row.len()),
            Err(error) => code(&error),
        });
    }
    let again = client.query_one("SELECT * FROM changing", &[]).await?;
    seen.push(format!("prepared again {} columns", again.len()));
    Ok(seen.join(", "))
}
