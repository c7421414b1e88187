//! One connection to one member: gRPC over HTTP/2, as much of it as we need.
//!
//! A message travels as one byte (1 when compressed), four bytes of length, and itself; the result of the call
//! stands in `grpc-status`, in the trailers or, when there is nothing else, in the headers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use super::tls::Tls;

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) struct Channel {
    sender: SendRequest<Question>,
    origin: String,
}

/// What came instead of an answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection failed.
    Lost(String),
    /// The member answered with an error: a code of gRPC, and etcd's words.
    Status { code: u32, message: String },
    /// The answer is not one.
    Garbled(String),
}

/// etcd refuses clients that ping more often than every 5 seconds (`--grpc-keepalive-min-time`).
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes one answer may have. etcd itself takes no request above 1.5 MiB, and a cluster's keys are few.
const MOST_BYTES: usize = 16 * 1024 * 1024;

impl Channel {
    /// Connects. Unbounded in time; cancel safe.
    pub(super) async fn open(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Self, String> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let sender = match tls {
            None => Self::start(TokioIo::new(stream)).await?,
            Some(tls) => {
                let stream = tls.handshake(stream, &endpoint.host).await;
                Self::start(TokioIo::new(stream.map_err(|error| error.to_string())?)).await?
            }
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Channel { sender, origin: format!("{scheme}://{}", endpoint.authority()) })
    }

    async fn start<S>(stream: S) -> Result<SendRequest<Question>, String>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(stream)
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // Its end reaches us as the failure of the calls on it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Whether a call has no hope.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Asks one question and takes the first answer. Unbounded in time; dropping it cancels the call, which etcd
    /// may carry out all the same.
    pub(super) async fn ask<A: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
        token: Option<&HeaderValue>,
    ) -> Result<A, Trouble> {
        let response = self.send(method, Question::whole(question), token).await?;
        let in_headers = status(response.headers());
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| Trouble::Lost(error.to_string()))?;
        let status = in_headers.or_else(|| body.trailers().and_then(status));
        match status {
            Some(Ok(())) => {}
            Some(Err(trouble)) => return Err(trouble),
            None => return Err(Trouble::Lost("the connection ended within the answer".to_owned())),
        }
        let mut bytes = BytesMut::from(&body.to_bytes()[..]);
        next_message(&mut bytes)?.ok_or_else(|| Trouble::Garbled("no message".to_owned()))
    }

    /// Asks one question and leaves it open, for answers that come as things happen.
    pub(super) async fn subscribe(
        &self,
        method: &str,
        question: &impl Message,
        token: Option<&HeaderValue>,
    ) -> Result<Answers, Trouble> {
        let response = self.send(method, Question::open(question), token).await?;
        match status(response.headers()) {
            Some(Err(trouble)) => Err(trouble),
            _ => Ok(Answers { body: response.into_body(), bytes: BytesMut::new() }),
        }
    }

    async fn send(
        &self,
        method: &str,
        question: Question,
        token: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, Trouble> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/etcdserverpb.{method}", self.origin))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        if question.stays_open {
            // A member that is cut off from the others then ends the stream, rather than say nothing for ever.
            request = request.header("hasleader", "true");
        }
        if let Some(token) = token {
            request = request.header("token", token);
        }
        let request = request.body(question).map_err(|error| Trouble::Garbled(error.to_string()))?;
        let mut sender = self.sender.clone();
        let response = sender.send_request(request).await.map_err(|error| Trouble::Lost(describe(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(Trouble::Garbled(format!("HTTP status {}", response.status())));
        }
        Ok(response)
    }
}

/// Answers to one question, one after the other.
pub(super) struct Answers {
    body: Incoming,
    bytes: BytesMut,
}

