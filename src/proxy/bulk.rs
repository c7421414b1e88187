//! Long answers in large pieces: while one streams, the kernel wakes us for a good part of a buffer instead of for
//! each packet.
//!
//! PostgreSQL sends in pieces of 8 kB, and a proxy with nothing else to do is awake before the next is there: a read, a
//! write and a wake-up for each. `SO_RCVLOWAT` (socket(7)) leaves more of them to gather. It holds back the end of the answer
//! as well, so a timer goes beside it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::pool::Stream;

/// An answer is long from here on.
const LONG: usize = 1024 * 1024;

/// What the kernel is to gather: less than a buffer, so that a read that does not fill it proves the socket empty.
const GATHERED: usize = 48 * 1024;

/// Less than this at once is no stream.
const PIECE: usize = 4 * 1024;

/// What is held back goes on after this time without anything new.
const LONGEST: Duration = Duration::from_millis(1);

/// One server connection's part in this.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Bytes that came in one stream of pieces.
    streamed: usize,
    gathering: Option<Gathering>,
}

#[derive(Debug)]
struct Gathering {
    timer: Pin<Box<Sleep>>,
    /// Something came since the timer was set.
    moved: bool,
}

impl Bulk {
    /// Takes note of a read.
    pub fn note(&mut self, stream: &Stream, read: usize) {
        if let Some(gathering) = &mut self.gathering {
            gathering.moved = true;
            return;
        }
        self.streamed = if read < PIECE { 0 } else { self.streamed.saturating_add(read) };
        if self.streamed >= LONG && stream.gather(GATHERED) {
            let timer = Box::pin(tokio::time::sleep(LONGEST));
            self.gathering = Some(Gathering { timer, moved: false });
        }
    }

    /// Lets what was held back come once nothing new has come for a moment. To be asked when there is nothing to read.
    pub fn poll(&mut self, stream: &Stream, cx: &mut Context<'_>) {
        while let Some(gathering) = &mut self.gathering
            && gathering.timer.as_mut().poll(cx) == Poll::Ready(())
        {
            if !std::mem::take(&mut gathering.moved) {
                self.end(stream);
                return;
            }
            gathering.timer.as_mut().reset(Instant::now() + LONGEST);
        }
    }

    /// Has whatever comes be told at once again.
    pub fn end(&mut self, stream: &Stream) {
        self.streamed = 0;
        if self.gathering.take().is_some() {
            stream.gather(1);
        }
    }
}
