//! What must be true at the moment a candidate is chosen: nobody can hear the old leader, and no commit of it can be
//! acknowledged any more that the candidate lacks.

use bellwether::cluster::{Key, Operation, Phase, Record, Rule, Step, Upstream};
use bellwether::topology::NodeName;

use super::server::Session;
use super::world::World;

impl World {
    /// The operation was written by process `by`.
    pub fn check_candidate(&mut self, by: usize, operation: &Operation) {
        let Some(candidate) = &operation.candidate else { return };
        let known = self.checker.candidates.insert(operation.term, candidate.clone());
        if let Some(known) = known {
            // C11: another one needs another term.
            if known != *candidate {
                let text = format!("term {} has two candidates, {known} and {candidate}", operation.term);
                self.violate("C11", text);
            }
            return;
        }
        if operation.step == Step::Chosen && self.leader_is_kept_out(candidate) {
            self.check_fence(operation);
            self.check_quorum(by, operation);
            self.check_promises_of_candidate();
        }
    }

    fn leader_is_kept_out(&self, candidate: &NodeName) -> bool {
        self.leader().is_some_and(|leader| self.names[leader] != *candidate)
    }

    /// C4: an operation that says so is fenced, on whatever clock.
    fn check_fence(&mut self, operation: &Operation) {
        let now = self.now;
        let late = self.processes.iter().position(|process| {
            let pass = process.permission.pass();
            pass.is_some_and(|pass| pass.term < operation.term && process.may_deliver(now, pass.term))
        });
        if let (Some(process), true) = (late, operation.fenced) {
            let text = format!("term {} is fenced and p{} may still deliver", operation.term, process + 1);
            self.violate("C4", text);
        }
    }

    /// C3, C5, C7: of every recorded rule so many voters hold still that no commit can be acknowledged without one.
    fn check_quorum(&mut self, by: usize, operation: &Operation) {
        let Some(Record::Sync(sync)) = self.store.get(&Key::Sync).as_deref().cloned() else { return };
        let leader = self.leader().unwrap_or(0);
        let back = self.servers[leader].recovery || self.holds_still(by, operation.term, leader);
        if !self.is_sync() || operation.accept_loss || back {
            return;
        }
        let short = |rule: &&Rule| {
            let still = (0..self.servers.len())
                .filter(|node| rule.voters.contains(&self.names[*node]))
                .filter(|node| self.holds_still(by, operation.term, *node));
            still.count() + (rule.k as usize) < rule.voters.len() + 1
        };
        if let Some(rule) = std::iter::once(&sync.rule).chain(&sync.next).find(short) {
            let text = format!("term {}: too few of {rule:?} hold still", operation.term);
            self.violate("C7", text);
        }
    }

    /// Whether nothing can reach a server from the old leader, nor an order from any coordinator but `by`.
    fn holds_still(&self, by: usize, term: u64, node: usize) -> bool {
        let server = &self.servers[node];
        let away = server.conf.upstream == Upstream::DeadEnd { term } && server.receiver.is_none();
        let ours = |session: Session| {
            let other = &self.processes[session.process];
            let knows = other.desks.get(&node).is_some_and(|desk| desk.holds(session));
            session.process == by || other.run != session.run || !knows
        };
        let promoted = !server.recovery && self.leader() != Some(node);
        (away || promoted) && server.owner.is_none_or(ours)
    }

    /// S4: a candidate, once chosen, has all that was ever promised.
    pub fn check_promises_of_candidate(&mut self) {
        let frozen = match self.store.get(&Key::Term).as_deref() {
            Some(Record::Term(term)) => (term.phase == Phase::Frozen).then_some(term.number),
            _ => None,
        };
        let Some(Record::Operation(operation)) = self.store.get(&Key::Op).as_deref().cloned() else { return };
        let chosen = operation.step == Step::Chosen && frozen == Some(operation.term);
        let Some(candidate) = operation.candidate.filter(|_| chosen && !operation.accept_loss) else {
            return;
        };
        let node = self.index_of(&candidate);
        let missing = self.checker.promised.iter().find(|(branch, end)| !self.has(node, **branch, **end));
        if let Some((branch, end)) = missing {
            let text = format!("{candidate} is to lead without the commit at {end} of {branch:?}");
            self.violate("S4", text);
        }
    }

    /// S5: nobody is pointed at a history that only looks like its own.
    pub fn check_follow(&mut self, node: usize, leader: &NodeName) {
        let leader = self.index_of(leader);
        let (standby, primary) = (&self.servers[node], &self.servers[leader]);
        let held = self.wal.whole(standby.place);
        let looks = primary.is_primary() && self.wal.lets_stream(held, primary.place);
        let is = self.wal.is_prefix(held, primary.place.branch) && (!standby.mixed || primary.mixed);
        if looks && !is {
            let text = format!("n{} is pointed at n{}, whose history only looks alike", node + 1, leader + 1);
            self.violate("S5", text);
        }
    }
}
