//! Pools against a fake server: order, limits, failures, cancels, and clients that vanish at any point.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::fake::{Fake, Greeting, eventually};
use super::*;
use crate::pg::SqlState;
use crate::topology::NodeId;

const A: NodeId = NodeId(0);

/// A registry with one worker, this one, and a running janitor.
struct Fixture {
    registry: Arc<Registry>,
    home: Home,
    janitor: JoinHandle<()>,
}

impl Fixture {
    fn new(settings: Settings, endpoints: Vec<Endpoint>) -> Self {
        let registry = Registry::new(settings, endpoints);
        let home = registry.add_worker(Handle::current());
        let janitor = tokio::spawn(Arc::clone(&registry).run_janitor(home));
        Fixture { registry, home, janitor }
    }

    fn pool(&self, user: &str) -> Arc<Pool> {
        self.registry.pool(A, &self.registry.identity("shop", user))
    }

    async fn checkout(&self, pool: &Arc<Pool>) -> Result<Box<Server>, CheckoutError> {
        let checkout = pool.checkout(self.home, Patience::Wait);
        tokio::time::timeout(Duration::from_secs(10), checkout).await.expect("an answer within 10 s")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.janitor.abort();
    }
}

/// Times short enough for tests; a reserve only where a test wants one.
fn settings(size: usize) -> Settings {
    let reserve_after = Duration::from_millis(40);
    Settings { size, reserve: 0, reserve_after, ..Settings::default() }
}

async fn one(size: usize) -> (Fake, Fixture, Arc<Pool>) {
    let fake = Fake::tcp(Greeting::Trust).await;
    let fixture = Fixture::new(settings(size), vec![fake.endpoint.clone()]);
    let pool = fixture.pool("ann");
    (fake, fixture, pool)
}

fn pid(server: &Server) -> i32 {
    server.cancel.target().pid
}

/// Polls once, as a task would that is then dropped.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn a_released_server_is_used_again() {
    let (fake, fixture, pool) = one(3).await;
    assert!(pool.try_checkout(fixture.home).is_none());
    let first = fixture.checkout(&pool).await.expect("connects");
    assert_eq!((first.in_hot_standby(), first.node, first.home()), (Some(true), A, fixture.home));
    let second = fixture.checkout(&pool).await.expect("connects");
    let (first_pid, second_pid) = (pid(&first), pid(&second));
    second.release();
    first.release();
    let again = pool.try_checkout(fixture.home).expect("one is idle");
    assert_eq!(pid(&again), first_pid, "last in, first out");
    assert_eq!(pid(&pool.try_checkout(fixture.home).expect("another")), second_pid);
    assert_eq!(fake.logins(), 2);
    let sent = fake.backend.startup.lock().expect("not poisoned").clone();
    assert!(sent.iter().all(|(name, _)| name != "application_name"), "clients would see it");
}

#[tokio::test]
async fn two_hundred_clients_are_served_in_order() {
    let (fake, fixture, pool) = one(4).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = fixture.checkout(&pool).await.expect("connects");
    fake.greet(Greeting::Silence); // no other connection comes up
    let clients: Vec<_> = (0..200)
        .map(|number| {
            let (pool, order, home) = (Arc::clone(&pool), Arc::clone(&order), fixture.home);
            tokio::spawn(async move {
                let server = pool.checkout(home, Patience::Wait).await.expect("a server");
                order.lock().expect("not poisoned").push(number);
                tokio::task::yield_now().await;
                server.release();
            })
        })
        .collect();
    eventually("all wait", || pool.stats().counts.waiting == 200).await;
    assert!(pool.try_checkout(fixture.home).is_none());
    held.release();
    for client in clients {
        client.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("not poisoned"), (0..200).collect::<Vec<_>>());
    assert_eq!((pool.stats().counts.idle, pool.stats().waits), (1, 201));
}

