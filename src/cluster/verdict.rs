//! Whether the leader is dead: a majority of those who look at it, and enough of them.

use std::collections::BTreeMap;
use std::fmt;

use super::records::Opinion;

/// Who says what of the leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Votes {
    /// Proxies that probe it, this one among them, as far as they spoke lately.
    pub(super) observers: BTreeMap<String, Opinion>,
    /// Followers that answer, by what their walreceiver hears from it. They do not know the sort of its death.
    pub(super) witnesses: BTreeMap<String, Opinion>,
    /// How many proxies the cluster has, be they heard or not.
    pub(super) proxies: usize,
}

/// What the votes come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A majority sees it alive.
    Alive,
    /// Neither.
    Unsure,
    /// A majority does not; at least two, unless there is but one proxy.
    Dead {
        /// Enough of them were told by its host that nobody listens.
        hard: bool,
    },
}

impl Votes {
    /// Counts. One proxy cut off from the leader is outvoted, by other proxies or by the followers that still hear
    /// it; those that died together with it do not count, so they neither block nor help. Followers that hear nothing
    /// confirm what proxies say and never outvote them: a leader in a long checkpoint sends them nothing either.
    pub(super) fn verdict(&self) -> Verdict {
        let count = |opinions: &BTreeMap<String, Opinion>| {
            let alive = opinions.values().filter(|opinion| **opinion == Opinion::Alive).count();
            (alive, opinions.len() - alive)
        };
        let (seen, missed) = count(&self.observers);
        let (heard, unheard) = count(&self.witnesses);
        let gone = self.observers.values().filter(|opinion| **opinion == Opinion::Gone).count();
        let floor = self.proxies.clamp(1, 2);
        let dead = missed > seen && missed + unheard > seen + heard && missed + unheard >= floor;
        if dead {
            Verdict::Dead { hard: gone >= floor }
        } else if seen > missed || seen + heard > missed + unheard {
            Verdict::Alive
        } else {
            Verdict::Unsure
        }
    }
}

impl fmt::Display for Votes {
    /// Writes who says what: `p1: gone, n3 (follower): silent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let observers = self.observers.iter().map(|(name, opinion)| (name, "", opinion));
        let witnesses = self.witnesses.iter().map(|(name, opinion)| (name, " (follower)", opinion));
        for (index, (name, what, opinion)) in observers.chain(witnesses).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let says = match opinion {
                Opinion::Alive => "alive",
                Opinion::Silent => "silent",
                Opinion::Gone => "gone",
            };
            write!(f, "{separator}{name}{what}: {says}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Opinion::{Alive, Gone, Silent};

    fn check(observers: &[Opinion], witnesses: &[Opinion], proxies: usize, expected: Verdict) {
        let named = |letter: &str, opinions: &[Opinion]| {
            opinions
                .iter()
                .enumerate()
                .map(|(index, opinion)| (format!("{letter}{index}"), *opinion))
                .collect()
        };
        let votes = Votes { observers: named("p", observers), witnesses: named("n", witnesses), proxies };
        assert_eq!(votes.verdict(), expected, "{votes}");
    }

    #[test]
    fn one_proxy_that_is_cut_off_is_no_verdict() {
        check(&[Silent, Alive, Alive], &[], 3, Verdict::Alive);
        check(&[Silent], &[Alive, Alive], 1, Verdict::Alive);
        check(&[Gone], &[Alive], 1, Verdict::Unsure);
        check(&[Silent, Alive], &[], 2, Verdict::Unsure);
        check(&[Gone], &[], 3, Verdict::Unsure);
    }

    #[test]
    fn enough_of_those_that_are_left_decide() {
        check(&[Gone], &[], 1, Verdict::Dead { hard: true });
        check(&[Gone, Gone], &[], 3, Verdict::Dead { hard: true });
        check(&[Gone], &[Silent, Silent], 3, Verdict::Dead { hard: false });
        check(&[Silent, Silent, Alive], &[], 3, Verdict::Dead { hard: false });
        check(&[Silent, Gone], &[Alive, Alive], 2, Verdict::Unsure);
        check(&[Alive], &[Silent, Silent], 1, Verdict::Alive);
        check(&[Alive, Silent], &[Silent, Silent], 2, Verdict::Unsure);
    }
}
