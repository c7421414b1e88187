//! Checking a server out and giving it back allocates nothing, neither at once nor after a wait in line.
#![allow(clippy::disallowed_methods)] // A test is no pure group.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpListener;
use std::pin::pin;
use std::task::{Context, Waker};

use backend::serve_one;
use bellwether::pg::Address;
use bellwether::pool::{Endpoint, Patience, Registry, Settings};
use bellwether::topology::{NodeId, NodeName};

#[path = "../benches/machine/backend.rs"]
mod backend;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all work is the system allocator's; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test]
async fn checkout_and_release_allocate_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let backend = std::thread::spawn(move || serve_one(listener));
    let node = NodeId(0);
    let address = Address::Tcp { host: "127.0.0.1".into(), port };
    let endpoint = Endpoint::plain(node, NodeName::new("a"), address);
    let settings = Settings { size: 1, reserve: 0, ..Settings::default() };
    let registry = Registry::new(settings, vec![endpoint]);
    let home = registry.add_worker(tokio::runtime::Handle::current());
    let pool = registry.pool(node, &registry.identity("shop", "ann"));
    pool.checkout(home, Patience::Wait).await.expect("connects").release();

    let mut context = Context::from_waker(Waker::noop());
    let mut round = || {
        let server = pool.try_checkout(home).expect("it is idle");
        let mut waits = pin!(pool.checkout(home, Patience::Wait));
        assert!(waits.as_mut().poll(&mut context).is_pending());
        server.release();
        let std::task::Poll::Ready(Ok(server)) = waits.as_mut().poll(&mut context) else {
            panic!("not handed on")
        };
        server.release();
    };
    round(); // the first wait makes its place
    let before = ALLOCATIONS.get();
    (0..100).for_each(|_| round());
    assert_eq!(ALLOCATIONS.get() - before, 0);
    drop((pool, registry));
    backend.join().expect("no panic");
}
