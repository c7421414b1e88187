//! From the first byte of a connection to the client's first ReadyForQuery.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{ClientTask, End};
use super::clients::{Cancel, Registered};
use super::early::Early;
use super::gate::Underway;
use super::listener::Reach;
use super::relay::Relay;
use super::replication;
use super::startup::{self, Replication, Request};
use super::state::Worker;
use super::tls::{ClientTls, DIRECT_TLS_BYTE, Start};
use crate::auth::{
    ClientCertificate, ClientLogin, ConnectionFacts, Credentials, EndPointHash, LoginFacts, LoginRandom,
    LoginStep, Method, NONCE_BYTES,
};
use crate::pg::SqlState;
use crate::pool::{Identity, Stream};
use crate::routing::{Need, OwnSetting, Reason, Target};
use crate::session::{PoolMode, Reported, Session};
use crate::sql::SessionState;
use crate::wire::error_response::PgError;
use crate::wire::startup::{self as packets, FirstPacket};
use crate::wire::write;

/// Why a connection ended before its client was served.
#[derive(Debug)]
pub enum Failure {
    /// The client is told.
    Told(PgError),
    /// There is nobody to tell, or nothing to say.
    Silent,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Failure::Silent
    }
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Failure::Told(error)
    }
}

/// A connection on its way in.
pub struct Incoming {
    early: Early,
    address: Option<IpAddr>,
    end_point: Option<EndPointHash>,
    certificate: Option<ClientCertificate>,
    reach: Reach,
}

