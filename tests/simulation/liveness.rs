//! What must be true some time after the last fault: the cluster serves, and nothing is left half done.

use std::collections::BTreeSet;

use bellwether::cluster::{Key, Phase, Record, Step};

use super::clock::{SECOND, Time};
use super::server::Power;
use super::world::World;

/// L1 to L4: ten seconds, and what the protocol may wait before: a permission, a voter that stalled.
pub const PATIENCE: Time = 10 * SECOND;

impl World {
    /// Returns what the protocol may wait on top of that: for permissions to end, for a server to start.
    pub fn grace(&self) -> Time {
        let permission = u64::try_from(self.timings.permission.as_micros()).expect("some seconds");
        2 * permission + 4 * SECOND
    }

    /// Returns what is not as it must be; `None` when all is well.
    pub fn what_is_missing(&self, since: Time) -> Option<(&'static str, String)> {
        let Some(Record::Term(term)) = self.store.get(&Key::Term).as_deref().cloned() else {
            return Some(("L1", "there is no term".to_owned()));
        };
        if term.phase != Phase::Open {
            return Some(("L2", format!("term {} is {:?}", term.number, term.phase)));
        }
        let leader = self.index_of(&term.leader);
        if !self.servers[leader].is_primary() {
            return Some(("L1", format!("{} leads and is no primary", term.leader)));
        }
        let operation = self.store.get(&Key::Op);
        if let Some(Record::Operation(operation)) = operation.as_deref()
            && operation.step != Step::Settled
        {
            let text = format!("{:?} for term {} is at {:?}", operation.kind, operation.term, operation.step);
            return Some(("L3", text));
        }
        let silent = (0..self.processes.len())
            .filter(|process| self.processes[*process].alive)
            .find(|process| self.checker.last_commit.get(process).is_none_or(|at| *at < since));
        if let Some(process) = silent {
            return Some(("L1", format!("no client of p{} has committed since", process + 1)));
        }
        self.idle_standby(leader)
    }

    fn idle_standby(&self, leader: usize) -> Option<(&'static str, String)> {
        let idle: BTreeSet<usize> = (0..self.servers.len())
            .filter(|node| {
                let server = &self.servers[*node];
                *node != leader
                    && server.power == Power::Up
                    && server.receiver.as_ref().is_none_or(|receiver| receiver.sender != leader)
            })
            .collect();
        let node = idle.first()?;
        Some(("L4", format!("n{} does not stream from n{}", node + 1, leader + 1)))
    }
}
