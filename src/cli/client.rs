//! A client of the proxy's API: one request a connection, over TCP or the Unix socket.
//!
//! No TLS: the API is served in plain text, and what crosses a network belongs into a tunnel, or at the socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::exit;
use super::failure::Failure;
use crate::config::Secret;

/// Bytes an answer may have: hundreds of nodes and pools fit.
const MOST_ANSWER: usize = 16 << 20;
/// Bytes a line of what happens may have.
const MOST_LINE: usize = 1 << 20;
/// How long to wait for an answer when nothing else is said.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for the end of a change when nothing else is said: longer than any operation takes.
const CHANGE_WITHIN: Duration = Duration::from_secs(300);

/// Where an API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the network.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// At a socket file.
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Talks to the first of several places that takes the connection.
#[derive(Debug)]
pub struct Client {
    /// Where to ask; never empty.
    pub places: Vec<Place>,
    /// What allows changes.
    pub token: Option<Secret>,
    /// How long to wait, if something is said about it.
    pub patience: Option<Duration>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The JSON.
    pub body: Value,
}

/// What happens on the way to the end of a change, as it happens.
#[derive(Debug)]
pub enum Stream {
    /// It was taken up: lines are coming.
    Lines(Lines),
    /// It was not.
    Reply(Reply),
}

/// Lines of JSON.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    deadline: Instant,
}

impl Client {
    /// Asks for `path`.
    ///
    /// # Errors
    /// Nobody can be reached there, or it is no API of ours.
    pub async fn get(&self, path: &str) -> Result<Reply, Failure> {
        let limit = self.patience.unwrap_or(ANSWER_WITHIN);
        let asked = async {
            let (place, response) =
                self.exchange(Method::GET, path, Bytes::new()).await.map_err(Lost::failure)?;
            reply(&place, response).await
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(answered) => answered,
            Err(_) => Err(self.silent(limit)),
        }
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As with [`get`](Self::get); once the request is out, the outcome is unknown where the answer is.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Stream, Failure> {
        let limit = self.patience.unwrap_or(CHANGE_WITHIN);
        let deadline = Instant::now() + limit;
        let asked = self.exchange(Method::POST, path, Bytes::from(body.to_string()));
        let (place, response) = match tokio::time::timeout_at(deadline, asked).await {
            Err(_) => {
                return Err(unknown(format!(
                    "no answer came within {}",
                    super::render::age(limit.as_secs_f64())
                )));
            }
            Ok(Err(Lost::Sent(error))) => return Err(unknown(error)),
            Ok(Err(lost)) => return Err(lost.failure()),
            Ok(Ok(answered)) => answered,
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("application/x-ndjson")) {
            return Ok(Stream::Lines(Lines { body: response.into_body(), buffer: Vec::new(), deadline }));
        }
        match tokio::time::timeout_at(deadline, reply(&place, response)).await {
            Ok(reply) => reply.map(Stream::Reply),
            Err(_) => Err(unknown("the answer broke off".to_owned())),
        }
    }

    /// Sends one request to whoever can be reached first.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Place, Response<Incoming>), Lost> {
        let mut first = None;
        for place in &self.places {
            let sent = match place {
                Place::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                    Ok(stream) => self.send(stream, host, &method, path, &body).await,
                    Err(error) => Err(Lost::Unreached(place.clone(), error)),
                },
                Place::Unix(file) => match UnixStream::connect(file).await {
                    Ok(stream) => self.send(stream, "localhost", &method, path, &body).await,
                    Err(error) => Err(Lost::Unreached(place.clone(), error)),
                },
            };
            match sent {
                Ok(response) => return Ok((place.clone(), response)),
                Err(lost @ Lost::Unreached(..)) => first = first.or(Some(lost)),
                Err(lost) => return Err(lost),
            }
        }
        Err(first.expect("there is at least one place"))
    }

    async fn send<S>(
        &self,
        stream: S,
        host: &str,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Response<Incoming>, Lost>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, host).header(CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request =
            request.body(Full::new(body.clone())).map_err(|error| Lost::Unsayable(error.to_string()))?;
        let broken = |error: hyper::Error| Lost::Sent(chain(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the response; its error reaches whoever reads that.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    fn silent(&self, limit: Duration) -> Failure {
        let place = &self.places[0];
        Failure::new(exit::UNREACHABLE, format!("{place} does not answer"))
            .cause(format!("nothing came within {}", super::render::age(limit.as_secs_f64())))
            .hint("--timeout waits longer, --api asks another proxy")
    }
}

impl Lines {
    /// Returns the next line; `None` at the end.
    ///
    /// # Errors
    /// The stream broke, or the time is up: the outcome is unknown.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let parsed = serde_json::from_slice(&line);
                return parsed
                    .map(Some)
                    .map_err(|error| unknown(format!("what came is not understood: {error}")));
            }
            if self.buffer.len() > MOST_LINE {
                return Err(unknown("what came has no end".to_owned()));
            }
            match tokio::time::timeout_at(self.deadline, self.body.frame()).await {
                Err(_) => return Err(unknown("it is not over within the time given (--timeout)".to_owned())),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(unknown(chain(&error))),
                Ok(Some(Ok(frame))) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
            }
        }
    }
}

/// Where an exchange was lost.
enum Lost {
    /// Before anything was sent.
    Unreached(Place, io::Error),
    /// The request cannot be made of what was given.
    Unsayable(String),
    /// Once something may have been sent.
    Sent(String),
}

impl Lost {
    /// What that means for a question, which changes nothing.
    fn failure(self) -> Failure {
        match self {
            Lost::Unreached(place, error) => {
                Failure::new(exit::UNREACHABLE, format!("cannot reach the API of a proxy at {place}"))
                    .cause(error.to_string())
                    .hint("does it run? its http.listen says where it answers, and --api asks there")
            }
            Lost::Unsayable(error) => Failure::usage("this cannot be asked over HTTP").cause(error),
            Lost::Sent(error) => Failure::new(exit::UNREACHABLE, "the API did not answer").cause(error),
        }
    }
}

async fn reply(place: &Place, response: Response<Incoming>) -> Result<Reply, Failure> {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
    let body = body.map_err(|error| {
        Failure::new(exit::UNREACHABLE, format!("the answer of {place} broke off")).cause(error.to_string())
    })?;
    let parsed = serde_json::from_slice(&body.to_bytes());
    parsed.map(|body| Reply { status, body }).map_err(|_| {
        Failure::new(exit::UNREACHABLE, format!("what answers at {place} is no API of this kind"))
            .cause(format!("HTTP status {status}, and no JSON"))
            .hint("the API is at http.listen of the proxy, and not where clients of PostgreSQL connect")
    })
}

/// A change that was asked for, and of which nothing more was heard.
fn unknown(cause: String) -> Failure {
    Failure::new(exit::UNKNOWN, "how it ended is not known")
        .cause(cause)
        .hint("bellwether status shows where things stand, bellwether history what has happened")
}

/// hyper keeps the system's error one level below.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Writes `text` so that it is one part of a path or the value of a parameter.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_typed_is_one_parameter() {
        assert_eq!(encoded("select 'é' & 1"), "select%20%27%C3%A9%27%20%26%201");
    }

    #[test]
    fn places_are_shown_as_they_are_typed() {
        let tcp = |host: &str| Place::Tcp { host: host.to_owned(), port: 1 }.to_string();
        assert_eq!([tcp("h"), tcp("::1")], ["http://h:1", "http://[::1]:1"]);
        assert_eq!(Place::Unix("/s".into()).to_string(), "unix:/s");
    }
}
