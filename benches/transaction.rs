//! What the proxy's own work on a transaction costs, without sockets: the session machine from the client's request to the
//! server given back, going through frames, and taking a server from its pool.
//!
//! Prints nanoseconds, the best of several rounds. Run with `cargo bench --bench transaction`.

use std::hint::black_box;
use std::net::TcpListener;
use std::time::Instant;

use backend::serve_one;
use bellwether::pg::Address;
use bellwether::pool::{Endpoint, Patience, Registry, Settings};
use bellwether::topology::{NodeId, NodeName};
use bellwether::wire::frame::Head;
use bellwether::wire::write;
use machine::{Bench, bind_execute_sync, prepare, row_and_end};

#[path = "machine/backend.rs"]
mod backend;
mod machine;

const ROUNDS: usize = 50;
const TIMES: usize = 2000;

fn main() {
    println!("{:<44}{:>8}", "", "ns");
    show("transaction, prepared", prepared());
    show("transaction, unnamed statement", unnamed());
    show("transaction, simple, one text", simple(1));
    show("transaction, simple, every text different", simple(usize::MAX));
    show("row of 100 bytes passed on", row_passed_on());
    show("frame of 100 bytes found", frame_found());
    show("server taken and given back", checkout());
}

fn show(what: &str, nanoseconds: f64) {
    println!("{what:<44}{nanoseconds:>8.0}");
}

/// Returns nanoseconds for one `work`, the best of the rounds.
fn best(mut work: impl FnMut(usize)) -> f64 {
    let round = |round: usize| {
        let began = Instant::now();
        (0..TIMES).for_each(|n| work(round * TIMES + n));
        began.elapsed().as_nanos() as f64 / TIMES as f64
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}

const SELECT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1";

fn prepared() -> f64 {
    let mut bench = Bench::new();
    prepare(&mut bench, b"P_0", SELECT);
    let request = bind_execute_sync(b"P_0");
    let mut answer = b"2\0\0\0\x04".to_vec();
    row_and_end(&mut answer);
    best(|_| {
        black_box(bench.transaction(&request, &answer));
    })
}

fn unnamed() -> f64 {
    let mut bench = Bench::new();
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    write::parse(&mut request, b"", SELECT, b"");
    request.extend_from_slice(&bind_execute_sync(b""));
    answer.extend_from_slice(write::PARSE_COMPLETE);
    answer.extend_from_slice(b"2\0\0\0\x04");
    row_and_end(&mut answer);
    best(|_| {
        black_box(bench.transaction(&request, &answer));
    })
}

/// With so many different texts.
fn simple(texts: usize) -> f64 {
    let mut bench = Bench::new();
    let text = |n: usize| {
        let mut request = Vec::new();
        let sql = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {};", n % texts);
        write::query(&mut request, sql.as_bytes());
        request
    };
    let requests: Vec<Vec<u8>> = (0..ROUNDS * TIMES).map(text).collect();
    let mut answer = Vec::new();
    write::text_row_description(&mut answer, &["abalance"]);
    row_and_end(&mut answer);
    best(|n| {
        black_box(bench.transaction(&requests[n], &answer));
    })
}

fn rows(count: usize) -> Vec<u8> {
    let mut rows = Vec::new();
    let line = "x".repeat(89);
    (0..count).for_each(|_| write::text_row(&mut rows, [Some(line.as_str())].into_iter()));
    rows
}

/// A large result, by row.
fn row_passed_on() -> f64 {
    const COUNT: usize = 600;
    let mut bench = Bench::new();
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    write::query(&mut request, b"SELECT line FROM pgbench_accounts");
    write::text_row_description(&mut answer, &["line"]);
    answer.extend_from_slice(&rows(COUNT));
    row_and_end(&mut answer);
    best(|_| {
        black_box(bench.transaction(&request, &answer));
    }) / COUNT as f64
}

fn frame_found() -> f64 {
    const COUNT: usize = 600;
    let rows = rows(COUNT);
    let scan = |_| {
        let mut at = 0;
        while let Ok(Some(head)) = Head::read(black_box(&rows[at..])) {
            at += head.total;
        }
        assert_eq!(black_box(at), rows.len());
    };
    best(scan) / COUNT as f64
}

fn checkout() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let backend = std::thread::spawn(move || serve_one(listener));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let nanoseconds = runtime.block_on(async {
        let node = NodeId(0);
        let endpoint =
            Endpoint::plain(node, NodeName::new("a"), Address::Tcp { host: "127.0.0.1".into(), port });
        let registry = Registry::new(Settings { size: 1, reserve: 0, ..Settings::default() }, vec![endpoint]);
        let home = registry.add_worker(tokio::runtime::Handle::current());
        let pool = registry.pool(node, &registry.identity("shop", "ann"));
        pool.checkout(home, Patience::Wait).await.expect("connects").release();
        best(|_| pool.try_checkout(home).expect("it is idle").release())
    });
    drop(runtime);
    backend.join().expect("no panic");
    nanoseconds
}
