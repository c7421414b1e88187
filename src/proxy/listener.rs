//! Accepts clients, each in a task of its own on the worker that accepted it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::freshness::OUTCOMES;
use super::handshake::{Admitted, CANCEL_RESULTS, Failure, Incoming, incoming_tcp};
use super::place::FALLBACKS;
use super::positions::Positions;
use super::settings::{Listen, Settings};
use super::silent;
use super::state::{Shared, Topology, Worker};
use super::tls::ClientTls;
use crate::pg::SqlState;
use crate::pool::tls::files::TlsFileError;
use crate::pool::{Home, Identity, Registry};
use crate::routing::{Loads, Reason};
use crate::session::{Healing, pins};
use crate::telemetry::{Metrics, Names};
use crate::topology::SPARE_SEATS;

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address, as configured.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

/// The endpoint: listening sockets and what its clients share.
pub struct Proxy {
    shared: Arc<Shared>,
    /// Empty once no more clients are taken.
    listeners: Mutex<Vec<(Listener, Reach)>>,
}

/// Which nodes the clients of an address reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    All,
    /// Standbys only. The hint says where writes can be sent.
    Standbys(Arc<str>),
}

enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

/// Connections that may wait in the kernel for each listener.
const BACKLOG: i32 = 1024;

const ROUTES: &[&str] = &["primary", "standby"];
const CLIENT_STATES: &[&str] = &["login", "connected"];
const REJECTIONS: &[&str] = &["login", "too_many", "unavailable", "protocol", "timeout"];

/// The names of what the data plane counts, as `telemetry` wants them.
pub fn metric_names() -> Names {
    static PIN_NAMES: [&str; pins::PINS.len()] = {
        let mut names = [""; pins::PINS.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = pins::PINS[at].1;
            at += 1;
        }
        names
    };
    Names {
        routes: ROUTES,
        rules: &Reason::NAMES,
        pins: &PIN_NAMES,
        client_states: CLIENT_STATES,
        rejections: REJECTIONS,
        healings: &Healing::NAMES,
        cancels: CANCEL_RESULTS,
        fallbacks: FALLBACKS,
        freshness: OUTCOMES,
    }
}

impl Proxy {
    /// Opens the listening sockets and reads the certificate. Nothing is accepted before [`serve`](Self::serve).
    ///
    /// `cluster` is the login that runs `auth_query`.
    pub fn open(
        settings: Settings,
        registry: Arc<Registry>,
        cluster: Arc<Identity>,
        topology: Topology,
    ) -> Result<Self, StartError> {
        let tls = settings.tls.as_ref().map(ClientTls::load).transpose()?;
        let listeners = open_all(&settings)?;
        let mut mock_secret = [0; 32];
        getrandom::fill(&mut mock_secret).map_err(|error| StartError::Random(error.to_string()))?;
        let seats = topology.snapshot.load().nodes.len() + SPARE_SEATS;
        let shared = Shared {
            loads: Loads::new(seats, Instant::now()),
            positions: Positions::new(seats),
            logins: Default::default(),
            settings: ArcSwap::from_pointee(settings),
            registry,
            cluster,
            topology,
            clients: Default::default(),
            tls: ArcSwapOption::new(tls.map(Arc::new)),
            verifiers: Default::default(),
            greetings: Default::default(),
            catalogs: Default::default(),
            mock_secret,
            draining: watch::Sender::new(false),
        };
        Ok(Proxy { shared: Arc::new(shared), listeners: Mutex::new(listeners) })
    }

    /// Returns what can be steered while clients are served.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Returns the addresses listened on: a port that was configured as 0 is filled in.
    pub fn addresses(&self) -> Vec<Listen> {
        let address = |(listener, _): &(Listener, Reach)| match listener {
            Listener::Tcp(tcp) => tcp.local_addr().ok().map(Listen::Tcp),
            Listener::Unix(_, path) => Some(Listen::Unix(path.clone())),
        };
        self.listeners().iter().filter_map(address).collect()
    }

