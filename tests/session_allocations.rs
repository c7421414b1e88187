//! The hot path of the session machine allocates nothing once it is warm.
#![allow(clippy::disallowed_methods)] // A test is no pure group.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use bellwether::routing::Target;
use bellwether::session::{
    BackendStep, Context, FrontendStep, Outbox, PoolMode, Reported, ServerState, Session, StatementTable,
};
use bellwether::sql::{Catalog, Classifier, Facts, Lists, SearchPaths};
use bellwether::wire::write;

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

struct Bench {
    session: Session,
    server: ServerState,
    classifier: Classifier,
    catalog: Catalog,
    paths: SearchPaths,
    statements: StatementTable,
    to_server: Outbox,
    to_client: Outbox,
}

impl Bench {
    fn new() -> Self {
        Bench {
            session: Session::new(PoolMode::Transaction, Arc::default(), Reported::default()),
            server: ServerState::new(Vec::new()),
            classifier: Classifier::default(),
            catalog: Catalog::new(
                1,
                Facts::default().with_table("public", "pgbench_accounts"),
                Lists::default(),
            ),
            paths: SearchPaths::default(),
            statements: StatementTable::new(0),
            to_server: Outbox::default(),
            to_client: Outbox::default(),
        }
    }

    /// One request and its answer; the server is taken and given back. Returns the bytes both sides were sent.
    fn transaction(&mut self, request: &[u8], answer: &[u8]) -> (usize, usize) {
        let (_, step) = self.frontend(request, false);
        let FrontendStep::NeedServer(need) = step else { panic!("no server wanted: {step:?}") };
        assert_eq!(need.target, Target::Standby);
        self.session.attach(&mut self.server, &mut self.to_server);
        let (taken, _) = self.frontend(request, true);
        assert_eq!(taken, request.len());
        let to_server = sent(&mut self.to_server, request);
        let (taken, step) =
            self.session.backend(answer, &mut self.server, &mut self.to_client, &mut self.to_server);
        assert_eq!((taken, step), (answer.len(), BackendStep::Release));
        self.session.answers_sent();
        let to_client = sent(&mut self.to_client, answer);
        self.session.detach(&mut self.server);
        self.session.rest();
        self.to_server.shrink(512);
        self.to_client.shrink(512);
        (to_server, to_client)
    }

    fn frontend(&mut self, request: &[u8], attached: bool) -> (usize, FrontendStep) {
        let mut context = Context {
            classifier: &mut self.classifier,
            statements: &mut self.statements,
            catalog: Some(&self.catalog),
            paths: &mut self.paths,
            schema_generation: 1,
            prepared_limit: 100,
            split: true,
            keeps_sequences: false,
        };
        let server = attached.then_some(&mut self.server);
        self.session.frontend(request, server, &mut context, &mut self.to_server, &mut self.to_client)
    }
}

fn sent(outbox: &mut Outbox, input: &[u8]) -> usize {
    let (own, through) = outbox.slices(input);
    let length = own.len() + through.len();
    outbox.advance(length);
    length
}

fn row_and_end(out: &mut Vec<u8>) {
    write::text_row(out, [Some("1")].into_iter());
    write::command_complete(out, "SELECT 1");
    write::ready_for_query(out, b'I');
}

fn bind_execute_sync(name: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    write::bind(&mut request, name);
    write::execute(&mut request);
    write::sync(&mut request);
    request
}

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
    let (mut prepare, mut prepared) = (Vec::new(), Vec::new());
    write::parse(&mut prepare, b"P_0", b"SELECT abalance FROM pgbench_accounts WHERE aid = $1", b"");
    write::sync(&mut prepare);
    prepared.extend_from_slice(write::PARSE_COMPLETE);
    write::ready_for_query(&mut prepared, b'I');
    bench.transaction(&prepare, &prepared);
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