/// What a connection turned out to be, after its login.
pub enum Admitted<'a> {
    /// A client to serve.
    Client(Box<ClientTask>, Registered<'a>),
    /// A replication connection to pass through.
    Replication(Box<replication::PassThrough>, Registered<'a>),
}

impl Incoming {
    /// Wraps a connection just accepted; `address` is `None` on a Unix-domain socket.
    pub fn new(stream: Stream, address: Option<IpAddr>, reach: Reach) -> Self {
        Incoming { early: Early::new(stream), address, end_point: None, certificate: None, reach }
    }

    /// Takes the client in. Unbounded in time: the caller bounds it.
    pub async fn admit(mut self, worker: &Arc<Worker>) -> Result<Admitted<'_>, Failure> {
        let result = self.try_admit(worker).await;
        match result {
            Ok((request, registered, credentials)) => {
                self.open(worker, request, registered, credentials).await
            }
            Err(Failure::Told(error)) => {
                self.tell(&error).await;
                Err(Failure::Told(error))
            }
            Err(silent) => Err(silent),
        }
    }

    async fn try_admit<'w>(
        &mut self,
        worker: &'w Arc<Worker>,
    ) -> Result<(Request, Registered<'w>, Credentials), Failure> {
        let request = self.first_packets(worker).await?;
        if *worker.shared.draining.borrow() {
            return Err(PgError::fatal(SqlState::CANNOT_CONNECT_NOW, "the proxy is shutting down").into());
        }
        let limit = worker.shared.settings.load().max_clients;
        let registered = worker.shared.clients.register(limit, request.version).ok_or_else(|| {
            PgError::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
        })?;
        if request.negotiate {
            let mut out = Vec::new();
            let unknown: Vec<&str> = request.unknown_options.iter().map(|option| &**option).collect();
            write::negotiate_protocol_version(&mut out, request.version, &unknown);
            self.early.stream.write_all(&out).await?;
        }
        let credentials = self.log_in(worker, &request).await?;
        Ok((request, registered, credentials))
    }

    /// Reads up to the startup packet: TLS and the like on the way, a cancel request instead of it.
    async fn first_packets(&mut self, worker: &Arc<Worker>) -> Result<Request, Failure> {
        let tls = worker.shared.tls.load_full();
        self.direct_tls(tls.as_deref()).await?;
        let (mut asked_for_tls, mut asked_for_gss) = (self.early.stream.is_tls(), false);
        loop {
            let packet = self.early.first_packet().await?;
            let first = packets::parse_first_packet(&packet).map_err(|error| {
                let code = match error {
                    packets::StartupError::Version(..) => SqlState::FEATURE_NOT_SUPPORTED,
                    _ => SqlState::PROTOCOL_VIOLATION,
                };
                PgError::fatal(code, error.to_string())
            })?;
            match first {
                FirstPacket::SslRequest if !asked_for_tls => {
                    asked_for_tls = true;
                    match (&tls, matches!(self.early.stream, Stream::Tcp(_))) {
                        (Some(tls), true) => {
                            self.early.nothing_behind("SSL")?;
                            self.early.stream.write_all(b"S").await?;
                            self.start_tls(tls, Start::SslRequest).await?;
                        }
                        _ => {
                            self.early.stream.write_all(b"N").await?;
                            self.early.nothing_behind("SSL")?;
                        }
                    }
                }
                FirstPacket::GssEncRequest if !asked_for_gss => {
                    asked_for_gss = true;
                    self.early.stream.write_all(b"N").await?;
                    self.early.nothing_behind("GSSAPI encryption")?;
                }
                FirstPacket::SslRequest | FirstPacket::GssEncRequest => {
                    let message = "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2";
                    return Err(PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, message).into());
                }
                FirstPacket::Cancel { pid, key } => {
                    cancel(worker, pid, key).await;
                    return Err(Failure::Silent);
                }
                FirstPacket::Startup(startup) => return Ok(startup::read(&startup)?),
            }
        }
    }

    /// Starts TLS for a client that begins with it.
    async fn direct_tls(&mut self, tls: Option<&ClientTls>) -> Result<(), Failure> {
        let (Some(tls), Stream::Tcp(tcp)) = (tls, &self.early.stream) else { return Ok(()) };
        let mut first = [0; 1];
        if tcp.peek(&mut first).await? == 0 {
            return Err(Failure::Silent);
        }
        if first[0] == DIRECT_TLS_BYTE { self.start_tls(tls, Start::Direct).await } else { Ok(()) }
    }

    async fn start_tls(&mut self, tls: &ClientTls, start: Start) -> Result<(), Failure> {
        let placeholder = Incoming::closed_stream()?;
        let Stream::Tcp(tcp) = std::mem::replace(&mut self.early.stream, placeholder) else {
            return Err(Failure::Silent);
        };
        match tls.accept(tcp, start).await {
            Ok(accepted) => {
                self.early.stream = Stream::TlsServer(Box::new(accepted.stream));
                self.end_point = accepted.end_point;
                self.certificate = accepted.certificate;
                Ok(())
            }
            Err(error) => {
                tracing::info!(event = "client.tls_failed", %error);
                Err(Failure::Silent)
            }
        }
    }

    /// Stands in for a stream while the real one is inside a TLS handshake.
    fn closed_stream() -> io::Result<Stream> {
        Ok(tokio::net::UnixStream::pair()?.0.into())
    }

    /// Finds out whether the client is who it says; returns what that lets us log in to servers with.
    async fn log_in(&mut self, worker: &Arc<Worker>, request: &Request) -> Result<Credentials, Failure> {
        let shared = &worker.shared;
        let facts = ConnectionFacts {
            address: self.address,
            tls: self.early.stream.is_tls(),
            user: &request.user,
            database: &request.database,
            replication: request.replication == Some(Replication::Physical),
        };
        let (method, client_cert) = {
            let settings = shared.settings.load();
            let rule = settings.host_rules.decide(&facts)?;
            (rule.method, rule.client_cert)
        };
        let asks = !matches!(method, Method::Reject | Method::Trust | Method::Cert);
        let (verifier, permitted) = match asks {
            true => {
                let login = shared.login_of(&request.user, worker.home).await?;
                (login.verifier, login.permitted)
            }
            false => (shared.settings.load().verifier_file.get(&request.user).flatten().cloned(), true),
        };
        let facts = LoginFacts {
            user: request.user.clone(),
            method,
            client_cert,
            verifier,
            end_point: self.end_point.clone(),
            certificate: self.certificate.clone(),
        };
        let mut login = ClientLogin::new(facts, random(shared.mock_secret)?);
        let result = self.exchange(&mut login).await;
        if let Err(Failure::Told(_)) = result {
            shared.forget_verifier(&request.user);
        }
        if result.is_ok() && !permitted {
            let message = format!("role \"{}\" is not permitted to log in", request.user);
            return Err(PgError::fatal(SqlState::INVALID_AUTHORIZATION, message).into());
        }
        result
    }

    async fn exchange(&mut self, login: &mut ClientLogin) -> Result<Credentials, Failure> {
        let mut out = Vec::new();
        let mut step = login.begin(&mut out)?;
        loop {
            if let LoginStep::Done(proof) = step {
                // What was appended goes out with AuthenticationOk.
                self.early.stream.write_all(&out).await?;
                return Ok(proof.credentials);
            }
            self.early.stream.write_all(&out).await?;
            self.early.stream.flush().await?;
            out.clear();
            let (tag, body) = self.early.message(login.max_body()).await?;
            step = login.handle(tag, &body, &mut out)?;
        }
    }

    /// Opens the session of a client that has logged in, and greets it.
    async fn open<'w>(
        self,
        worker: &'w Arc<Worker>,
        request: Request,
        registered: Registered<'w>,
        credentials: Credentials,
    ) -> Result<Admitted<'w>, Failure> {
        let shared = &worker.shared;
        let identity = shared.registry.identity(&request.database, &request.user);
        identity.credentials().learn(&credentials);
        if request.replication.is_some() {
            let opened = replication::open(self.early, worker, &request, &identity, &registered).await?;
            return Ok(Admitted::Replication(Box::new(opened), registered));
        }
        let reach = self.reach.clone();
        let mut task = self.task(worker, &request, identity, &registered);
        match task.greet(request.settings, &request.own, reach).await {
            Ok(()) => Ok(Admitted::Client(Box::new(task), registered)),
            Err(End::Gone) => Err(Failure::Silent),
            Err(End::Told(error)) => {
                let error = PgError { severity: crate::wire::error_response::Severity::Fatal, ..error };
                error.write(task.relay.to_client.write(&[]));
                let _ = task.relay.send_all().await;
                Err(Failure::Told(error))
            }
        }
    }

    fn task(
        self,
        worker: &Arc<Worker>,
        request: &Request,
        identity: Arc<Identity>,
        registered: &Registered<'_>,
    ) -> ClientTask {
        let settings = worker.shared.settings.load_full();
        let (stream, behind) = self.early.into_parts();
        let mode = settings.mode_of(&request.database, &request.user);
        ClientTask {
            relay: Relay::new(stream, &behind),
            session: Session::new(mode, Arc::default(), Reported::default()),
            client: registered.client.clone(),
            catalog: worker.shared.catalogs.of(identity.database()),
            identity,
            settings,
            pools: Vec::new(),
            checkout: None,
            asked_at: None,
            reads: Default::default(),
            underway: Underway::new(worker.shared.gate().clone(), worker.home.0),
            pins_counted: SessionState::NONE,
            greeted: false,
            left: false,
            worker: worker.clone(),
        }
    }

    async fn tell(&mut self, error: &PgError) {
        let mut out = Vec::new();
        error.write(&mut out);
        let _ = self.early.stream.write_all(&out).await;
        let _ = self.early.stream.shutdown().await;
    }
}

