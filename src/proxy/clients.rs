//! Who is connected, and what a CancelRequest may reach.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use foldhash::fast::RandomState;
use subtle::ConstantTimeEq;

use crate::pool::{CancelGuard, CancelHandle};
use crate::topology::NodeId;
use crate::wire::startup::ProtocolVersion;

/// Length of the secret given to clients of protocol 3.2; older ones get the first four bytes.
const SECRET: usize = 32;

/// One connected client as others see it.
#[derive(Debug)]
pub struct Client {
    /// Process id it was told.
    pub pid: i32,
    secret: [u8; SECRET],
    secret_length: usize,
    /// The server it has, for a cancel to find. Taken away before the server is released.
    server: Mutex<Option<Arc<CancelHandle>>>,
    /// Set when the node of that server has fallen silent.
    silent: AtomicBool,
    /// Whether that server is at work for the client.
    running: AtomicBool,
    /// Set to end the connection.
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Client {
    /// Returns the key the client needs to cancel.
    pub fn key(&self) -> &[u8] {
        &self.secret[..self.secret_length]
    }

    /// Makes `server` the one a cancel reaches.
    pub fn attach(&self, server: Arc<CancelHandle>) {
        let mut place = self.server();
        self.silent.store(false, Ordering::Relaxed);
        *place = Some(server);
    }

    /// From here on no cancel reaches the server this client had.
    pub fn detach(&self) {
        self.running.store(false, Ordering::SeqCst);
        *self.server() = None;
    }

    /// Notes whether the server is at work for the client (and not for us, or not at all).
    pub fn set_running(&self, running: bool) {
        if self.running.load(Ordering::Relaxed) != running {
            self.running.store(running, Ordering::SeqCst);
        }
    }

    /// Begins a cancel of what this client runs; `None` when it runs nothing.
    fn begin_cancel(&self) -> Option<CancelGuard> {
        let server = self.server();
        self.running.load(Ordering::SeqCst).then(|| server.as_ref().map(|server| server.begin())).flatten()
    }

    /// Ends the connection.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Tells the client's task that the node of its server has fallen silent, if its server is on one that has.
    pub fn give_up_server(&self, has_fallen_silent: impl Fn(NodeId) -> bool) {
        let server = self.server();
        if server.as_ref().is_some_and(|server| has_fallen_silent(server.target().endpoint.node)) {
            self.silent.store(true, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Takes the note that the node of its server has fallen silent. The task must be [`woken_by`](Self::woken_by).
    pub fn take_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed) && self.silent.swap(false, Ordering::Relaxed)
    }

    /// Notes whom to wake when there is news.
    pub fn woken_by(&self, waker: &Waker) {
        *self.waker.lock().expect("no panic happens under this lock") = Some(waker.clone());
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().expect("no panic happens under this lock") {
            waker.wake_by_ref();
        }
    }

    /// Tells whether the connection is to be ended; if not, the task is woken when it is.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> bool {
        let mut waker = self.waker.lock().expect("no panic happens under this lock");
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        self.is_ended()
    }

    /// Tells whether the connection is to be ended.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn server(&self) -> MutexGuard<'_, Option<Arc<CancelHandle>>> {
        self.server.lock().expect("no panic happens under this lock")
    }
}

/// All clients that have logged in or are about to.
#[derive(Debug, Default)]
pub struct Clients {
    by_pid: Mutex<HashMap<i32, Arc<Client>, RandomState>>,
    count: AtomicUsize,
}

/// What became of a CancelRequest.
#[derive(Debug)]
pub enum Cancel {
    /// To be sent.
    Send(CancelGuard),
    /// The client runs nothing.
    Idle,
    /// No such client, or not its key.
    Unknown,
}

