//! A copy of the client's requests since it was last idle, to run them again where that is safe.

use super::pipeline::Renamed;

/// The requests, while they are few and nothing of their answer has gone out.
#[derive(Debug, Default)]
pub struct Replay {
    bytes: Vec<u8>,
    recording: bool,
    /// Names that requests answered so far have changed: running them again starts from what was before.
    renamed: Vec<Renamed>,
    /// Where the answer starts in the outbox to the client, once there is any.
    mark: Option<usize>,
    /// These requests were run again already.
    again: bool,
    /// What begins next are the requests taken.
    taken: bool,
    /// The requests will be run again, whatever else is said meanwhile.
    decided: bool,
}

/// More than this is not worth keeping: statements this long are rarely prepared.
const MAX_BYTES: usize = 16 * 1024;

/// What is kept for whoever comes next, so that a short request takes no memory anew.
const KEEP: usize = 512;

impl Replay {
    /// Works with `memory` from now on, unless it has some that it needs.
    pub fn borrow(&mut self, memory: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, memory);
            self.bytes.clear();
        }
    }

    /// Gives that back, unless the requests in it are to be run again.
    pub fn give_back(&mut self, memory: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, memory);
            memory.shrink_to(KEEP);
        }
    }

    /// Begins with the first request of an idle session.
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.renamed.clear();
        self.recording = true;
        self.mark = None;
        self.decided = false;
        self.again = std::mem::take(&mut self.taken);
    }

    /// Adds a message.
    pub fn record(&mut self, message: &[u8]) {
        if !self.recording {
            return;
        }
        if self.bytes.len() + message.len() > MAX_BYTES {
            self.stop();
        } else {
            self.bytes.extend_from_slice(message);
        }
    }

    /// Ends recording: part of the answer has gone out, or the requests cannot be run again.
    pub fn stop(&mut self) {
        if self.decided {
            return;
        }
        self.recording = false;
        self.bytes.clear();
        self.renamed.clear();
    }

    /// Keeps what a request that is answered has changed.
    pub fn keep(&mut self, renamed: Option<Renamed>) {
        if self.recording {
            self.renamed.extend(renamed);
        }
    }

    /// Takes what was kept, the last one first.
    pub fn take_renamed(&mut self) -> impl Iterator<Item = Renamed> {
        std::mem::take(&mut self.renamed).into_iter().rev()
    }

    /// Notes that the outbox to the client, now of this length, gets a part of the answer.
    pub fn answered(&mut self, length: usize) {
        if self.recording && self.mark.is_none() {
            self.mark = Some(length);
        }
    }

    /// Notes that the outbox goes out now.
    pub fn sent(&mut self) {
        if self.mark.is_some() {
            self.stop();
        }
    }

    /// Tells where to cut the outbox (of this length) for running the requests again; `None` when that cannot be, or when
    /// they were run again before.
    pub fn rewind_to(&mut self, length: usize) -> Option<usize> {
        if self.again { None } else { self.rewind_for_good(length) }
    }

    /// The same for requests that go where nothing makes them run again, however often they were.
    pub fn rewind_for_good(&mut self, length: usize) -> Option<usize> {
        self.decided = self.recording;
        self.decided.then(|| self.mark.take().unwrap_or(length))
    }

    /// Returns the requests so far; nothing when they cannot be run again.
    pub fn recorded(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the requests.
    pub fn take(&mut self) -> Vec<u8> {
        self.recording = false;
        self.decided = false;
        self.taken = true;
        std::mem::take(&mut self.bytes)
    }

    /// Gives memory back beyond what short requests need.
    pub fn shrink(&mut self) {
        if !self.recording && self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_run_again_once_and_only_while_nothing_went_out() {
        let mut replay = Replay::default();
        replay.begin();
        replay.record(b"ab");
        replay.answered(7);
        assert_eq!(replay.rewind_to(12), Some(7));
        assert_eq!(replay.take(), b"ab");
        replay.begin();
        replay.record(b"ab");
        assert_eq!(replay.rewind_to(0), None);
        replay.begin();
        replay.record(b"c");
        replay.answered(0);
        replay.sent();
        assert_eq!(replay.rewind_to(0), None);
    }

    #[test]
    fn long_requests_are_not_kept() {
        let mut replay = Replay::default();
        replay.begin();
        replay.record(&[0; MAX_BYTES]);
        replay.record(b"x");
        assert_eq!(replay.rewind_to(0), None);
        assert!(replay.take().is_empty());
    }
}