#[tokio::test]
async fn a_client_that_vanishes_while_waiting_loses_nothing() {
    let (_fake, fixture, pool) = one(1).await;
    let held = fixture.checkout(&pool).await.expect("connects");
    {
        let mut gone = pin!(pool.checkout(fixture.home, Patience::Wait));
        assert!(!poll_once(gone.as_mut()));
        assert_eq!(pool.stats().counts.waiting, 1);
    }
    assert_eq!(pool.stats().counts.waiting, 0);

    let mut second = pin!(pool.checkout(fixture.home, Patience::Wait));
    {
        let mut first = pin!(pool.checkout(fixture.home, Patience::Wait));
        assert!(!poll_once(first.as_mut()) && !poll_once(second.as_mut()));
        held.release();
        assert_eq!(pool.stats().counts.waiting, 1, "handed to the first");
    }
    // The first was dropped with the server in its hands.
    let server = second.await.expect("goes to the second");
    assert_eq!(pid(&server), 1);
    server.release();
    assert_eq!(pool.stats().counts, Counts { idle: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_dropped_server_is_closed_and_makes_room() {
    let (fake, fixture, pool) = one(1).await;
    let held = fixture.checkout(&pool).await.expect("connects");
    let mut next = pin!(pool.checkout(fixture.home, Patience::Wait));
    assert!(!poll_once(next.as_mut()));
    drop(held);
    assert_eq!(pid(&next.await.expect("a new one")), 2);
    eventually("both are closed", || fake.open() == 0).await;
    assert_eq!(fake.backend.farewells.load(Ordering::SeqCst), 0, "not known to be between messages");
    fixture.checkout(&pool).await.expect("connects").close();
    eventually("said goodbye", || fake.backend.farewells.load(Ordering::SeqCst) == 1).await;
    assert_eq!(pool.stats().counts, Counts::default());
}

#[tokio::test]
async fn an_error_of_the_login_reaches_all_who_wait() {
    let (fake, fixture, pool) = one(1).await;
    fake.greet(Greeting::Error(b"3D000"));
    let mut first = pin!(pool.checkout(fixture.home, Patience::Wait));
    let mut second = pin!(pool.checkout(fixture.home, Patience::Wait));
    assert!(!poll_once(first.as_mut()) && !poll_once(second.as_mut()));
    for error in [first.await.expect_err("refused"), second.await.expect_err("refused")] {
        let told = error.to_pg_error();
        assert_eq!((told.code, &*told.message), (SqlState::INVALID_CATALOG_NAME, "says the server"));
    }
    fake.greet(Greeting::Trust);
    fixture.checkout(&pool).await.expect("the next one tries at once");
    assert!(pool.failure().is_none());
}

#[tokio::test]
async fn a_node_that_is_down_is_waited_for_by_those_who_have_time() {
    let (fake, fixture, pool) = one(1).await;
    fake.greet(Greeting::Error(b"57P03"));
    let mut patient = pin!(pool.checkout(fixture.home, Patience::Wait));
    assert!(!poll_once(patient.as_mut()));
    let hasty = pool.checkout(fixture.home, Patience::FailFast).await.expect_err("down");
    assert_eq!(hasty.to_pg_error().code, SqlState::CANNOT_CONNECT_NOW);
    let attempts = || fake.backend.attempts.load(Ordering::SeqCst);
    // During the pause nothing is tried for those who can go elsewhere.
    let before = attempts();
    pool.checkout(fixture.home, Patience::FailFast).await.expect_err("down");
    assert!(pool.failure().is_some() && attempts() == before);
    eventually("it is tried again and again", || attempts() >= 3).await;
    fake.greet(Greeting::Trust);
    patient.await.expect("up again");
    assert!(pool.failure().is_none());
}

#[tokio::test]
async fn waiting_ends_with_the_reason() {
    let fake = Fake::tcp(Greeting::Trust).await;
    let quick = Settings { checkout_timeout: Duration::from_millis(60), ..settings(1) };
    let fixture = Fixture::new(quick, vec![fake.endpoint.clone()]);
    let pool = fixture.pool("ann");
    let _held = fixture.checkout(&pool).await.expect("connects");
    let error = fixture.checkout(&pool).await.expect_err("the only one is in use");
    assert_eq!(error.to_pg_error().code, SqlState::TOO_MANY_CONNECTIONS);
    assert_eq!(pool.stats().timeouts, 1);

    fake.greet(Greeting::Error(b"53300"));
    let error = fixture.checkout(&fixture.pool("bob")).await.expect_err("refused until the end");
    assert_eq!(error.to_pg_error().message, "says the server");
}

#[tokio::test]
async fn the_reserve_opens_for_long_waits_and_closes_again() {
    let fake = Fake::tcp(Greeting::Trust).await;
    let fixture = Fixture::new(Settings { reserve: 1, ..settings(1) }, vec![fake.endpoint.clone()]);
    let pool = fixture.pool("ann");
    let first = fixture.checkout(&pool).await.expect("connects");
    let second = fixture.checkout(&pool).await.expect("from the reserve");
    first.release();
    second.release();
    eventually("back to its size", || pool.stats().counts == Counts { idle: 1, ..Counts::default() }).await;
}

#[tokio::test]
async fn servers_that_died_while_idle_are_not_given_out() {
    let (fake, fixture, pool) = one(2).await;
    let server = fixture.checkout(&pool).await.expect("connects");
    server.release();
    fake.kill_all();
    eventually("noticed", || pool.stats().counts == Counts::default()).await;

    fixture.checkout(&pool).await.expect("connects").release();
    fake.kill_all();
    eventually("closed", || fake.open() == 0).await;
    tokio::task::yield_now().await;
    assert_eq!(pid(&fixture.checkout(&pool).await.expect("connects")), 3);
}

#[tokio::test]
async fn servers_idle_for_long_are_asked_first() {
    let fake = Fake::tcp(Greeting::Trust).await;
    let careful = Settings { check_after_idle: Duration::ZERO, ..settings(2) };
    let fixture = Fixture::new(careful, vec![fake.endpoint.clone()]);
    let pool = fixture.pool("ann");
    let (first, second) = (fixture.checkout(&pool).await, fixture.checkout(&pool).await);
    first.expect("connects").release();
    second.expect("connects").release();
    assert!(pool.try_checkout(fixture.home).is_none(), "the fast way does not check");
    let checked = fixture.checkout(&pool).await.expect("answers");
    assert_eq!((pid(&checked), checked.in_hot_standby()), (2, Some(false)), "news are taken over");
    checked.release();

    fake.backend.stuck.send_replace(true);
    let fresh = fixture.checkout(&pool).await.expect("neither answers, so a new one");
    assert_eq!((pid(&fresh), pool.stats().counts.idle), (3, 0));
    fake.backend.stuck.send_replace(false);
}

#[tokio::test]
async fn a_server_is_kept_apart_until_the_cancel_has_landed() {
    let (fake, fixture, pool) = one(1).await;
    let server = fixture.checkout(&pool).await.expect("connects");
    fake.backend.stuck.send_replace(true);
    let sending = tokio::spawn(server.cancel.begin().send());
    server.release();
    let mut next = pin!(pool.checkout(fixture.home, Patience::Wait));
    eventually("the request arrives", || fake.backend.cancels.lock().expect("not poisoned").len() == 1).await;
    assert!(!poll_once(next.as_mut()) && pool.stats().counts.in_use == 1);
    fake.backend.stuck.send_replace(false);
    assert_eq!(pid(&next.await.expect("the same server")), 1);
    sending.await.expect("no panic").expect("sent");
}

#[tokio::test]
async fn shared_limits_move_servers_to_where_they_are_needed() {
    let fake = Fake::tcp(Greeting::Trust).await;
    let capped = Settings { max_per_node: 2, ..settings(5) };
    let fixture = Fixture::new(capped, vec![fake.endpoint.clone()]);
    let (ann, bob) = (fixture.pool("ann"), fixture.pool("bob"));
    let (first, second) = (fixture.checkout(&ann).await, fixture.checkout(&ann).await);
    let (first, second) = (first.expect("connects"), second.expect("connects"));

    let mut waits = pin!(fixture.checkout(&bob));
    assert!(!poll_once(waits.as_mut()));
    first.release(); // idle, so it is closed for bob
    let bobs = waits.await.expect("room was made");
    assert_eq!(ann.stats().counts.in_use, 1);

    bobs.close();
    let held = fixture.checkout(&ann).await.expect("bob's room");
    // All are in use by ann, who never stops asking; bob has none, and gets one all the same.
    let greedy = tokio::spawn({
        let (ann, home) = (Arc::clone(&ann), fixture.home);
        async move {
            let (mut one, mut other) = (held, second);
            loop {
                one.release();
                one = ann.checkout(home, Patience::Wait).await.expect("a server");
                other.release();
                other = ann.checkout(home, Patience::Wait).await.expect("a server");
                tokio::task::yield_now().await;
            }
        }
    });
    fixture.checkout(&bob).await.expect("one of ann's was closed");
    greedy.abort();
    assert!(fake.open() <= 3);
}

#[tokio::test]
async fn a_database_may_have_a_size_of_its_own() {
    let fake = Fake::tcp(Greeting::Trust).await;
    let database_sizes = [("shop".to_owned(), 1)].into();
    let fixture = Fixture::new(Settings { database_sizes, ..settings(2) }, vec![fake.endpoint.clone()]);
    for (database, expected) in [("shop", 1), ("other", 2)] {
        let pool = fixture.registry.pool(A, &fixture.registry.identity(database, "ann"));
        let mut waits: [_; 3] =
            std::array::from_fn(|_| Box::pin(pool.checkout(fixture.home, Patience::Wait)));
        waits.iter_mut().for_each(|wait| assert!(!poll_once(wait.as_mut())));
        assert_eq!(pool.stats().counts.connecting, expected);
    }
}

#[tokio::test]
async fn retired_nodes_and_removed_nodes() {
    let (fake, fixture, pool) = one(2).await;
    let (first, second) = (fixture.checkout(&pool).await, fixture.checkout(&pool).await);
    first.expect("connects").release();
    let second = second.expect("connects");
    fixture.registry.retire_node(A);
    assert_eq!(pool.stats().counts, Counts { in_use: 1, ..Counts::default() });
    second.release();
    assert_eq!(pool.stats().counts, Counts::default());

    fixture.checkout(&pool).await.expect("connects").release();
    fixture.registry.set_nodes(vec![fake.endpoint.clone()]);
    assert_eq!(pool.stats().counts.idle, 1, "nothing changed");
    fake.greet(Greeting::Silence);
    let _held = pool.try_checkout(fixture.home).expect("idle");
    let mut waits = pin!(fixture.checkout(&pool));
    assert!(!poll_once(waits.as_mut()));
    fixture.registry.set_nodes(Vec::new());
    assert!(matches!(waits.await, Err(CheckoutError::Connect(_))));
    assert!(fixture.checkout(&pool).await.is_err());
}

#[tokio::test]
async fn pools_keep_their_minimum_and_go_when_unused() {
    let fake = Fake::tcp(Greeting::Trust).await;
    let idle_timeout = Duration::from_millis(30);
    let fixture = Fixture::new(Settings { min: 2, idle_timeout, ..settings(3) }, vec![fake.endpoint.clone()]);
    let pool = fixture.pool("ann");
    eventually("the minimum is open", || pool.stats().counts.idle == 2).await;
    fixture.registry.set_settings(Settings { idle_timeout, ..settings(3) });
    eventually("all are closed", || fake.open() == 0).await;
    assert_eq!(fake.backend.farewells.load(Ordering::SeqCst), 2);
    assert_eq!(fixture.registry.pools().len(), 1, "still known to a client");
    drop(pool);
    eventually("the pool is gone", || fixture.registry.pools().is_empty()).await;

    fixture.pool("ann");
    fixture.registry.set_settings(Settings { max_lifetime: idle_timeout, min: 1, ..settings(3) });
    eventually("lives end", || fake.logins() >= 4).await;
}

#[test]
fn several_workers_share_a_pool() {
    const SIZE: usize = 5;
    let worker = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let main = worker();
    let (fake, registry) = main.block_on(async {
        let fake = Fake::tcp(Greeting::Trust).await;
        let registry = Registry::new(settings(SIZE), vec![fake.endpoint.clone()]);
        (fake, registry)
    });
    let stop = Arc::new(tokio::sync::Notify::new());
    let backend = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || main.block_on(stop.notified()))
    };
    let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (registry, busy, most) = (&registry, &busy, &most);
            scope.spawn(move || {
                let runtime = worker();
                let home = registry.add_worker(runtime.handle().clone());
                let pool = registry.pool(A, &registry.identity("shop", "ann"));
                let client = async |seed: u64| {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    for _ in 0..100 {
                        let server = match pool.try_checkout(home) {
                            Some(server) => server,
                            None => pool.checkout(home, Patience::Wait).await.expect("a server"),
                        };
                        most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        for _ in 0..rng.u32(0..3) {
                            tokio::task::yield_now().await;
                        }
                        busy.fetch_sub(1, Ordering::SeqCst);
                        if rng.u32(0..100) > 0 { server.release() } else { server.close() }
                    }
                };
                runtime.block_on(async {
                    let limit = Duration::from_secs(60);
                    let clients = (0..20).map(|client_number| client(number * 100 + client_number));
                    tokio::time::timeout(limit, join_all(clients.collect())).await.expect("all are served");
                    // The others may still need servers whose sockets live here.
                    while registry.pools()[0].stats().counts.waiting > 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                });
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= SIZE);
    let counts = registry.pools()[0].stats().counts;
    assert_eq!((counts.in_use, counts.waiting), (0, 0));
    assert!(fake.logins() > SIZE);
    stop.notify_one();
    backend.join().expect("no panic");
}

/// Runs all futures in one task until each is done.
async fn join_all<F: Future>(futures: Vec<F>) {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut futures {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