impl Clients {
    /// Registers a client with a process id and a key of its own; `None` when there are `limit` already or the system
    /// has no random numbers.
    pub fn register(&self, limit: usize, version: ProtocolVersion) -> Option<Registered<'_>> {
        let mut secret = [0; SECRET];
        getrandom::fill(&mut secret).ok()?;
        let secret_length = if version >= ProtocolVersion::V3_2 { SECRET } else { 4 };
        let mut by_pid = self.by_pid();
        if by_pid.len() >= limit {
            return None;
        }
        let pid = loop {
            // Positive, as process ids are. It may be guessed: the key must not.
            let pid = fastrand::i32(1..);
            if !by_pid.contains_key(&pid) {
                break pid;
            }
        };
        let client = Arc::new(Client {
            pid,
            secret,
            secret_length,
            server: Mutex::default(),
            silent: AtomicBool::new(false),
            running: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        by_pid.insert(pid, client.clone());
        self.count.store(by_pid.len(), Ordering::Relaxed);
        Some(Registered { clients: self, client })
    }

    /// Finds what a CancelRequest with this id and key reaches.
    pub fn cancel(&self, pid: i32, key: &[u8]) -> Cancel {
        let client = self.by_pid().get(&pid).cloned();
        match client {
            Some(client) if bool::from(client.key().ct_eq(key)) => {
                client.begin_cancel().map_or(Cancel::Idle, Cancel::Send)
            }
            _ => Cancel::Unknown,
        }
    }

    /// Tells those whose server is on a node that has fallen silent.
    pub fn give_up_servers(&self, has_fallen_silent: impl Fn(NodeId) -> bool) {
        self.by_pid().values().for_each(|client| client.give_up_server(&has_fallen_silent));
    }

    /// Ends every connection.
    pub fn end_all(&self) {
        self.by_pid().values().for_each(|client| client.end());
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn by_pid(&self) -> MutexGuard<'_, HashMap<i32, Arc<Client>, RandomState>> {
        self.by_pid.lock().expect("no panic happens under this lock")
    }
}

/// A client's place among the clients, given up when dropped.
#[derive(Debug)]
pub struct Registered<'a> {
    clients: &'a Clients,
    /// The client.
    pub client: Arc<Client>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut by_pid = self.clients.by_pid();
        by_pid.remove(&self.client.pid);
        self.clients.count.store(by_pid.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Address;
    use crate::pool::{CancelTarget, Endpoint};
    use crate::topology::NodeName;

    #[test]
    fn a_cancel_needs_the_whole_key_of_a_client_that_runs_something() {
        let clients = Clients::default();
        let old = clients.register(2, ProtocolVersion::V3_0).expect("room for one");
        let new = clients.register(2, ProtocolVersion::V3_2).expect("room for two");
        assert!(clients.register(2, ProtocolVersion::V3_0).is_none());
        assert_eq!((old.client.key().len(), new.client.key().len()), (4, SECRET));
        let (pid, key) = (new.client.pid, new.client.key().to_vec());
        assert!(matches!(clients.cancel(pid, &key[..4]), Cancel::Unknown));
        assert!(matches!(clients.cancel(pid.wrapping_add(1), &key), Cancel::Unknown));
        assert!(matches!(clients.cancel(pid, &key), Cancel::Idle));
        new.client.set_running(true);
        assert!(matches!(clients.cancel(pid, &key), Cancel::Idle), "no server yet");
        drop(new);
        assert!(matches!(clients.cancel(pid, &key), Cancel::Unknown));
        assert_eq!(clients.count(), 1);
    }

    #[test]
    fn who_has_a_server_on_a_silent_node_is_told_once() {
        let clients = Clients::default();
        let registered = clients.register(1, ProtocolVersion::V3_0).expect("room for one");
        let client = &registered.client;
        clients.give_up_servers(|_| true);
        assert!(!client.take_silent(), "it has no server");
        let address = Address::Tcp { host: "127.0.0.1".into(), port: 1 };
        let endpoint = Endpoint::plain(NodeId(2), NodeName::new("b"), address);
        let target = CancelTarget { endpoint: Arc::new(endpoint), pid: 1, key: Box::default() };
        client.attach(Arc::new(CancelHandle::new(target)));
        clients.give_up_servers(|node| node == NodeId(1));
        assert!(!client.take_silent());
        clients.give_up_servers(|node| node == NodeId(2));
        assert!(client.take_silent() && !client.take_silent());
        client.detach();
        clients.give_up_servers(|_| true);
        assert!(!client.take_silent());
    }
}
