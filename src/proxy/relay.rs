//! Both sockets of one client: sends what waits, and reads whichever side has something.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::buffer::{ReadBuffer, Spare};
use super::bulk::Bulk;
use super::clients::Client;
use crate::pool::{Server, Stream};
use crate::session::{Outbox, WHOLE_MESSAGE};

/// More than this waiting for one side stops reading the other: memory stays bounded, and the peer feels it.
const MAX_WAITING: usize = 256 * 1024;

/// A client's message is kept whole up to this size; with more than it unread, the client is not read.
const MAX_UNREAD: usize = WHOLE_MESSAGE + 64 * 1024;

/// What an outbox keeps while its client has a server.
const KEEP: usize = 16 * 1024;

/// What it keeps of a waiting client, so that the next short request takes no memory anew. A greeting is longer.
const KEEP_WAITING: usize = 128;

/// The bytes between one client and the server it may have.
pub struct Relay {
    pub client: Stream,
    pub server: Option<Box<Server>>,
    pub from_client: ReadBuffer,
    pub to_client: Outbox,
    pub from_server: ReadBuffer,
    pub to_server: Outbox,
    bulk: Bulk,
    /// Bytes sent since somebody last took note of them.
    pub sent: Sent,
    /// The client's socket took less than there was: the rest goes as soon as it can, whatever may wait.
    behind: bool,
}

/// How many bytes went where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub to_client: u64,
    pub to_server: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Bytes came from the client.
    Client,
    /// Bytes came from the server.
    Server,
    /// The client closed the connection, or it broke.
    ClientGone,
    /// The server closed the connection, or it broke.
    ServerGone,
    /// The server's node has fallen silent.
    ServerSilent,
    /// The operator wants the connection to end.
    Ended,
}

/// What to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Send what waits for the client. Off while more of the same answer is about to come.
    pub flush: bool,
    /// Hear when the connection is to be ended.
    pub end: bool,
    /// Read the client. Off when it has said goodbye and closed.
    pub client: bool,
}

impl Relay {
    /// Wraps a client that has just logged in, and has said `first` behind that.
    pub fn new(client: Stream, first: &[u8]) -> Self {
        let mut from_client = ReadBuffer::default();
        if !first.is_empty() {
            from_client.prepend(first);
        }
        Relay {
            client,
            server: None,
            from_client,
            to_client: Outbox::default(),
            from_server: ReadBuffer::default(),
            to_server: Outbox::default(),
            bulk: Bulk::default(),
            sent: Sent::default(),
            behind: false,
        }
    }

    /// Waits until bytes have come or a side is gone. Meanwhile sends what waits.
    pub async fn next(&mut self, wish: Wish, spare: &Spare, client: &Client) -> Event {
        poll_fn(|cx| self.poll_next(wish, spare, client, cx)).await
    }

