//! A postmaster for tests: speaks just enough of the protocol, and misbehaves as told.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::settings::Endpoint;
use crate::auth::{ClientCert, ClientLogin, LoginFacts, LoginRandom, LoginStep, Method, Verifier};
use crate::pg::{Address, SqlState};
use crate::topology::{NodeId, NodeName};
use crate::wire::error_response::PgError;
use crate::wire::frame::{HEAD, Head};
use crate::wire::startup::{FirstPacket, MAX_STARTUP_PACKET, ProtocolVersion, parse_first_packet};
use crate::wire::write;

/// How it greets the next connections.
#[derive(Clone)]
pub(super) enum Greeting {
    /// Lets everyone in.
    Trust,
    /// Asks for a password.
    Password(Method, Verifier),
    /// Refuses with this code.
    Error(&'static [u8; 5]),
    /// Never says anything.
    Silence,
    /// Closes after the startup packet.
    Close,
    /// Sends these bytes in place of a greeting.
    Bytes(Vec<u8>),
    /// Lets everyone in by protocol 3.2 with a key of 32 bytes.
    LongKey,
    /// Lets everyone in and sends one message too many.
    Talkative,
}

/// What it has seen and what it is to do.
pub(super) struct Backend {
    greeting: Mutex<Greeting>,
    /// Connections that logged in, ever; their number is the process id.
    pub logins: AtomicUsize,
    /// Startup packets seen.
    pub attempts: AtomicUsize,
    /// Connections logged in now.
    pub open: AtomicUsize,
    /// Terminate messages seen.
    pub farewells: AtomicUsize,
    /// Parameters of the last startup packet.
    pub startup: Mutex<Vec<(String, String)>>,
    /// CancelRequests seen.
    pub cancels: Mutex<Vec<(i32, Vec<u8>)>>,
    /// Changes when every connection is to be closed.
    kill: watch::Sender<usize>,
    /// While true, queries are not answered and cancel connections not closed.
    pub stuck: watch::Sender<bool>,
}

/// A running fake; ends with its value.
pub(super) struct Fake {
    pub backend: Arc<Backend>,
    pub endpoint: Endpoint,
    task: JoinHandle<()>,
    directory: Option<PathBuf>,
}

impl Fake {
    /// Listens on a free TCP port, as node 0.
    pub async fn tcp(greeting: Greeting) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let address = Address::Tcp { host: "127.0.0.1".into(), port };
        Fake::start(greeting, address, None, async move |backend| {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&backend).serve(stream));
            }
        })
    }

    /// Listens on a Unix socket in a directory of its own.
    pub async fn unix(greeting: Greeting) -> Fake {
        let directory = std::env::temp_dir().join(format!("bellwether-fake-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&directory).expect("a temporary directory");
        let listener = UnixListener::bind(directory.join(".s.PGSQL.5432")).expect("a socket");
        let address = Address::Unix { directory: directory.clone(), port: 5432 };
        Fake::start(greeting, address, Some(directory), async move |backend| {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&backend).serve(stream));
            }
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        greeting: Greeting,
        address: Address,
        directory: Option<PathBuf>,
        accept: impl FnOnce(Arc<Backend>) -> F,
    ) -> Fake {
        let backend = Arc::new(Backend {
            greeting: Mutex::new(greeting),
            logins: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            farewells: AtomicUsize::new(0),
            startup: Mutex::default(),
            cancels: Mutex::default(),
            kill: watch::Sender::new(0),
            stuck: watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(Arc::clone(&backend)));
        let endpoint = Endpoint::plain(NodeId(0), NodeName::new("a"), address);
        Fake { backend, endpoint, task, directory }
    }

    /// Changes the greeting for the connections to come.
    pub fn greet(&self, greeting: Greeting) {
        *self.backend.greeting.lock().expect("not poisoned") = greeting;
    }

    /// Closes every connection.
    pub fn kill_all(&self) {
        self.backend.kill.send_modify(|count| *count += 1);
    }

    pub fn open(&self) -> usize {
        self.backend.open.load(Ordering::SeqCst)
    }

    pub fn logins(&self) -> usize {
        self.backend.logins.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
        self.kill_all();
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Backend {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, mut stream: S) {
        let mut kill = self.kill.subscribe();
        kill.mark_unchanged();
        tokio::select! {
            _ = self.session(&mut stream) => {}
            _ = kill.changed() => {}
        }
    }

    async fn session<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> std::io::Result<()> {
        let length = stream.read_u32().await? as usize;
        assert!(length <= MAX_STARTUP_PACKET);
        let mut packet = (length as u32).to_be_bytes().to_vec();
        packet.resize(length, 0);
        stream.read_exact(&mut packet[4..]).await?;
        let version = match parse_first_packet(&packet).expect("a sound first packet") {
            FirstPacket::Cancel { pid, key } => {
                self.cancels.lock().expect("not poisoned").push((pid, key.to_vec()));
                let _ = self.stuck.subscribe().wait_for(|stuck| !stuck).await;
                return Ok(());
            }
            FirstPacket::Startup(startup) => {
                let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
                *self.startup.lock().expect("not poisoned") = startup.parameters.iter().map(owned).collect();
                startup.version
            }
            other => panic!("unexpected {other:?}"),
        };
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let greeting = self.greeting.lock().expect("not poisoned").clone();
        if self.greet(stream, &greeting, version).await? {
            self.open.fetch_add(1, Ordering::SeqCst);
            let _open = OnDrop(&self.open);
            self.answer_queries(stream).await?;
        }
        Ok(())
    }

    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        greeting: &Greeting,
        version: ProtocolVersion,
    ) -> std::io::Result<bool> {
        let mut out = Vec::new();
        match greeting {
            Greeting::Silence => std::future::pending().await,
            Greeting::Close => return Ok(false),
            Greeting::Bytes(bytes) => {
                stream.write_all(bytes).await?;
                // Not closed at once, so that the client is seen to give up by itself.
                tokio::time::sleep(Duration::from_secs(20)).await;
                return Ok(false);
            }
            Greeting::Error(code) => {
                let code = SqlState::from_bytes(*code).expect("a code");
                PgError::fatal(code, "says the server").write(&mut out);
                stream.write_all(&out).await?;
                return Ok(false);
            }
            Greeting::Password(method, verifier) => {
                if !authenticate(stream, *method, verifier).await? {
                    return Ok(false);
                }
            }
            Greeting::Trust | Greeting::LongKey | Greeting::Talkative => {}
        }
        let pid = self.logins.fetch_add(1, Ordering::SeqCst) as i32 + 1;
        if version > ProtocolVersion::V3_0 && !matches!(greeting, Greeting::LongKey) {
            write::negotiate_protocol_version(&mut out, ProtocolVersion::V3_0, &[]);
        }
        write::authentication_ok(&mut out);
        write::parameter_status(&mut out, b"server_version", b"15.20");
        write::parameter_status(&mut out, b"in_hot_standby", b"on");
        let key: &[u8] = if matches!(greeting, Greeting::LongKey) { &[7; 32] } else { b"abcd" };
        write::backend_key_data(&mut out, pid, key);
        write::ready_for_query(&mut out, b'I');
        if matches!(greeting, Greeting::Talkative) {
            write::parameter_status(&mut out, b"one", b"too many");
        }
        // In pieces, as a network may deliver it.
        for piece in out.chunks(7) {
            stream.write_all(piece).await?;
        }
        Ok(true)
    }

    async fn answer_queries<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> std::io::Result<()> {
        loop {
            let (tag, _) = read_message(stream).await?;
            let _ = self.stuck.subscribe().wait_for(|stuck| !stuck).await;
            match tag {
                b'Q' => {
                    let mut out = Vec::new();
                    write::parameter_status(&mut out, b"in_hot_standby", b"off");
                    out.extend_from_slice(b"I\0\0\0\x04");
                    write::ready_for_query(&mut out, b'I');
                    stream.write_all(&out).await?;
                }
                b'X' => {
                    self.farewells.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                other => panic!("unexpected message {other}"),
            }
        }
    }
}

struct OnDrop<'a>(&'a AtomicUsize);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    method: Method,
    verifier: &Verifier,
) -> std::io::Result<bool> {
    let facts = LoginFacts {
        user: "ann".into(),
        method,
        client_cert: ClientCert::Off,
        verifier: Some(verifier.clone()),
        end_point: None,
        certificate: None,
    };
    let random = LoginRandom { nonce: [3; 18], md5_salt: *b"salt", mock_secret: [5; 32] };
    let mut login = ClientLogin::new(facts, random);
    let mut out = Vec::new();
    let mut step = login.begin(&mut out);
    loop {
        if let Err(error) = &step {
            error.write(&mut out);
        }
        stream.write_all(&out).await?;
        out.clear();
        match step {
            Ok(LoginStep::Continue) => {}
            Ok(LoginStep::Done(_)) => return Ok(true),
            Err(_) => return Ok(false),
        }
        let (tag, body) = read_message(stream).await?;
        step = login.handle(tag, &body, &mut out);
    }
}

async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await?;
    let head = Head::read(&head).expect("a sound head").expect("a whole head");
    let mut body = vec![0; head.total - HEAD];
    stream.read_exact(&mut body).await?;
    Ok((head.tag, body))
}

/// Waits until `condition` holds, at most five seconds.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("not within five seconds: {what}");
}
