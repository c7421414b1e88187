//! Bytes on their way to one side: what we wrote ourselves, then a run of the input that goes on unchanged.

use std::ops::Range;

/// What is to be sent to one side. Bytes that go through unchanged are kept as a range of the input buffer, so
/// that a large result is never copied; whatever we write ourselves is copied behind what came before.
///
/// The range refers to the input of the call that filled it: [`settle`](Self::settle) before that input moves.
#[derive(Debug, Default)]
pub struct Outbox {
    written: Vec<u8>,
    sent: usize,
    through: Range<usize>,
}

/// Below this a run of input is copied behind what we wrote, so that one plain write sends both.
const WORTH_A_SECOND_SLICE: usize = 4096;

/// From this on what was sent is moved out of the way.
const WORTH_MOVING: usize = 64 * 1024;

impl Outbox {
    /// Passes `range` of `input` on unchanged.
    pub fn pass(&mut self, input: &[u8], range: Range<usize>) {
        if self.through.is_empty() {
            self.through = range;
        } else if self.through.end == range.start {
            self.through.end = range.end;
        } else {
            self.settle(input);
            self.through = range;
        }
    }

    /// Returns a buffer to write own messages into, behind everything passed on so far.
    pub fn write(&mut self, input: &[u8]) -> &mut Vec<u8> {
        self.settle(input);
        &mut self.written
    }

    /// Copies what is passed on out of `input`, which may then change.
    pub fn settle(&mut self, input: &[u8]) {
        if !self.through.is_empty() {
            if self.sent >= WORTH_MOVING {
                // A slow reader may never be caught up with: what was sent must not stay.
                self.written.drain(..self.sent);
                self.sent = 0;
            }
            self.written.extend_from_slice(&input[self.through.clone()]);
            self.through = 0..0;
        }
    }

    /// Returns the bytes to send now: own bytes, then the run of `input`. The second is empty unless it is large
    /// or stands alone.
    pub fn slices<'a>(&'a mut self, input: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        if self.sent < self.written.len() && self.through.len() < WORTH_A_SECOND_SLICE {
            self.settle(input);
        }
        (&self.written[self.sent..], &input[self.through.clone()])
    }

    /// Notes that `count` bytes of [`slices`](Self::slices) were sent.
    pub fn advance(&mut self, count: usize) {
        let own = count.min(self.written.len() - self.sent);
        self.sent += own;
        self.through.start += count - own;
        if self.through.is_empty() {
            // An empty range must not point into an input that may be gone.
            self.through = 0..0;
        }
        if self.sent == self.written.len() {
            self.written.clear();
            self.sent = 0;
        }
    }

    /// Forgets what stands behind `mark` (see [`mark`](Self::mark)); nothing of it may have been sent.
    pub fn rewind(&mut self, input: &[u8], mark: usize) {
        self.settle(input);
        self.written.truncate(self.sent + mark);
    }

    /// Returns how much waits to be sent, as a mark to rewind to.
    pub fn mark(&self) -> usize {
        self.len()
    }

    /// Gives memory back after something large went through, or all of it when nothing waits.
    pub fn shrink(&mut self, keep: usize) {
        if self.is_empty() && self.written.capacity() > keep {
            self.written = Vec::new();
        }
    }

    /// Returns how many bytes wait to be sent.
    pub fn len(&self) -> usize {
        self.written.len() - self.sent + self.through.len()
    }

    /// Tells whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, input: &[u8]) -> Vec<u8> {
        let (own, through) = outbox.slices(input);
        [own, through].concat()
    }

    #[test]
    fn adjoining_runs_stay_one_slice_of_the_input() {
        let input = b"abcdefgh";
        let mut outbox = Outbox::default();
        outbox.pass(input, 0..3);
        outbox.pass(input, 3..6);
        assert_eq!(outbox.slices(input), (&b""[..], &b"abcdef"[..]));
        outbox.advance(4);
        assert_eq!(outbox.slices(input), (&b""[..], &b"ef"[..]));
        outbox.advance(2);
        assert!(outbox.is_empty());
        // The input may be gone now.
        outbox.write(&[]).push(b'!');
        assert_eq!(drain(&mut outbox, &[]), b"!");
    }

    #[test]
    fn order_is_kept_across_own_bytes_and_gaps() {
        let input = b"abcdefgh";
        let mut outbox = Outbox::default();
        outbox.pass(input, 0..2);
        outbox.write(input).extend_from_slice(b"--");
        outbox.pass(input, 3..5);
        outbox.pass(input, 6..8);
        assert_eq!(drain(&mut outbox, input), b"ab--degh");
        outbox.advance(3);
        assert_eq!(drain(&mut outbox, input), b"-degh");
        assert_eq!(outbox.len(), 5);
    }

    #[test]
    fn rewinding_forgets_what_came_after_the_mark() {
        let input = b"abcdefgh";
        let mut outbox = Outbox::default();
        outbox.pass(input, 0..2);
        let mark = outbox.mark();
        outbox.pass(input, 2..4);
        outbox.write(input).push(b'!');
        outbox.rewind(input, mark);
        assert_eq!(drain(&mut outbox, input), b"ab");
    }
}
