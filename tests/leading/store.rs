//! Members of etcd are lost: one, and all of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use bellwether::lab::{EtcdOptions, Options};
use tokio_postgres::{Client, NoTls};

use crate::support::{Clients, World};

/// How long etcd is away.
const AWAY: Duration = Duration::from_secs(62);
/// Longer than `leading.permission` of a patient proxy.
const BEYOND_PERMISSION: Duration = Duration::from_secs(8);
/// How soon after etcd's return writes go through, on a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(10);

fn three() -> EtcdOptions {
    EtcdOptions { members: 3, ..EtcdOptions::default() }
}

#[test]
fn a_minute_without_etcd_costs_writes_a_wait_and_reads_nothing() {
    let world = World::with(2, Options::default(), three(), &[]);
    world.insist(0, "CREATE TABLE t (n int)");
    world.cluster.wait_replayed().unwrap();
    let run = "SELECT pg_postmaster_start_time()";
    let started = world.cluster.sql("a", run).unwrap();
    let clients = Clients::start(&world, 4);
    let over = AtomicBool::new(false);
    let (refused, reads) = scope(|scope| {
        let readers = [0, 1].map(|nth| {
            let (world, over) = (&world, &over);
            scope.spawn(move || read_on(world, nth, over))
        });
        // Also when an assertion fails, or the readers would never end.
        let _end = Ended(&over);
        world.until("both readers have begun", |world| {
            world.sql(0, "SELECT count(*) FROM t").is_ok_and(|rows| rows == "2")
        });
        world.etcd.stop();
        let gone = Instant::now();
        // While a permission lasts, writes go on as if nothing were.
        clients.write_on(&world);
        sleep(BEYOND_PERMISSION);
        let writes = clients.progress().writes;
        let refused = write_once(&world);
        assert_eq!(clients.progress().writes, writes, "nothing is acknowledged without a permission");
        for nth in [0, 1] {
            let status = world.status(nth);
            assert_eq!((&status["store"]["reachable"], &status["term"]), (&0.into(), &1.into()), "{status}");
        }
        // A session that is opened now reads as well, also one with settings that were never asked for here.
        assert_eq!(world.sql(1, "SELECT count(*) FROM t").as_deref(), Ok("2"));
        sleep(AWAY.saturating_sub(gone.elapsed()));
        assert_eq!(clients.progress().writes, writes, "nothing is acknowledged without a permission");

        world.etcd.resume().unwrap();
        let back = Instant::now();
        clients.write_on(&world);
        println!("written {:?} after etcd's return", back.elapsed());
        assert!(back.elapsed() < BACK_WITHIN, "{:?}\n{}", back.elapsed(), world.evidence());
        over.store(true, Ordering::Relaxed);
        (refused, readers.map(|reader| reader.join().expect("no read failed")))
    });
    println!("reads {reads:?}");
    assert!(reads.iter().all(|(_, longest)| *longest < BACK_WITHIN), "{reads:?}");

    // It says what is missing, after as long as a statement is held, and the session goes on.
    let Refused { after, code, message, detail, hint } = refused;
    assert_eq!(code, "57P03");
    assert_eq!(message, "no primary is available");
    assert_eq!(detail, "Waited 20 s: there is one, but etcd gives this proxy no permission to talk to it.");
    assert!(hint.ends_with("once etcd answers."), "{hint}");
    assert!(after >= Duration::from_secs(19) && after < Duration::from_secs(30), "{after:?}");

    // Nobody was promoted, and nothing was restarted.
    for nth in [0, 1] {
        world.until("the primary is seen", |world| world.leader(nth).as_deref() == Some("a"));
        assert_eq!(world.status(nth)["term"], 1, "{}", world.evidence());
    }
    assert_eq!(world.cluster.sql("a", run).unwrap(), started);
    let report = clients.end_without_loss(&world);
    // What was under way when the permission ended could be in doubt; all else was refused in so many words.
    let others: u64 =
        report.progress.errors.iter().filter(|(code, _)| *code != "57P03").map(|(_, count)| count).sum();
    assert!(report.progress.errors.contains_key("57P03") && others <= 4, "{report:?}");
}

#[test]
fn a_member_of_etcd_costs_no_statement() {
    let world = World::with(2, Options::default(), three(), &[]);
    let clients = Clients::start(&world, 4);
    let leader = world.etcd.leader().expect("etcd has a leader");
    let [one, other] = [1, 2].map(|next| (leader + next) % 3);
    // A follower is killed, the other one falls silent, and in the end the leader is killed.
    for (member, silent) in [(one, false), (other, true), (leader, false)] {
        if silent {
            world.etcd.freeze(member);
        } else {
            world.etcd.kill(member);
        }
        let endpoint = world.etcd.endpoint(member);
        for nth in [0, 1] {
            world.until("the member is missed", |world| {
                let status = world.status(nth);
                let named = |name: &str| status[name].to_string().contains(&endpoint);
                status["store"]["reachable"] == 2 && named("store") && named("warnings")
            });
        }
        let end = Instant::now() + BEYOND_PERMISSION;
        while Instant::now() < end {
            clients.write_on(&world);
        }
        if silent {
            world.etcd.thaw(member);
        } else {
            world.etcd.start_member(member).unwrap();
        }
        world.etcd.wait_healthy().unwrap();
        world.until("all members answer", |world| world.status(1)["store"]["reachable"] == 3);
    }
    let report = clients.end_without_loss(&world);
    assert_eq!(report.progress.error_count(), 0, "{report:?}\n{}", world.evidence());
    assert_eq!(world.status(0)["term"], 1, "nobody was promoted");
}

/// Ends the readers when it goes.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One session that has written, and reads what it wrote until it is over. Returns how often, and the longest wait.
fn read_on(world: &World, nth: usize, over: &AtomicBool) -> (u64, Duration) {
    in_session(world, nth, async |client| {
        client.batch_execute(&format!("INSERT INTO t VALUES ({nth})")).await.expect("it is written");
        let (mut reads, mut longest) = (0, Duration::ZERO);
        while !over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let mine = client.query_one("SELECT count(*) FROM t WHERE n = $1", &[&(nth as i32)]).await;
            assert_eq!(mine.expect("reads go on").get::<_, i64>(0), 1, "what it wrote is there");
            longest = longest.max(began.elapsed());
            reads += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (reads, longest)
    })
}

/// How a write ended that waited in vain.
struct Refused {
    after: Duration,
    code: String,
    message: String,
    detail: String,
    hint: String,
}

/// Writes once, and reads in the same session afterwards.
fn write_once(world: &World) -> Refused {
    in_session(world, 0, async |client| {
        let began = Instant::now();
        let error = client.batch_execute("INSERT INTO t VALUES (9)").await.expect_err("it is refused");
        let after = began.elapsed();
        let told = error.as_db_error().expect("an error of the proxy");
        client.query_one("SELECT count(*) FROM t", &[]).await.expect("the session goes on");
        Refused {
            after,
            code: told.code().code().to_owned(),
            message: told.message().to_owned(),
            detail: told.detail().unwrap_or_default().to_owned(),
            hint: told.hint().unwrap_or_default().to_owned(),
        }
    })
}

fn in_session<T>(world: &World, nth: usize, work: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = world.proxies[nth].endpoint();
        let (client, connection) = tokio_postgres::connect(&endpoint, NoTls).await.expect("it lets us in");
        let connection = tokio::spawn(connection);
        let told = work(&client).await;
        connection.abort();
        told
    })
}
