//! Read buffers: kept per worker, lent to a client while bytes arrive.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::pool::Stream;

/// What a buffer starts with: enough for most requests and answers, and short reads prove the socket empty.
const START: usize = 16 * 1024;

/// What it grows to while whole reads fill it, so that large results move in few calls.
const STREAMING: usize = 64 * 1024;

/// Buffers that nobody uses now. One per worker.
#[derive(Debug, Default)]
pub struct Spare {
    buffers: Mutex<Vec<Box<[u8]>>>,
}

/// More spare buffers than this are given back to the system.
const MAX_SPARE: usize = 64;

impl Spare {
    fn take(&self) -> Box<[u8]> {
        let spare = self.buffers.lock().expect("no panic happens under this lock").pop();
        spare.unwrap_or_else(|| vec![0; START].into_boxed_slice())
    }

    fn put(&self, buffer: Box<[u8]>) {
        if buffer.len() == START {
            let mut buffers = self.buffers.lock().expect("no panic happens under this lock");
            if buffers.len() < MAX_SPARE {
                buffers.push(buffer);
            }
        }
    }
}

/// Bytes that have arrived and are not dealt with. Holds no memory while there are none and nobody reads.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    data: Box<[u8]>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// Returns the bytes that are there.
    pub fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Tells whether it has grown, as for a large result.
    pub fn is_grown(&self) -> bool {
        self.data.len() >= STREAMING
    }

    /// Forgets the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Puts `bytes` in front of what is there.
    pub fn prepend(&mut self, bytes: &[u8]) {
        let joined = [bytes, self.filled()].concat();
        self.end = joined.len();
        self.start = 0;
        self.data = joined.into_boxed_slice();
    }

    /// Gives the memory back if nothing is in it.
    pub fn rest(&mut self, spare: &Spare) {
        if self.is_empty() && !self.data.is_empty() {
            spare.put(std::mem::take(&mut self.data));
        }
    }

    /// Reads what has arrived, making room first. Ready with 0 at the end of the stream.
    pub fn poll_fill(
        &mut self,
        stream: &mut Stream,
        spare: &Spare,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.data.is_empty() {
            // A waiting client holds no buffer: ask for readiness first, where that can be asked.
            match stream {
                Stream::Tcp(tcp) => std::task::ready!(tcp.poll_read_ready(cx))?,
                Stream::Unix(unix) => std::task::ready!(unix.poll_read_ready(cx))?,
                Stream::TlsClient(_) | Stream::TlsServer(_) => {}
            }
            self.data = spare.take();
        }
        self.make_room();
        let room = self.data.len() - self.end;
        let mut buffer = ReadBuf::new(&mut self.data[self.end..]);
        std::task::ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.end += read;
        if read == room && self.data.len() < STREAMING {
            self.grow(STREAMING);
        }
        Poll::Ready(Ok(read))
    }

    /// Waits for bytes; 0 at the end of the stream.
    pub async fn fill(&mut self, stream: &mut Stream, spare: &Spare) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(stream, spare, cx)).await
    }

    fn make_room(&mut self) {
        if self.end < self.data.len() {
            return;
        }
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else {
            self.grow(self.data.len() * 2);
        }
    }

    fn grow(&mut self, size: usize) {
        let mut data = vec![0; size.max(self.data.len())].into_boxed_slice();
        data[..self.len()].copy_from_slice(&self.data[self.start..self.end]);
        self.end -= self.start;
        self.start = 0;
        self.data = data;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_and_memory_goes_back() {
        let spare = Spare::default();
        let (mut peer, ours) = UnixStream::pair().expect("socket pair");
        let mut stream = Stream::from(ours);
        let mut buffer = ReadBuffer::default();
        let sent: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move { peer.write_all(&sent).await });
        while buffer.len() < expected.len() {
            assert!(buffer.fill(&mut stream, &spare).await.expect("read") > 0);
        }
        writer.await.expect("writer").expect("write");
        assert_eq!(buffer.filled(), expected);
        buffer.consume(99_990);
        buffer.prepend(b"ab");
        assert_eq!(buffer.filled(), [b"ab", &expected[99_990..]].concat());
        buffer.consume(12);
        buffer.rest(&spare);
        assert!(buffer.data.is_empty());
        assert_eq!(buffer.fill(&mut stream, &spare).await.expect("end"), 0);
    }
}
