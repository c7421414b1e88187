//! The hot path of the session machine allocates nothing once it is warm.
#![allow(clippy::disallowed_methods)] // A test is no pure group.

use bellwether::wire::write;
use machine::{Bench, bind_execute_sync, prepare, row_and_end};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[path = "../benches/machine/mod.rs"]
mod machine;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bench: &mut Bench, request: &[u8], answer: &[u8]) -> usize {
    for _ in 0..10 {
        bench.transaction(request, answer);
    }
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..100 {
        let (to_server, to_client) = bench.transaction(request, answer);
        assert!(to_server >= request.len() && to_client == answer.len());
    }
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_simple_query_allocates_nothing() {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    write::query(&mut request, b"SELECT abalance FROM pgbench_accounts WHERE aid = 42");
    write::text_row_description(&mut answer, &["abalance"]);
    row_and_end(&mut answer);
    assert_eq!(count(&mut Bench::new(), &request, &answer), 0);
}

#[test]
fn a_prepared_statement_allocates_nothing() {
    let mut bench = Bench::new();
    prepare(&mut bench, b"P_0", b"SELECT abalance FROM pgbench_accounts WHERE aid = $1");
    let request = bind_execute_sync(b"P_0");
    let mut answer = b"2\0\0\0\x04".to_vec();
    row_and_end(&mut answer);
    assert_eq!(count(&mut bench, &request, &answer), 0);
}

#[test]
fn a_described_statement_allocates_nothing() {
    let mut bench = Bench::new();
    prepare(&mut bench, b"P_0", b"SELECT abalance FROM pgbench_accounts WHERE aid = $1");
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    write::describe_statement(&mut request, b"P_0");
    write::sync(&mut request);
    write::message(&mut answer, b't', |body| body.extend_from_slice(&[0, 1, 0, 0, 0, 23]));
    write::text_row_description(&mut answer, &["abalance"]);
    write::ready_for_query(&mut answer, b'I');
    bench.transaction(&request, &answer);
    let request = bind_execute_sync(b"P_0");
    let mut answer = b"2\0\0\0\x04".to_vec();
    row_and_end(&mut answer);
    assert_eq!(count(&mut bench, &request, &answer), 0);
}

#[test]
fn an_unnamed_statement_allocates_nothing() {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    write::parse(&mut request, b"", b"SELECT abalance FROM pgbench_accounts WHERE aid = $1", b"");
    request.extend_from_slice(&bind_execute_sync(b""));
    answer.extend_from_slice(write::PARSE_COMPLETE);
    answer.extend_from_slice(b"2\0\0\0\x04");
    row_and_end(&mut answer);
    assert_eq!(count(&mut Bench::new(), &request, &answer), 0);
}
