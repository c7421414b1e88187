//! The truth about WAL: every branch that was ever begun, and what is written on each.
//!
//! A branch is written by one server only, the one whose promotion began it, and never shortened. What a server
//! holds is a [`Place`]: a branch and how far. What servers *show* of it is timelines and positions, which two
//! different branches can share.

use bellwether::cluster::{Branch, Lineage};
use bellwether::pg::{Lsn, Timeline};

use super::clock::Time;

/// A branch, told apart from every other even if it looks the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BranchId(pub usize);

/// How much WAL a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub branch: BranchId,
    pub end: u64,
}

/// A client's write, numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub usize);

/// Every branch of a world.
pub struct Wal {
    branches: Vec<OneBranch>,
    writes: Vec<Place>,
}

struct OneBranch {
    parent: Option<Place>,
    lineage: Lineage,
    end: u64,
    /// Where each record ends: what arrives at a standby may end in between.
    records: Vec<u64>,
    commits: Vec<Commit>,
}

/// A transaction's commit record.
struct Commit {
    end: u64,
    /// What `pg_last_xact_replay_timestamp()` goes by.
    at: Time,
    write: Option<WriteId>,
}

/// The WAL before the world begins.
pub const START: u64 = 10_000;

impl Wal {
    /// Begins with timeline 1.
    pub fn new() -> Self {
        let first = Branch { timeline: Timeline(1), forked_at: Lsn(0) };
        let lineage = Lineage::new(vec![first]).expect("one branch");
        let first = OneBranch { parent: None, lineage, end: START, records: vec![START], commits: vec![] };
        Wal { branches: vec![first], writes: Vec::new() }
    }

    /// Begins a branch at `from`, with a timeline of this number.
    pub fn fork(&mut self, from: Place, timeline: u32) -> Place {
        let mut visible = self.branches[from.branch.0].lineage.branches().to_vec();
        visible.push(Branch { timeline: Timeline(timeline), forked_at: Lsn(from.end) });
        let lineage = Lineage::new(visible).expect("a promotion takes a higher timeline at a later position");
        // The record a promotion writes first.
        let end = from.end + 42;
        self.branches.push(OneBranch {
            parent: Some(from),
            lineage,
            end,
            records: vec![end],
            commits: Vec::new(),
        });
        Place { branch: BranchId(self.branches.len() - 1), end }
    }

    /// Writes `bytes` that commit nothing.
    pub fn append(&mut self, branch: BranchId, bytes: u64) -> u64 {
        let branch = &mut self.branches[branch.0];
        branch.end += bytes;
        branch.records.push(branch.end);
        branch.end
    }

    /// Writes a transaction that is no client's.
    pub fn commit(&mut self, branch: BranchId, bytes: u64, at: Time) -> u64 {
        let end = self.append(branch, bytes);
        self.branches[branch.0].commits.push(Commit { end, at, write: None });
        end
    }

    /// Writes a client's transaction; returns its number and where its commit ends.
    pub fn write(&mut self, branch: BranchId, bytes: u64, at: Time) -> (WriteId, u64) {
        let end = self.append(branch, bytes);
        let write = WriteId(self.writes.len());
        self.writes.push(Place { branch, end });
        self.branches[branch.0].commits.push(Commit { end, at, write: Some(write) });
        (write, end)
    }

    /// Returns when the last transaction a server at `place` has was committed.
    pub fn last_commit(&self, place: Place) -> Time {
        self.find_last(place, |commit| Some(commit.at)).unwrap_or(0)
    }

    /// Returns the last client's write a server at `place` has.
    pub fn last_write(&self, place: Place) -> Option<WriteId> {
        self.find_last(place, |commit| commit.write)
    }

    fn find_last<T>(&self, place: Place, wanted: impl Fn(&Commit) -> Option<T>) -> Option<T> {
        let mut at = place;
        loop {
            let branch = &self.branches[at.branch.0];
            let upto = branch.commits.partition_point(|commit| commit.end <= at.end);
            if let Some(found) = branch.commits[..upto].iter().rev().find_map(&wanted) {
                return Some(found);
            }
            let parent = branch.parent?;
            at = Place { branch: parent.branch, end: parent.end.min(at.end) };
        }
    }

    /// Returns where a client's commit is.
    pub fn place_of(&self, write: WriteId) -> Place {
        self.writes[write.0]
    }

    /// Returns `place` without the part of a record it may end with: all that can be replayed.
    pub fn whole(&self, place: Place) -> Place {
        let mut at = place;
        loop {
            let branch = &self.branches[at.branch.0];
            let upto = branch.records.partition_point(|end| *end <= at.end);
            if let Some(end) = branch.records[..upto].last() {
                return Place { branch: at.branch, end: *end };
            }
            let Some(parent) = branch.parent else { return at };
            at = Place { branch: parent.branch, end: parent.end.min(at.end) };
        }
    }

    /// Returns how far a branch goes.
    pub fn end(&self, branch: BranchId) -> u64 {
        self.branches[branch.0].end
    }

    /// Returns the history as PostgreSQL shows it.
    pub fn lineage(&self, branch: BranchId) -> &Lineage {
        &self.branches[branch.0].lineage
    }

    /// Returns how much of `ancestor` lies in what `place` holds; `None` when it is on no such branch.
    pub fn reach(&self, place: Place, ancestor: BranchId) -> Option<u64> {
        let mut at = place;
        loop {
            if at.branch == ancestor {
                return Some(at.end);
            }
            let parent = self.branches[at.branch.0].parent?;
            at = Place { branch: parent.branch, end: parent.end.min(at.end) };
        }
    }

    /// Returns the branch a reader of `target`'s WAL is on once it has it up to `end`.
    pub fn branch_at(&self, target: BranchId, end: u64) -> BranchId {
        let mut branch = target;
        while let Some(parent) = self.branches[branch.0].parent {
            if parent.end < end {
                break;
            }
            branch = parent.branch;
        }
        branch
    }

    /// Whether all `place` holds is part of `target`'s branch.
    pub fn is_prefix(&self, place: Place, target: BranchId) -> bool {
        let whole = Place { branch: target, end: self.end(target) };
        self.reach(whole, place.branch).is_some_and(|reached| reached >= place.end)
    }

    /// Returns the last place the two have in common.
    pub fn common(&self, a: Place, b: Place) -> u64 {
        let mut at = a;
        loop {
            if let Some(reached) = self.reach(b, at.branch) {
                return reached.min(at.end);
            }
            let parent = self.branches[at.branch.0].parent.expect("every branch comes of the first");
            at = Place { branch: parent.branch, end: parent.end.min(at.end) };
        }
    }

    /// Whether PostgreSQL would let a standby at `place` stream from a server on `sender`: it looks at timeline
    /// numbers and positions, so it is fooled by two promotions that chose the same ones.
    pub fn lets_stream(&self, place: Place, sender: Place) -> bool {
        let mine = self.lineage(place.branch).last().timeline;
        let theirs = self.lineage(sender.branch).branches();
        let Some(index) = theirs.iter().position(|branch| branch.timeline == mine) else { return false };
        let limit = theirs.get(index + 1).map_or(sender.end, |next| next.forked_at.0);
        place.end <= limit
    }
}
