//! Requests sent to a server and not yet answered, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::answers::OwnAnswer;
use super::bereft::{Ending, ending};
use super::server::Sent;
use super::statements::{Named, Statement};
use crate::sql::{Classified, SettingChange, Shape};
use crate::wire::error_response::PgError;

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Query; answered up to ReadyForQuery.
    Query,
    /// FunctionCall; answered up to ReadyForQuery.
    FunctionCall,
    /// Parse.
    Parse,
    /// Bind.
    Bind,
    /// Describe.
    Describe,
    /// Execute.
    Execute,
    /// Close.
    Close,
    /// Sync; answered by ReadyForQuery.
    Sync,
}

impl Request {
    /// Tells whether it is answered up to ReadyForQuery.
    pub fn ends_round(self) -> bool {
        matches!(self, Request::Query | Request::FunctionCall | Request::Sync)
    }

    /// Tells whether an error answering this makes the server skip everything up to the next Sync.
    pub fn is_extended(self) -> bool {
        matches!(self, Request::Parse | Request::Bind | Request::Describe | Request::Execute | Request::Close)
    }
}

/// What happens to the answer.
#[derive(Debug)]
pub enum Answer {
    /// It goes to the client.
    Forward,
    /// It is ours; the client sees nothing of it.
    Swallow,
    /// Nothing was sent to the server; the client hears in turn that it is done.
    Fabricate,
    /// The server was sent something it must refuse; the client gets this error in place of the server's.
    Refuse(Box<PgError>),
}

/// What we asked for on our own behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internal {
    /// Begin the transaction that was held back.
    Begin,
    /// Bring the server's settings to the session's.
    Settings,
    /// Set the startup values again after a RESET.
    Reapply,
    /// Ask what state the session left.
    Probe,
    /// Part of another request: a Parse, Close or Sync put before or behind it.
    Helper,
    /// In place of a Flush: the end of a group that has only prepared so far.
    Flush,
    /// Clean up behind a client that is gone.
    Parting,
    /// The end of requests that will be run again.
    Replay,
    /// Bring the server into a failed transaction, where the client is.
    Failing,
}

/// A name that changes its meaning with this request, so that it can be undone if the request never runs.
#[derive(Debug)]
pub struct Renamed {
    /// The client's name.
    pub name: Box<[u8]>,
    /// What it meant before.
    pub before: Option<Named>,
}

/// What a Describe is about.
#[derive(Debug)]
pub struct Described {
    /// The shared statement.
    pub statement: Arc<Statement>,
    /// Which copy of it on the server.
    pub copy: Option<u64>,
    /// The name by which the client asked; `None` when we did.
    pub name: Option<Box<[u8]>>,
    /// PostgreSQL holds it to the rows it has now.
    pub rows: bool,
}

/// One request.
#[derive(Debug)]
pub struct Entry {
    /// Kind.
    pub request: Request,
    /// What becomes of the answer.
    pub answer: Answer,
    /// Ours, and why.
    pub internal: Option<Internal>,
    /// For Parse: the statement being prepared on the server under its shared name.
    pub prepares: Option<Sent>,
    /// For Parse and Close: the client's name concerned.
    pub renamed: Option<Renamed>,
    /// For Query and Execute: what it does, unless that is nothing beyond its rows.
    pub class: Option<Arc<Classified>>,
    /// For Execute: settings changed by values bound.
    pub bound: Box<[SettingChange]>,
    /// For Describe: the statement that is described, or whose portal is.
    pub describes: Option<Box<Described>>,
    /// For Query and Bind: what a catalog may learn of it.
    pub shape: Option<Shape>,
    /// For Query, Execute and Describe: what we answer ourselves.
    pub own: Option<Box<OwnAnswer>>,
    /// For Query: how many of its statements are complete.
    pub completed: usize,
    /// How many CopyDone or CopyFail the client had sent before: tells which Syncs fell into a COPY.
    pub copies_ended: u32,
    /// What the client says next must wait until this is complete: it changes what names or texts mean.
    pub holds_back: bool,
    /// For what is answered by ReadyForQuery: how many such requests the client had sent before.
    pub round: u64,
}

