//! Branches of WAL: which history a node's data belongs to, and what two histories share.

use std::fmt;

use crate::pg::{Lsn, Timeline};

/// A branch of WAL: the timeline a promotion began, and where it left its parent.
///
/// The number alone does not do: two promotions that know nothing of each other choose the same one. The pair
/// can still be equal when both left at the same position; see [`Term::highest_timeline`](super::Term).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Branch {
    /// The number of the timeline.
    pub timeline: Timeline,
    /// The last position shared with the parent; 0 for the first timeline.
    pub forked_at: Lsn,
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.timeline, self.forked_at)
    }
}

/// All branches that lead to a node's data, oldest first, its own last. Never empty: read from
/// `TIMELINE_HISTORY` and the current timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lineage(Vec<Branch>);

/// How a node's data relates to a branch that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinship {
    /// It is on that branch, this far.
    Same(Lsn),
    /// It is on an ancestor and has nothing the branch lacks: it can follow. This far.
    Ancestor(Lsn),
    /// A later promotion of that branch: it shares everything up to the position, and has WAL of its own after.
    Descendant(Lsn),
    /// It has WAL the branch does not have, after the position.
    Diverged(Lsn),
}

impl Kinship {
    /// Returns how much of the branch that counts the node holds.
    pub fn shared(self) -> Lsn {
        match self {
            Kinship::Same(lsn)
            | Kinship::Ancestor(lsn)
            | Kinship::Descendant(lsn)
            | Kinship::Diverged(lsn) => lsn,
        }
    }

    /// Whether the node can follow the branch without a rewind.
    pub fn can_follow(self) -> bool {
        matches!(self, Kinship::Same(_) | Kinship::Ancestor(_))
    }
}

impl Lineage {
    /// Builds a lineage of its branches, oldest first; `None` when there is none, or when they do not grow.
    pub fn new(branches: Vec<Branch>) -> Option<Self> {
        let grows = branches
            .windows(2)
            .all(|pair| pair[0].timeline < pair[1].timeline && pair[0].forked_at <= pair[1].forked_at);
        (grows && !branches.is_empty()).then_some(Lineage(branches))
    }

    /// Returns the branch the node is on.
    pub fn last(&self) -> Branch {
        *self.0.last().expect("a lineage is never empty")
    }

    /// Returns all branches, oldest first.
    pub fn branches(&self) -> &[Branch] {
        &self.0
    }

    /// Tells how data of this lineage that ends at `position` relates to the branch `other` ends with.
    pub fn kinship(&self, position: Lsn, other: &Lineage) -> Kinship {
        let common = self.0.iter().zip(&other.0).take_while(|(a, b)| a == b).count();
        let mine_left = self.0.get(common).map(|branch| branch.forked_at);
        let other_left = other.0.get(common).map(|branch| branch.forked_at);
        match (mine_left, other_left) {
            (None, None) => Kinship::Same(position),
            (None, Some(left)) if position <= left => Kinship::Ancestor(position),
            (None, Some(left)) => Kinship::Diverged(left),
            (Some(left), None) => Kinship::Descendant(left),
            (Some(mine), Some(theirs)) => Kinship::Diverged(mine.min(theirs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(branches: &[(u32, u64)]) -> Lineage {
        let branch = |&(timeline, at)| Branch { timeline: Timeline(timeline), forked_at: Lsn(at) };
        Lineage::new(branches.iter().map(branch).collect()).expect("it grows")
    }

    #[test]
    fn kinship_tells_who_can_follow() {
        let leader = lineage(&[(1, 0), (2, 100)]);
        let check = |mine: &[(u32, u64)], at, expected| {
            assert_eq!(lineage(mine).kinship(Lsn(at), &leader), expected, "{mine:?} at {at}");
        };
        check(&[(1, 0), (2, 100)], 150, Kinship::Same(Lsn(150)));
        check(&[(1, 0)], 100, Kinship::Ancestor(Lsn(100)));
        check(&[(1, 0)], 101, Kinship::Diverged(Lsn(100)));
        check(&[(1, 0), (2, 100), (3, 140)], 150, Kinship::Descendant(Lsn(140)));
        // The same number, chosen twice.
        check(&[(1, 0), (2, 90)], 95, Kinship::Diverged(Lsn(90)));
        check(&[(1, 0), (3, 120)], 130, Kinship::Diverged(Lsn(100)));
    }

    #[test]
    fn a_lineage_grows() {
        let branch = |timeline, at| Branch { timeline: Timeline(timeline), forked_at: Lsn(at) };
        assert_eq!(Lineage::new(vec![]), None);
        assert_eq!(Lineage::new(vec![branch(2, 5), branch(1, 6)]), None);
        assert_eq!(Lineage::new(vec![branch(1, 5), branch(2, 4)]), None);
    }
}