/// How long the first client of a database waits for its catalog, so that its first read may go to a standby.
const CATALOG_LIMIT: Duration = Duration::from_secs(1);

impl ClientTask {
    /// Tells the client that it is in, what the endpoint reports with its settings, and how it can cancel.
    async fn greet(
        &mut self,
        startup: crate::session::Settings,
        own: &[(OwnSetting, String)],
        reach: Reach,
    ) -> Result<(), End> {
        let (startup, view): (_, fn(&Reported) -> Reported) = match reach {
            Reach::All => (startup, Reported::clone),
            Reach::Standbys(_) => (startup.with(READ_ONLY.0, READ_ONLY.1), Reported::as_read_only_endpoint),
        };
        let wishes = self.settings.wishes_of(own);
        let shared = self.worker.shared.clone();
        let (database, user) = (self.identity.database().clone(), self.identity.user().clone());
        let term = shared.snapshot().term;
        let mode = self.settings.mode_of(&database, &user);
        // There is one identity for each database and user, and it lives as long as any of its statements.
        let scope = Arc::as_ptr(&self.identity).addr() as u64;
        let begin = |startup, told| {
            let mut session = Session::new(mode, startup, told).of(scope);
            session.wish(wishes);
            match reach {
                Reach::All => session,
                Reach::Standbys(elsewhere) => session.for_reads(elsewhere),
            }
        };
        let reported = match shared.greetings.get(term, &database, &user, &startup) {
            Some(known) => {
                let told = view(&known.reported);
                self.session = begin(known.startup, told.clone());
                told
            }
            None => {
                let startup = Arc::new(startup);
                self.session = begin(startup.clone(), Reported::default());
                let (reported, by_primary) = self.ask_for_greeting().await?;
                let told = view(&reported);
                self.session.greet(told.clone());
                if by_primary {
                    shared.greetings.put(term, &database, &user, startup, reported);
                }
                told
            }
        };
        if shared.gate().is_guarded() {
            self.session.be_strict();
        }
        if self.settings.split {
            self.catalog.start(&shared, self.worker.home(), CATALOG_LIMIT).await;
        }
        let out = self.relay.to_client.write(&[]);
        write::authentication_ok(out);
        for (name, value) in reported.iter() {
            write::parameter_status(out, name.as_bytes(), value.as_bytes());
        }
        write::backend_key_data(out, self.client.pid, self.client.key());
        write::ready_for_query(out, b'I');
        self.greeted = true;
        self.relay.send_all().await.map_err(|_| End::Gone)
    }