impl Entry {
    /// Makes a plain entry whose answer goes to the client.
    pub fn forward(request: Request, copies_ended: u32) -> Self {
        Entry {
            request,
            answer: Answer::Forward,
            internal: None,
            prepares: None,
            renamed: None,
            class: None,
            bound: Box::default(),
            describes: None,
            own: None,
            shape: None,
            completed: 0,
            copies_ended,
            holds_back: false,
            round: 0,
        }
    }

    /// Makes an entry of our own.
    pub fn internal(request: Request, why: Internal) -> Self {
        Entry { answer: Answer::Swallow, internal: Some(why), ..Entry::forward(request, 0) }
    }

    /// Makes an entry that is answered without the server.
    pub fn fabricate(request: Request) -> Self {
        Entry { answer: Answer::Fabricate, ..Entry::forward(request, 0) }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Pipeline {
    entries: VecDeque<Entry>,
}

/// A longer queue keeps its memory only until it is empty.
const KEEP_ENTRIES: usize = 16;

impl Pipeline {
    /// Adds a request that was just written to the server.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    /// Returns the request the server is answering.
    pub fn head(&mut self) -> Option<&mut Entry> {
        self.entries.front_mut()
    }

    /// Takes the request that has been answered.
    pub fn pop(&mut self) -> Option<Entry> {
        let head = self.entries.pop_front();
        if self.entries.is_empty() && self.entries.capacity() > KEEP_ENTRIES {
            self.entries = VecDeque::new();
        }
        head
    }

    /// Takes what the server skips after an error in the extended protocol: everything before the next Sync,
    /// last one first, so that undoing runs backwards.
    pub fn skip_to_sync(&mut self) -> impl Iterator<Item = Entry> {
        let end = self.entries.iter().position(|entry| entry.request == Request::Sync);
        let end = end.unwrap_or(self.entries.len());
        self.entries.drain(..end).rev().collect::<Vec<_>>().into_iter()
    }

    /// Removes the Syncs that fell into the COPY the head has just begun: the server ignores them. Returns how many.
    pub fn drop_syncs_in_copy(&mut self) -> usize {
        let Some(began) = self.entries.front().map(|head| head.copies_ended) else { return 0 };
        let before = self.entries.len();
        let mut first = true;
        self.entries.retain(|entry| {
            let keep = first || entry.request != Request::Sync || entry.copies_ended != began;
            first = false;
            keep
        });
        before - self.entries.len()
    }

    /// Takes everything, first one first.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> {
        std::mem::take(&mut self.entries).into_iter()
    }

    /// Tells whether a request that is not answered may change the schema.
    pub fn may_change_schema(&self) -> bool {
        let mut classes = self.entries.iter().filter_map(|entry| entry.class.as_ref());
        classes.any(|class| !class.parsed || class.statements.iter().any(|effects| effects.ddl))
    }

    /// Tells whether every request has been answered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tells whether the server is at work for the client (and not only for us). A Parse of ours in front of the client's
    /// Bind is unanswered for as long as the client's statement runs: the server keeps its answers back until the Sync.
    pub fn serves_client(&self) -> bool {
        let before = |entry: &&Entry| entry.internal == Some(Internal::Helper) && entry.request.is_extended();
        self.entries.iter().find(|entry| !before(entry)).is_some_and(|entry| entry.internal.is_none())
    }

    /// Tells whether the client has an answer to expect.
    pub fn owes_client(&self) -> bool {
        self.entries.iter().any(|entry| entry.internal.is_none())
    }

    /// Tells whether the requests outstanding are one Query, or a group that the server skips up to its Sync.
    pub fn is_one_round(&self) -> bool {
        let last = self.entries.len().checked_sub(1);
        match self.entries.front().map(|head| head.request) {
            Some(Request::Query) => last == Some(0),
            _ => self.entries.iter().position(|entry| entry.request == Request::Sync) == last,
        }
    }

    /// Returns what the first request outstanding that changes `name` notes of it.
    pub fn renamed(&mut self, name: &[u8]) -> Option<&mut Renamed> {
        self.entries
            .iter_mut()
            .filter_map(|entry| entry.renamed.as_mut())
            .find(|renamed| *renamed.name == *name)
    }

    /// Tells whether something outstanding changes what names or texts mean.
    pub fn holds_back(&self) -> bool {
        self.entries.iter().any(|entry| entry.holds_back)
    }

    /// Tells whether the server may keep its answers back until it is asked for them.
    pub fn may_be_kept_back(&self) -> bool {
        self.entries.back().is_some_and(|last| !last.request.ends_round())
    }

    /// Tells whether the request the server is at ends a transaction block and keeps what it did.
    pub fn keeps_transaction(&self) -> bool {
        let runs = |entry: &&Entry| !entry.request.is_extended() || entry.request == Request::Execute;
        let class = self.entries.iter().find(runs).and_then(|entry| entry.class.as_deref());
        class.and_then(ending) == Some(Ending::Kept)
    }

    /// Tells whether a request that is outstanding may begin a transaction block.
    pub fn may_begin(&self) -> bool {
        self.entries.iter().any(|entry| entry.class.is_some())
    }

    /// Tells whether part of an extended-protocol group is outstanding.
    pub fn holds_group(&self) -> bool {
        self.entries.iter().any(|entry| entry.request.is_extended() || entry.request == Request::Sync)
    }

    /// Tells whether the last request outstanding is one that ends a group.
    pub fn ends_round(&self) -> bool {
        self.entries.back().is_some_and(|entry| entry.request.ends_round())
    }

    /// Tells whether a COPY may begin with what is outstanding.
    pub fn may_copy(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.request, Request::Query | Request::Execute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(requests: &[(Request, u32)]) -> Pipeline {
        let mut pipeline = Pipeline::default();
        for (request, copies_ended) in requests {
            pipeline.push(Entry::forward(*request, *copies_ended));
        }
        pipeline
    }

    fn kinds(pipeline: Pipeline) -> Vec<Request> {
        pipeline.entries.into_iter().map(|entry| entry.request).collect()
    }

    #[test]
    fn an_error_skips_to_the_next_sync_even_over_a_query() {
        use Request::*;
        let mut pipeline = queue(&[(Bind, 0), (Query, 0), (Execute, 0), (Sync, 0), (Bind, 0)]);
        let skipped: Vec<_> = pipeline.skip_to_sync().map(|entry| entry.request).collect();
        assert_eq!(skipped, [Execute, Query, Bind]);
        assert_eq!(kinds(pipeline), [Sync, Bind]);
    }

    #[test]
    fn without_a_sync_everything_is_skipped() {
        let mut pipeline = queue(&[(Request::Bind, 0), (Request::Execute, 0)]);
        assert_eq!(pipeline.skip_to_sync().count(), 2);
        assert!(pipeline.is_empty());
    }

    #[test]
    fn what_is_put_before_the_requests_of_a_client_is_work_for_it() {
        use Request::*;
        let helpers = |requests: &[Request], client: &[(Request, u32)]| {
            let mut pipeline = queue(client);
            for request in requests.iter().rev() {
                pipeline.entries.push_front(Entry::internal(*request, Internal::Helper));
            }
            pipeline.serves_client()
        };
        assert!(helpers(&[Close, Parse], &[(Bind, 0), (Execute, 0), (Sync, 0)]));
        assert!(!helpers(&[Close, Parse], &[]), "nothing of the client's");
        assert!(!helpers(&[Close, Sync], &[(Query, 0)]), "a group of our own is answered at once");
    }

    #[test]
    fn a_commit_by_portal_is_one_from_its_bind_on() {
        use Request::*;
        let keeps = |text: &str| {
            let mut pipeline = queue(&[(Parse, 0), (Bind, 0), (Execute, 0), (Sync, 0)]);
            let class = crate::sql::Classifier::new(2, 1 << 10).classify(text.as_bytes(), true);
            pipeline.entries[2].class = Some(class);
            pipeline.keeps_transaction()
        };
        assert!(keeps("COMMIT"));
        assert!(!keeps("ROLLBACK"));
        assert!(!keeps("SELECT 1"));
    }

    #[test]
    fn only_syncs_sent_before_the_end_of_the_copy_are_dropped() {
        use Request::*;
        let mut pipeline = queue(&[(Execute, 3), (Sync, 3), (Sync, 4), (Query, 4)]);
        assert_eq!(pipeline.drop_syncs_in_copy(), 1);
        assert_eq!(kinds(pipeline), [Execute, Sync, Query]);
    }
}