    /// Accepts and serves clients on the calling runtime, which is worker `worker`'s, until told to drain.
    pub async fn serve(&self, worker: Arc<Worker>) -> io::Result<()> {
        // One for all workers. Goes on while clients finish.
        if worker.home == Home(0) {
            tokio::spawn(silent::watch(worker.shared.clone()));
        }
        let mut accepting = tokio::task::JoinSet::new();
        for listener in &*self.listeners() {
            let (listener, reach) = listener;
            match listener {
                Listener::Tcp(tcp) => {
                    let tcp = TcpListener::from_std(tcp.try_clone()?)?;
                    accepting.spawn(accept_tcp(tcp, reach.clone(), worker.clone()));
                }
                Listener::Unix(unix, _) => {
                    let unix = UnixListener::from_std(unix.try_clone()?)?;
                    accepting.spawn(accept_unix(unix, reach.clone(), worker.clone()));
                }
            }
        }
        let mut draining = worker.shared.draining.subscribe();
        let _ = draining.wait_for(|draining| *draining).await;
        accepting.shutdown().await;
        // Clients are refused at once and can go elsewhere; otherwise they would wait in the kernel's queue.
        self.listeners().clear();
        Ok(())
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<(Listener, Reach)>> {
        self.listeners.lock().expect("no panic happens under this lock")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Shared {
    /// Takes new settings; those that are read when a client connects hold for the next clients. The certificate is
    /// read again; if that fails nothing changes.
    pub fn reload(&self, settings: Settings) -> Result<(), TlsFileError> {
        let tls = match (self.tls.load_full(), &settings.tls) {
            (Some(tls), Some(files)) => {
                tls.reload(files)?;
                Some(tls)
            }
            (None, Some(files)) => Some(Arc::new(ClientTls::load(files)?)),
            (_, None) => None,
        };
        self.tls.store(tls);
        let lists_changed = self.settings.load().lists != settings.lists;
        self.settings.store(Arc::new(settings));
        if lists_changed {
            self.catalogs.reload();
        }
        Ok(())
    }

    /// Stops accepting, lets clients finish their transactions for at most `drain_timeout`, and ends them. Returns how
    /// many had to be cut off.
    pub async fn drain(&self) -> usize {
        self.draining.send_replace(true);
        self.clients.end_all();
        let limit = tokio::time::Instant::now() + self.settings.load().drain_timeout;
        while self.clients.count() > 0 && tokio::time::Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.clients.count()
    }
}

/// Opens all sockets. Clients of those for reads only are told of the first one that takes writes.
fn open_all(settings: &Settings) -> Result<Vec<(Listener, Reach)>, StartError> {
    let mut listeners: Vec<(Listener, Reach)> = Vec::new();
    for place in &settings.listen {
        listeners.push((listen(place)?, Reach::All));
    }
    let elsewhere = match listeners.first() {
        Some((Listener::Tcp(tcp), _)) => match tcp.local_addr() {
            Ok(address) => {
                format!("This address reaches standbys only; port {} takes writes.", address.port())
            }
            Err(_) => "This address reaches standbys only.".to_owned(),
        },
        Some((Listener::Unix(_, path), _)) => {
            format!("This address reaches standbys only; {} takes writes.", path.display())
        }
        None => "This address reaches standbys only.".to_owned(),
    };
    let reach = Reach::Standbys(elsewhere.into());
    for place in &settings.listen_read_only {
        listeners.push((listen(place)?, reach.clone()));
    }
    Ok(listeners)
}

fn listen(address: &Listen) -> Result<Listener, StartError> {
    let failed = |error| StartError::Listen { address: address.to_string(), error };
    match address {
        Listen::Tcp(address) => listen_tcp(*address).map(Listener::Tcp).map_err(failed),
        Listen::Unix(path) => {
            remove_stale_socket(path);
            let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            // As PostgreSQL's unix_socket_permissions: who may come in is for the host rules to say.
            let anyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(path, anyone).map_err(failed)?;
            Ok(Listener::Unix(listener, path.clone()))
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Linux passes it on to the connections that are accepted: five calls less for each.
    crate::pool::prepare_tcp(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Removes the socket file of a process that is gone: nobody answers on it.
fn remove_stale_socket(path: &std::path::Path) {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        let _ = std::fs::remove_file(path);
    }
}

async fn accept_tcp(listener: TcpListener, reach: Reach, worker: Arc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => welcome(incoming_tcp(tcp, address.ip(), reach.clone()), &worker),
            Err(error) => pause_after(error).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, reach: Reach, worker: Arc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((unix, _)) => welcome(Incoming::new(unix.into(), None, reach.clone()), &worker),
            Err(error) => pause_after(error).await,
        }
    }
}

/// Out of file descriptors, most likely: accepting again at once would only burn time.
async fn pause_after(error: io::Error) {
    tracing::warn!(event = "client.accept_failed", %error);
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn welcome(incoming: Incoming, worker: &Arc<Worker>) {
    tokio::spawn(serve_connection(Box::new(incoming), worker.clone()));
}

async fn serve_connection(incoming: Box<Incoming>, worker: Arc<Worker>) {
    let metrics = &worker.metrics;
    metrics.client_came(0);
    // All boxed: a waiting client should not carry the memory of its login, or of what it is not.
    let admitted = Box::pin(admit(incoming, &worker)).await;
    match admitted {
        Ok(Ok(Admitted::Client(mut task, registered))) => {
            metrics.logged_in();
            metrics.client_moved(0, 1);
            Box::pin(task.run()).await;
            drop((task, registered));
            metrics.client_left(1);
        }
        Ok(Ok(Admitted::Replication(pass_through, registered))) => {
            metrics.logged_in();
            metrics.client_moved(0, 1);
            Box::pin(pass_through.run()).await;
            drop(registered);
            metrics.client_left(1);
        }
        Ok(Err(failure)) => {
            if let Failure::Told(error) = failure {
                tracing::info!(event = "client.rejected", code = %error.code, message = error.message);
                metrics.rejected(rejection(error.code));
            }
            metrics.client_left(0);
        }
        Err(Refused) => {
            metrics.rejected(REJECTIONS.len() - 1);
            metrics.client_left(0);
        }
    }
}

/// Takes a client in, within the limits for those who have not logged in.
async fn admit(
    incoming: Box<Incoming>,
    worker: &Arc<Worker>,
) -> Result<Result<Admitted<'_>, Failure>, Refused> {
    let (limit, most) = {
        let settings = worker.shared.settings.load();
        (settings.login_timeout, settings.max_logins)
    };
    let login = worker.shared.logins.enter(most);
    tokio::select! {
        admitted = incoming.admit(worker) => Ok(admitted),
        () = tokio::time::sleep(limit) => Err(Refused),
        () = login.pushed_out() => Err(Refused),
    }
}

/// A connection closed without a word: it took too long, or others needed its place.
struct Refused;

fn rejection(code: SqlState) -> usize {
    match code.class() {
        "28" => 0,
        "53" => 1,
        "57" => 2,
        _ => 3,
    }
}

/// Makes the worker for a runtime.
pub fn worker(shared: Arc<Shared>, runtime: tokio::runtime::Handle, metrics: &Metrics) -> Arc<Worker> {
    let home = shared.registry.add_worker(runtime);
    Arc::new(Worker::new(shared, home, metrics.worker()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_have_what_the_listener_has() {
        let listener = listen_tcp("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        listener.set_nonblocking(false).expect("it may wait");
        let _client =
            std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (accepted, _) = listener.accept().expect("somebody came");
        let socket = socket2::SockRef::from(&accepted);
        assert!(accepted.nodelay().expect("asked") && socket.keepalive().expect("asked"));
        let (time, interval) = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval());
        assert_eq!((time.expect("asked").as_secs(), interval.expect("asked").as_secs()), (60, 10));
        assert_eq!(socket.tcp_keepalive_retries().expect("asked"), 3);
    }
}