    /// Brings a server of the primary to the startup settings, to see whether they are valid and what it reports. While
    /// nothing may go to the primary a standby is asked, so that those who only read get in. Returns whether it was the
    /// primary, too.
    async fn ask_for_greeting(&mut self) -> Result<(Reported, bool), End> {
        // In session mode the server is kept.
        let wait = self.session.mode() == PoolMode::Session || self.may_use_primary();
        let target = if wait { Target::Primary } else { Target::Standby };
        self.acquire(Need { target, reason: Reason::SessionMode }).await?;
        while self.session.is_busy() {
            self.wait().await?;
        }
        let Some(server) = self.relay.server.as_deref() else {
            return Err(End::Told(PgError::fatal(
                SqlState::CANNOT_CONNECT_NOW,
                "no server is available to open the session",
            )));
        };
        let reported = server.state.all_reported().as_endpoint();
        let by_primary = self.checkout.as_ref().is_some_and(|checkout| checkout.is_primary);
        if self.session.wants_standby() {
            // It was for this only.
            self.release();
        } else {
            self.release_if_free();
        }
        Ok((reported, by_primary))
    }

    /// Whether there is a primary that something new may go to now.
    fn may_use_primary(&self) -> bool {
        let primary = self.worker.shared.snapshot().primary;
        primary.is_some_and(|node| self.leader(node).is_ok())
    }
}

/// What sessions begin with that reach standbys only: where the primary serves for want of one, it takes no writes.
const READ_ONLY: (&str, &str) = ("default_transaction_read_only", "on");

/// Sends a cancel to the server that works for the client with this key, if any.
async fn cancel(worker: &Arc<Worker>, pid: i32, key: &[u8]) {
    let result = match worker.shared.clients.cancel(pid, key) {
        Cancel::Send(guard) => {
            // In a task of its own: it must land even if the client that asked goes away.
            let sent = tokio::spawn(guard.send()).await;
            if matches!(sent, Ok(Ok(()))) { 0 } else { 3 }
        }
        Cancel::Idle => 1,
        Cancel::Unknown => 2,
    };
    worker.metrics.cancel(result);
}

/// What came of cancel requests, in the order they are counted.
pub const CANCEL_RESULTS: &[&str] = &["sent", "idle", "unknown", "failed"];

fn random(mock_secret: [u8; 32]) -> Result<LoginRandom, Failure> {
    let (mut nonce, mut md5_salt, mut bytes) = ([0; NONCE_BYTES], [0; 4], [0; NONCE_BYTES + 4]);
    getrandom::fill(&mut bytes)
        .map_err(|_| PgError::fatal(SqlState::INTERNAL_ERROR, "could not generate random nonce"))?;
    nonce.copy_from_slice(&bytes[..NONCE_BYTES]);
    md5_salt.copy_from_slice(&bytes[NONCE_BYTES..]);
    Ok(LoginRandom { nonce, md5_salt, mock_secret })
}

/// Takes what the kernel says of a new TCP connection.
pub fn incoming_tcp(tcp: TcpStream, address: IpAddr, reach: Reach) -> Incoming {
    Incoming::new(tcp.into(), Some(address), reach)
}