impl Answers {
    /// Returns the next one. Cancel safe.
    pub(super) async fn next<A: Message + Default>(&mut self) -> Result<A, Trouble> {
        loop {
            if let Some(message) = next_message(&mut self.bytes)? {
                return Ok(message);
            }
            match self.body.frame().await {
                None => return Err(Trouble::Lost("the stream ended".to_owned())),
                Some(Err(error)) => return Err(Trouble::Lost(describe(&error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.bytes.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let ended = Trouble::Lost("the stream ended".to_owned());
                        return Err(status(&trailers).and_then(Result::err).unwrap_or(ended));
                    }
                },
            }
        }
    }
}

/// Takes the first message off `bytes`; `None` when it is not all there yet.
fn next_message<A: Message + Default>(bytes: &mut BytesMut) -> Result<Option<A>, Trouble> {
    let Some((head, _)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let [compressed, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 || length > MOST_BYTES {
        return Err(Trouble::Garbled(format!("a message of {length} bytes, compression {compressed}")));
    }
    if bytes.len() - 5 < length {
        return Ok(None);
    }
    bytes.advance(5);
    let message = bytes.split_to(length).freeze();
    A::decode(message).map(Some).map_err(|error| Trouble::Garbled(error.to_string()))
}

/// Reads `grpc-status`; `None` when it is not there.
fn status(headers: &HeaderMap) -> Option<Result<(), Trouble>> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status")?;
    Some(match code.parse() {
        Ok(0) => Ok(()),
        Ok(code) => {
            Err(Trouble::Status { code, message: unescape(text("grpc-message").unwrap_or_default()) })
        }
        Err(_) => Err(Trouble::Garbled(format!("grpc-status {code:?}"))),
    })
}

/// Undoes the percent encoding of `grpc-message`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A request's body: one message, after which the stream ends or stays open.
pub(super) struct Question {
    message: Option<Bytes>,
    stays_open: bool,
}

impl Question {
    fn whole(message: &impl Message) -> Self {
        let length = message.encoded_len();
        let mut bytes = BytesMut::with_capacity(5 + length);
        bytes.put_u8(0);
        // Longer ones are refused by etcd long before the length overflows.
        bytes.put_u32(length as u32);
        message.encode(&mut bytes).expect("the buffer grows as needed");
        Question { message: Some(bytes.freeze()), stays_open: false }
    }

    fn open(message: &impl Message) -> Self {
        Question { stays_open: true, ..Question::whole(message) }
    }
}

impl Body for Question {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.message.take() {
            Some(message) => Poll::Ready(Some(Ok(Frame::data(message)))),
            // Nobody has to be woken: nothing follows.
            None if self.stays_open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && !self.stays_open
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{LeaseGrantRequest, LeaseRequest};
    use super::*;

    #[test]
    fn messages_are_taken_one_by_one() {
        let one = Question::whole(&LeaseRequest { id: 7 }).message.unwrap();
        let two = Question::whole(&LeaseGrantRequest { ttl: 300 }).message.unwrap();
        let all: Vec<u8> = one.iter().chain(two.iter()).copied().collect();
        let mut bytes = BytesMut::new();
        let mut ids = Vec::new();
        for byte in all {
            bytes.put_u8(byte);
            ids.extend(next_message::<LeaseRequest>(&mut bytes).unwrap().map(|message| message.id));
        }
        assert_eq!(ids, [7, 300]);
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |bytes: &[u8]| next_message::<LeaseRequest>(&mut BytesMut::from(bytes)).is_err();
        assert!(refused(&[1, 0, 0, 0, 0]), "compressed");
        assert!(refused(&[0, 0xff, 0xff, 0xff, 0xff]), "too long");
        assert!(refused(&[0, 0, 0, 0, 2, 0x08, 0xff]), "a number that does not end");
        assert!(!refused(&[0, 0, 0, 0]), "not all there yet");
    }

    #[test]
    fn texts_of_errors_are_unescaped() {
        assert_eq!(unescape("etcdserver: 100%25 full %e2%82%ac"), "etcdserver: 100% full €");
        assert_eq!(unescape("50% of %zz %"), "50% of %zz %");
    }
}
