//! One socket, plain or TLS, towards a client or towards a server.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A byte stream to a client or a server. TLS is boxed, so that the plain kinds stay small; PostgreSQL does not
/// speak TLS over Unix sockets, so neither do we.
#[derive(Debug)]
pub enum Stream {
    /// TCP without TLS.
    Tcp(TcpStream),
    /// Unix-domain socket.
    Unix(UnixStream),
    /// TLS over TCP, we being the TLS client (towards a server).
    TlsClient(Box<client::TlsStream<TcpStream>>),
    /// TLS over TCP, we being the TLS server (towards a client).
    TlsServer(Box<server::TlsStream<TcpStream>>),
}

impl Stream {
    /// Tells whether the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::TlsClient(_) | Stream::TlsServer(_))
    }

    /// Tells whether this is a Unix-domain socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }

    /// Returns the TCP socket below, if there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Unix(_) => None,
            Stream::TlsClient(tls) => Some(tls.get_ref().0),
            Stream::TlsServer(tls) => Some(tls.get_ref().0),
        }
    }

    /// Asks the kernel to tell of bytes only when that many have come, or the connection has ended. False where it cannot be asked:
    /// TLS hands out no more than a record at a time, and of Unix sockets the sender waits for room.
    pub fn gather(&self, bytes: usize) -> bool {
        let Stream::Tcp(tcp) = self else { return false };
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: the descriptor is open while `tcp` is borrowed, and the value is read during the call only.
        let result = unsafe {
            libc::setsockopt(
                tcp.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        result == 0
    }

    /// Tells whether an idle stream is still as it was left: open, and with nothing to read.
    ///
    /// Costs no system call while the runtime has seen no event on the socket. One byte is lost when there was
    /// something to read; a stream for which this is false is not fit for anything but closing.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let would_block = |result: io::Result<usize>| match result {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        match self {
            Stream::Tcp(tcp) => would_block(tcp.try_read(&mut byte)),
            Stream::Unix(unix) => would_block(unix.try_read(&mut byte)),
            // Through the TLS layer: session tickets and key updates arrive unasked and are no data.
            tls => {
                let mut buffer = ReadBuf::new(&mut byte);
                Pin::new(tls).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer).is_pending()
            }
        }
    }

    /// Writes what can be written at once, without waiting; the rest is given up.
    ///
    /// For farewells only: afterwards it is unknown how much was sent.
    pub fn write_best_effort(&mut self, bytes: &[u8]) {
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = Pin::new(self);
        if let Poll::Ready(Ok(_)) = stream.as_mut().poll_write(&mut context, bytes) {
            let _ = stream.poll_flush(&mut context);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(unix) => unix.as_fd(),
            Stream::Tcp(tcp) => tcp.as_fd(),
            Stream::TlsClient(tls) => tls.get_ref().0.as_fd(),
            Stream::TlsServer(tls) => tls.get_ref().0.as_fd(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Stream::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Stream::Unix(unix)
    }
}

/// Sets what every TCP socket of ours has: no delay of small segments, and keepalive, so that a peer whose host
/// vanished is noticed after a minute and a half instead of never.
pub fn prepare_tcp<S: AsFd>(tcp: &S) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Stream::TlsClient(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
            Stream::TlsServer(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Stream::TlsClient(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
            Stream::TlsServer(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Stream::TlsClient(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
            Stream::TlsServer(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
        }
    }

    // All four kinds gather, TLS into its own buffer.
    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Plain sockets have nothing to flush.
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::TlsClient(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Stream::TlsServer(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Stream::TlsClient(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Stream::TlsServer(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn eventually(mut condition: impl FnMut() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("condition not met within two seconds");
    }

    #[tokio::test]
    async fn an_idle_stream_is_quiet_until_the_peer_speaks_or_closes() {
        let (ours, mut theirs) = UnixStream::pair().expect("socket pair");
        let mut ours = Stream::from(ours);
        assert!(ours.is_quiet());
        theirs.write_all(b"xy").await.expect("write");
        eventually(|| !ours.is_quiet()).await;

        let (ours, theirs) = UnixStream::pair().expect("socket pair");
        let mut ours = Stream::from(ours);
        assert!(ours.is_quiet());
        drop(theirs);
        eventually(|| !ours.is_quiet()).await;
    }

    #[tokio::test]
    async fn bytes_pass_and_farewells_do_not_wait() {
        let (ours, mut theirs) = UnixStream::pair().expect("socket pair");
        let mut ours = Stream::from(ours);
        ours.write_all(b"hello").await.expect("write");
        ours.write_best_effort(b", bye");
        let mut got = [0u8; 10];
        theirs.read_exact(&mut got).await.expect("read");
        assert_eq!(&got, b"hello, bye");
        let full = vec![0u8; 8 << 20];
        for _ in 0..4 {
            ours.write_best_effort(&full); // nobody reads: must come back at once
        }
    }
}
