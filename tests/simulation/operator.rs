//! The operator, who brings back what only hands can: a former primary is rewound and started as a standby.

use bellwether::cluster::{Key, Phase, Record, Request, Step, Term, Txn};
use bellwether::pg::Lsn;

use super::faults::OPERATOR_LOOKS;
use super::happening::Happening;
use super::server::Power;
use super::world::World;

impl World {
    /// Looks after the servers that cannot follow on their own.
    pub fn operator_looks(&mut self) {
        self.plan(OPERATOR_LOOKS, Happening::OperatorLooks);
        let Some(Record::Term(term)) = self.store.get(&Key::Term).as_deref().cloned() else { return };
        let Some(leader) = self.leader_to_be(&term) else { return };
        for node in 0..self.servers.len() {
            let server = &self.servers[node];
            // While a term is frozen its last leader may be all that asynchronous replication has left.
            let kept = term.phase != Phase::Open && self.names[node] == term.leader && !self.is_sync();
            if node == leader || kept || server.power != Power::Up || server.troubles.frozen > 0 {
                continue;
            }
            let timeline = self.wal.lineage(server.place.branch).last().timeline.0;
            let suspect = term.suspects.get(&self.names[node]).is_some_and(|from| timeline >= *from);
            // What an operator can see: timelines, where they began, and positions; two histories can share them all.
            let (held, lead) = (self.wal.whole(server.place), self.servers[leader].place);
            let shown = self.wal.lineage(held.branch).kinship(Lsn(held.end), self.wal.lineage(lead.branch));
            let fits = self.wal.lets_stream(held, lead) && shown.can_follow();
            // In haste an operator believes what a former primary shows; looking again, what the cluster says of it.
            let believed = self.hasty && fits && !server.recovery;
            if (suspect || !fits) && !believed {
                self.coverage.hit("operator rewinds");
                self.rewind(node, leader);
            } else if !server.recovery {
                self.coverage.hit("operator makes a standby");
                self.demote(node, leader);
            }
            if suspect && !believed {
                let request = Request::Rebuilt { node: self.names[node].clone() };
                let key = Key::Request(format!("rebuilt-{}-{}", node, term.number));
                self.store.commit(&Txn::new().put(key, Record::Request(request)));
            }
        }
    }

    /// Returns whom the others are to follow: the leader of an open term. Once a term has been frozen for a while,
    /// the one whose commit waits for a follower: the candidate, or else the leader that was.
    fn leader_to_be(&mut self, term: &Term) -> Option<usize> {
        let operation = match self.store.get(&Key::Op).as_deref() {
            Some(Record::Operation(operation)) => Some(operation.clone()),
            _ => None,
        };
        let step = operation.as_ref().map_or(Step::Settled, |operation| operation.step);
        let (seen, looks) = self.stuck;
        self.stuck = if seen == (term.number, step) { (seen, looks + 1) } else { ((term.number, step), 0) };
        let name = match (term.phase, step) {
            (Phase::Open, Step::Open | Step::Settled) => term.leader.clone(),
            (Phase::Frozen, _) if self.stuck.1 < PATIENCE => return None,
            (Phase::Frozen, Step::Chosen) => operation?.candidate?,
            (Phase::Frozen, _) => term.leader.clone(),
            _ => return None,
        };
        let leader = self.names.iter().position(|one| *one == name)?;
        self.servers[leader].is_primary().then_some(leader)
    }
}

/// How many times the operator sees a frozen term as it was before helping.
const PATIENCE: u32 = 3;
