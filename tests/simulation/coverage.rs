//! Which situations occurred: a simulator that never fails over, or never gives one up, tests nothing.

use std::collections::BTreeMap;

use bellwether::cluster::{Operation, OperationKind, Step};

/// How often each situation occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    seen: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Counts one.
    pub fn hit(&mut self, situation: &'static str) {
        *self.seen.entry(situation).or_default() += 1;
    }

    /// Counts a step of an operation.
    pub fn operation(&mut self, operation: &Operation) {
        use OperationKind::{Failover, Forced, Switchover};
        let situation = match (operation.kind, operation.step) {
            (Failover, Step::Frozen) => "failover: frozen",
            (Failover, Step::Chosen) => "failover: candidate chosen",
            (Failover, Step::Open) => "failover: open",
            (Failover, _) => "failover: settled",
            (Switchover, Step::Held) => "switchover: held",
            (Switchover, Step::Frozen) => "switchover: frozen",
            (Switchover, Step::Chosen) => "switchover: candidate chosen",
            (Switchover, Step::Open) => "switchover: open",
            (Switchover, _) => "switchover: settled",
            (Forced, Step::Open) => "forced: open",
            (Forced, _) => "forced: on its way",
        };
        self.hit(situation);
        if operation.kind == Switchover && operation.reason.contains("cancelled") {
            self.hit("switchover cancelled");
        }
        if !operation.given_up.is_empty() {
            self.hit("second candidate");
        }
    }

    /// Counts a change of the leader.
    pub fn succession(&mut self, operation: &Operation) {
        self.hit(match operation.kind {
            OperationKind::Failover => "failover done",
            OperationKind::Switchover => "switchover done",
            OperationKind::Forced => "forced failover done",
        });
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Coverage) {
        for (situation, count) in &other.seen {
            *self.seen.entry(situation).or_default() += count;
        }
    }

    /// Returns how often a situation occurred.
    pub fn count(&self, situation: &str) -> u64 {
        self.seen.get(situation).copied().unwrap_or(0)
    }

    /// Returns all situations.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.seen.iter().map(|(situation, count)| (*situation, *count))
    }
}
