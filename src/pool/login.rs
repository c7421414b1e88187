//! The start of a session on an open stream: startup packet, authentication, up to the first ReadyForQuery.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connect::unreachable;
use super::error::ConnectFailure;
use crate::auth::{ServerLogin, ServerLoginError, ServerLoginStep};
use crate::wire::backend::{self, tag};
use crate::wire::error_response::ErrorFields;
use crate::wire::frame::{Body, HEAD, Head, Malformed};
use crate::wire::startup::ProtocolVersion;
use crate::wire::write;

/// Longest message a server may send while we log in.
const MAX_MESSAGE: usize = 64 << 10;

/// Most bytes a server may send while we log in; PostgreSQL sends less than two thousand.
const MAX_LOGIN: usize = 1 << 20;

/// What a server told us of the session it opened.
#[derive(Debug)]
pub struct Greeting {
    /// Names and values of ParameterStatus, in the order they came.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// Process id, of BackendKeyData; 0 when the server gave none.
    pub pid: i32,
    /// Secret for CancelRequest, of the same; empty when the server gave none.
    pub key: Box<[u8]>,
    /// The version both sides speak.
    pub version: ProtocolVersion,
}

/// Sends the startup packet and follows the login to the first ReadyForQuery.
pub async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    version: ProtocolVersion,
    parameters: &[(&str, &str)],
    login: &mut ServerLogin,
) -> Result<Greeting, ConnectFailure> {
    let mut out = Vec::with_capacity(256);
    write::startup(&mut out, version, parameters.iter().copied());
    send(stream, &mut out).await?;

    let mut input = Input { buffer: Vec::with_capacity(2048), consumed: 0, total: 0 };
    let mut greeting = Greeting { parameters: Vec::new(), pid: 0, key: Box::default(), version };
    let mut authenticated = false;
    loop {
        let (tag, body) = input.message(stream).await?;
        match tag {
            tag::ERROR_RESPONSE => return Err(ConnectFailure::Server(ErrorFields::read(body).to_error())),
            tag::NOTICE_RESPONSE => {}
            tag::NEGOTIATE_PROTOCOL_VERSION => greeting.version = offered_version(body, version)?,
            tag::AUTHENTICATION if !authenticated => {
                let step = login.handle(body, &mut out);
                authenticated = step.map_err(authentication)? == ServerLoginStep::Done;
                send(stream, &mut out).await?;
            }
            tag::PARAMETER_STATUS if authenticated => {
                let (name, value) = backend::parameter_status(body).map_err(malformed)?;
                greeting.parameters.push((text(name)?, text(value)?));
            }
            tag::BACKEND_KEY_DATA if authenticated => {
                let (pid, key) = backend::backend_key_data(body).map_err(malformed)?;
                (greeting.pid, greeting.key) = (pid, key.into());
            }
            tag::READY_FOR_QUERY if authenticated => {
                // Nothing may come unasked before the first request.
                return if input.is_drained() { Ok(greeting) } else { Err(unexpected("data after login")) };
            }
            _ => return Err(unexpected("message during login")),
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, out: &mut Vec<u8>) -> Result<(), ConnectFailure> {
    if !out.is_empty() {
        stream.write_all(out).await.map_err(unreachable)?;
        stream.flush().await.map_err(unreachable)?;
        out.clear();
    }
    Ok(())
}

/// Reads NegotiateProtocolVersion. The server may go down to an older minor version, and must know no option that
/// we did not send.
fn offered_version(body: &[u8], asked: ProtocolVersion) -> Result<ProtocolVersion, ConnectFailure> {
    let mut fields = Body::new(body);
    let offered = fields.i32().map_err(malformed)?;
    // Servers before 18 send the minor number alone; the full version is the same for major 3 once put together.
    let minor = (offered as u32) & 0xFFFF;
    let version = ProtocolVersion((3 << 16) | minor);
    if version > asked {
        return Err(unexpected("protocol version"));
    }
    Ok(version)
}

/// What has been read of the server's messages.
struct Input {
    buffer: Vec<u8>,
    consumed: usize,
    total: usize,
}

impl Input {
    /// Returns tag and body of the next message, reading as much as it takes.
    async fn message<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(u8, &[u8]), ConnectFailure> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let head = loop {
            match Head::read(&self.buffer).map_err(malformed)? {
                Some(head) if head.total > MAX_MESSAGE => return Err(unexpected("message of this length")),
                Some(head) if self.buffer.len() >= head.total => break head,
                _ => self.fill(stream).await?,
            }
        };
        self.consumed = head.total;
        Ok((head.tag, self.buffer.get(HEAD..head.total).unwrap_or_default()))
    }

    fn is_drained(&self) -> bool {
        self.consumed == self.buffer.len()
    }

    /// Reads once. The buffer holds less than one message before, so it stays below twice the longest.
    async fn fill<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), ConnectFailure> {
        self.buffer.reserve(1024);
        let read = stream.read_buf(&mut self.buffer).await.map_err(unreachable)?;
        self.total += read;
        match read {
            0 => Err(ConnectFailure::Unreachable("server closed the connection unexpectedly".into())),
            _ if self.total > MAX_LOGIN => Err(unexpected("amount of data during login")),
            _ => Ok(()),
        }
    }
}

fn text(bytes: &[u8]) -> Result<Box<str>, ConnectFailure> {
    // Values may be in the database's encoding; what is not UTF-8 is kept readable for people.
    Ok(String::from_utf8_lossy(bytes).into())
}

/// Tells what we lack from what the server does wrong.
fn authentication(error: ServerLoginError) -> ConnectFailure {
    match error {
        ServerLoginError::Protocol(_)
        | ServerLoginError::Scram(_)
        | ServerLoginError::ServerSignature
        | ServerLoginError::NotProven => ConnectFailure::Protocol(error.to_string()),
        _ => ConnectFailure::Credentials(error.to_string()),
    }
}

fn malformed(error: Malformed) -> ConnectFailure {
    ConnectFailure::Protocol(format!("malformed message from server: {error}"))
}

fn unexpected(what: &str) -> ConnectFailure {
    ConnectFailure::Protocol(format!("unexpected {what} from server"))
}
