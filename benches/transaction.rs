//! What the proxy's own work on a transaction costs, without sockets: the session machine from the client's request to the
//! server given back, going through frames, and taking a server from its pool.
//!
//! Where one iteration is many rows or frames, the elements a second are these. Run with `cargo bench --bench transaction`.

use std::hint::black_box;
use std::net::TcpListener;

use backend::serve_one;
use bellwether::pg::Address;
use bellwether::pool::{Endpoint, Patience, Registry, Settings};
use bellwether::topology::{NodeId, NodeName};
use bellwether::wire::frame::Head;
use bellwether::wire::write;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use machine::{Bench, bind_execute_sync, prepare, row_and_end};

#[path = "machine/backend.rs"]
mod backend;
mod machine;

const SELECT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1";
const ROWS: usize = 600;

fn transaction(c: &mut Criterion) {
    let mut group = c.benchmark_group("transaction");
    group.bench_function("prepared", |b| {
        let mut bench = Bench::new();
        prepare(&mut bench, b"P_0", SELECT);
        let request = bind_execute_sync(b"P_0");
        let mut answer = b"2\0\0\0\x04".to_vec();
        row_and_end(&mut answer);
        b.iter(|| black_box(bench.transaction(&request, &answer)));
    });
    group.bench_function("unnamed statement", |b| {
        let mut bench = Bench::new();
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        write::parse(&mut request, b"", SELECT, b"");
        request.extend_from_slice(&bind_execute_sync(b""));
        answer.extend_from_slice(write::PARSE_COMPLETE);
        answer.extend_from_slice(b"2\0\0\0\x04");
        row_and_end(&mut answer);
        b.iter(|| black_box(bench.transaction(&request, &answer)));
    });
    let mut answer = Vec::new();
    write::text_row_description(&mut answer, &["abalance"]);
    row_and_end(&mut answer);
    group.bench_function("simple, one text", |b| {
        let mut bench = Bench::new();
        let request = query("SELECT abalance FROM pgbench_accounts WHERE aid = 1;");
        b.iter(|| black_box(bench.transaction(&request, &answer)));
    });
    group.bench_function("simple, every text different", |b| {
        let mut bench = Bench::new();
        let mut n = 0;
        let request = || {
            n += 1;
            query(&format!("SELECT abalance FROM pgbench_accounts WHERE aid = {n};"))
        };
        b.iter_batched_ref(
            request,
            |request| black_box(bench.transaction(request, &answer)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("100 bytes");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut rows = Vec::new();
    let line = "x".repeat(89);
    (0..ROWS).for_each(|_| write::text_row(&mut rows, [Some(line.as_str())].into_iter()));
    group.bench_function("row passed on", |b| {
        let mut bench = Bench::new();
        let request = query("SELECT line FROM pgbench_accounts");
        let mut answer = Vec::new();
        write::text_row_description(&mut answer, &["line"]);
        answer.extend_from_slice(&rows);
        row_and_end(&mut answer);
        b.iter(|| black_box(bench.transaction(&request, &answer)));
    });
    group.bench_function("frame found", |b| {
        b.iter(|| {
            let mut at = 0;
            while let Ok(Some(head)) = Head::read(black_box(&rows[at..])) {
                at += head.total;
            }
            assert_eq!(black_box(at), rows.len());
        });
    });
    group.finish();
}

fn query(sql: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write::query(&mut request, sql.as_bytes());
    request
}

/// A server taken from its pool and given back.
fn checkout(c: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let backend = std::thread::spawn(move || serve_one(listener));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let node = NodeId(0);
        let endpoint =
            Endpoint::plain(node, NodeName::new("a"), Address::Tcp { host: "127.0.0.1".into(), port });
        let registry = Registry::new(Settings { size: 1, reserve: 0, ..Settings::default() }, vec![endpoint]);
        let home = registry.add_worker(tokio::runtime::Handle::current());
        let pool = registry.pool(node, &registry.identity("shop", "ann"));
        pool.checkout(home, Patience::Wait).await.expect("connects").release();
        c.bench_function("checkout", |b| {
            b.iter(|| pool.try_checkout(home).expect("it is idle").release());
        });
    });
    drop(runtime);
    backend.join().expect("no panic");
}

criterion_group!(benches, transaction, rows, checkout);
criterion_main!(benches);