    fn poll_next(&mut self, wish: Wish, spare: &Spare, client: &Client, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(server) = &mut self.server
            && poll_send(
                &mut server.stream,
                &mut self.to_server,
                &self.from_client,
                &mut self.sent.to_server,
                cx,
            )
            .is_err()
        {
            return Poll::Ready(Event::ServerGone);
        }
        let flush = wish.flush || self.behind || self.to_client.len() >= MAX_WAITING;
        if flush && self.poll_send_client(cx).is_err() {
            return Poll::Ready(Event::ClientGone);
        }
        self.behind &= !self.to_client.is_empty();
        if let Some(server) = &mut self.server
            && self.to_client.len() < MAX_WAITING
        {
            match self.from_server.poll_fill(&mut server.stream, spare, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::ServerGone),
                Poll::Ready(Ok(read)) => {
                    if self.from_server.is_grown() {
                        self.bulk.note(&server.stream, read);
                    }
                    return Poll::Ready(Event::Server);
                }
                Poll::Pending => self.bulk.poll(&server.stream, cx),
            }
        }
        if wish.client
            && let Poll::Ready(event) = self.poll_client(spare, cx)
        {
            return Poll::Ready(event);
        }
        if client.take_silent() {
            return Poll::Ready(Event::ServerSilent);
        }
        if wish.end && client.poll_ended(cx) { Poll::Ready(Event::Ended) } else { Poll::Pending }
    }

    fn poll_client(&mut self, spare: &Spare, cx: &mut Context<'_>) -> Poll<Event> {
        let full = self.to_server.len() >= MAX_WAITING || self.to_client.len() >= MAX_WAITING;
        if full || self.from_client.len() >= MAX_UNREAD {
            return Poll::Pending;
        }
        match std::task::ready!(self.from_client.poll_fill(&mut self.client, spare, cx)) {
            Ok(0) | Err(_) => Poll::Ready(Event::ClientGone),
            Ok(_) => Poll::Ready(Event::Client),
        }
    }

    /// Waits for the end of the client's connection while it has to wait for something else; keeps what it sends.
    pub async fn client_gone(&mut self, spare: &Spare) {
        loop {
            if let Event::ClientGone = poll_fn(|cx| self.poll_client(spare, cx)).await {
                return;
            }
        }
    }

    /// Sends to the server what can be sent at once, then forgets the first `dealt_with` bytes of the client.
    pub async fn push_to_server(&mut self, dealt_with: usize) -> io::Result<()> {
        let mut result = Ok(());
        if let Some(server) = &mut self.server
            && !self.to_server.is_empty()
        {
            let (outbox, input, sent) = (&mut self.to_server, &self.from_client, &mut self.sent.to_server);
            result = poll_fn(|cx| Poll::Ready(poll_send(&mut server.stream, outbox, input, sent, cx))).await;
        }
        self.to_server.settle(self.from_client.filled());
        self.from_client.consume(dealt_with);
        result
    }

    /// Sends to the client what can be sent at once, then forgets the first `dealt_with` bytes of the server.
    pub async fn push_to_client(&mut self, dealt_with: usize) -> io::Result<()> {
        let result = poll_fn(|cx| Poll::Ready(self.poll_send_client(cx))).await;
        self.to_client.settle(self.from_server.filled());
        self.from_server.consume(dealt_with);
        self.behind = !self.to_client.is_empty();
        result
    }

    /// Sends everything that waits for the client.
    pub async fn send_all(&mut self) -> io::Result<()> {
        self.to_client.settle(self.from_server.filled());
        poll_fn(|cx| {
            self.poll_send_client(cx)?;
            if self.to_client.is_empty() { Pin::new(&mut self.client).poll_flush(cx) } else { Poll::Pending }
        })
        .await
    }

    fn poll_send_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        poll_send(&mut self.client, &mut self.to_client, &self.from_server, &mut self.sent.to_client, cx)
    }

    /// Takes the server out, to be given back.
    pub fn take_server(&mut self) -> Option<Box<Server>> {
        self.end_bulk();
        self.server.take()
    }

    /// Has the server's bytes told at once again, as whoever reads them without [`next`](Self::next) expects.
    pub fn end_bulk(&mut self) {
        if let Some(server) = &self.server {
            self.bulk.end(&server.stream);
        }
    }

    /// Forgets the bytes of a server that is given up or given back.
    pub fn forget_server(&mut self, spare: &Spare) {
        self.bulk = Bulk::default();
        self.to_client.settle(self.from_server.filled());
        let unread = self.from_server.len();
        self.from_server.consume(unread);
        self.from_server.rest(spare);
        let unsent = self.to_server.len();
        self.to_server.settle(self.from_client.filled());
        self.to_server.advance(unsent);
        self.to_server.shrink(KEEP);
    }

    /// Gives its read buffers to whoever comes next.
    pub fn give_back(&mut self, spare: &Spare) {
        for buffer in [&mut self.from_client, &mut self.from_server] {
            let unread = buffer.len();
            buffer.consume(unread);
            buffer.rest(spare);
        }
    }

    /// Gives back the memory that a waiting client does not need.
    pub fn rest(&mut self, spare: &Spare) {
        self.from_client.rest(spare);
        self.to_client.shrink(KEEP_WAITING);
        self.to_server.shrink(KEEP_WAITING);
    }
}

/// Sends as much as the socket takes.
fn poll_send(
    stream: &mut Stream,
    outbox: &mut Outbox,
    input: &ReadBuffer,
    counted: &mut u64,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    let mut wrote = false;
    while !outbox.is_empty() {
        let (own, through) = outbox.slices(input.filled());
        let mut pinned = Pin::new(&mut *stream);
        let sent = if own.is_empty() {
            pinned.as_mut().poll_write(cx, through)
        } else if through.is_empty() {
            pinned.as_mut().poll_write(cx, own)
        } else {
            pinned.as_mut().poll_write_vectored(cx, &[IoSlice::new(own), IoSlice::new(through)])
        };
        match sent {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                outbox.advance(count);
                *counted += count as u64;
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
        wrote = true;
    }
    // TLS may have taken more than the socket did, and that must go on when there is nothing new as well.
    if (wrote || stream.is_tls())
        && let Poll::Ready(Err(error)) = Pin::new(stream).poll_flush(cx)
    {
        return Err(error);
    }
    Ok(())
}
