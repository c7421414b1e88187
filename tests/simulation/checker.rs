//! The promises, checked against what truly happened. Nothing here asks the machines what they think.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::cluster::{
    Ack, AckKind, Durability, History, Key, Operation, OperationKind, Phase, Record, Rule, Step, Sync,
    SyncNames, Term,
};
use bellwether::topology::NodeName;

use super::clock::Time;
use super::happening::Outcome;
use super::store::Change;
use super::wal::{BranchId, Place, WriteId};
use super::world::World;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: `S1`, `P4` and so on.
    pub promise: &'static str,
    pub text: String,
    pub at: Time,
}

/// What the checker has seen.
#[derive(Default)]
pub struct Checker {
    pub violation: Option<Violation>,
    /// Commits that were acknowledged or read by a client under a synchronous rule: by branch, the furthest.
    pub promised: BTreeMap<BranchId, u64>,
    /// The same under any rule.
    acknowledged: BTreeMap<BranchId, u64>,
    /// Commits acknowledged to sessions that go past the proxies.
    direct: BTreeMap<BranchId, u64>,
    /// Commits whose wait was cancelled: visible, and held by nobody for certain.
    cancelled: BTreeSet<WriteId>,
    /// The highest term anything was delivered under, and by which node.
    delivered: Option<(u64, usize)>,
    /// The leader of each term that opened, and its branch.
    leaders: BTreeMap<u64, (usize, BranchId)>,
    pub candidates: BTreeMap<u64, NodeName>,
    term: u64,
    epoch: u64,
    /// When a client of each process last heard that its write is committed.
    pub last_commit: BTreeMap<usize, Time>,
    pub commits: u64,
    pub lost_in_async: u64,
}

impl Checker {
    /// A commit became visible though its wait did not end well.
    pub fn cancelled(&mut self, write: WriteId) {
        self.cancelled.insert(write);
    }
}

impl World {
    /// Notes a broken promise; the first one counts.
    pub fn violate(&mut self, promise: &'static str, text: String) {
        if self.checker.violation.is_none() {
            self.story.tell(self.now, || format!("BROKEN {promise}: {text}"));
            self.checker.violation = Some(Violation { promise, text, at: self.now });
        }
    }

    /// S1, as it could be: no two proxies may deliver for two nodes at one moment.
    pub fn check_permissions(&mut self) {
        let mut first: Option<(usize, &bellwether::topology::NodeName)> = None;
        for (index, process) in self.processes.iter().enumerate() {
            let Some(pass) = process.permission.pass() else { continue };
            let (bellwether::cluster::permission::Gate::Open(lead)
            | bellwether::cluster::permission::Gate::Hold { lead, .. }) = process.permission.gate()
            else {
                continue;
            };
            if !process.may_deliver(self.now, pass.term) {
                continue;
            }
            match first {
                Some((other, leader)) if *leader != lead.leader => {
                    let text = format!(
                        "p{} may deliver from {}, p{} from {}",
                        other + 1,
                        leader,
                        index + 1,
                        lead.leader
                    );
                    return self.violate("S1", text);
                }
                _ => first = Some((index, &lead.leader)),
            }
        }
    }

    /// S1, as it happens: something is delivered to a client as from the primary.
    pub fn check_delivery(&mut self, process: usize, node: usize, term: u64, outcome: Outcome) {
        if let Some((newest, by)) = self.checker.delivered
            && by != node
            && term <= newest
        {
            let text = format!(
                "p{} delivers from n{} of term {term} after something from n{} of term {newest}",
                process + 1,
                node + 1,
                by + 1
            );
            self.violate("S1", text);
        }
        self.checker.delivered = self.checker.delivered.max(Some((term, node)));
        let seen = match outcome {
            Outcome::Committed(write) => {
                self.checker.commits += 1;
                self.checker.last_commit.insert(process, self.now);
                Some(write)
            }
            Outcome::Found(write) => write.filter(|write| !self.checker.cancelled.contains(write)),
            _ => None,
        };
        let Some(write) = seen else { return };
        let place = self.wal.place_of(write);
        let furthest = self.checker.acknowledged.entry(place.branch).or_default();
        *furthest = place.end.max(*furthest);
        if self.is_sync() {
            let furthest = self.checker.promised.entry(place.branch).or_default();
            *furthest = place.end.max(*furthest);
            self.check_promises();
        }
    }

    /// Whether the cluster promises to lose nothing.
    pub fn is_sync(&self) -> bool {
        match self.store.get(&Key::Config).as_deref() {
            Some(Record::Config(config)) => config.durability != Durability::Async,
            _ => self.durability != Durability::Async,
        }
    }

    /// S4: every set of nodes a promotion may rest on has a holder of every promised commit.
    fn check_promises(&mut self) {
        let Some(Record::Sync(sync)) = self.store.get(&Key::Sync).as_deref().cloned() else { return };
        let promised: Vec<(BranchId, u64)> =
            self.checker.promised.iter().map(|(b, end)| (*b, *end)).collect();
        for (branch, end) in promised {
            let Some(short) = self.rules_that_may_lose(&sync, branch, end) else { continue };
            let text = format!("a commit at {end} of {branch:?} may be missed by {short}");
            return self.violate("S4", text);
        }
        self.check_promises_of_candidate();
    }

    /// A promotion under a rule takes all but k-1 of its voters. So a commit is safe when k of them hold it; while
    /// the rule changes a promotion must satisfy both, and one that is safe does. With k = 0 nobody is promoted.
    fn rules_that_may_lose(&self, sync: &Sync, branch: BranchId, end: u64) -> Option<String> {
        let safe = |rule: &Rule| {
            let holders = rule.voters.iter().filter(|voter| {
                self.names
                    .iter()
                    .position(|name| name == *voter)
                    .is_some_and(|node| self.has(node, branch, end))
            });
            holders.count() >= rule.k as usize
        };
        let rules = std::iter::once(&sync.rule).chain(&sync.next);
        let all_unsafe = rules.clone().all(|rule| !safe(rule));
        all_unsafe.then(|| format!("{:?} and {:?}", sync.rule, sync.next))
    }

    /// Whether a server's disk holds what `branch` has up to `end`.
    pub fn has(&self, node: usize, branch: BranchId, end: u64) -> bool {
        let server = &self.servers[node];
        !server.mixed && self.wal.reach(server.place, branch).is_some_and(|reached| reached >= end)
    }

    /// Something was written to the store.
    pub fn check_changes(&mut self, by: usize, changes: &[Change]) {
        for change in changes {
            match (&change.key, change.record.as_deref()) {
                (Key::Term, Some(Record::Term(term))) => self.check_term(term),
                (Key::Term, None) => self.violate("S3", "the term was deleted".to_owned()),
                (Key::Epoch, Some(Record::Epoch(epoch))) => {
                    if epoch.number <= self.checker.epoch {
                        self.violate("S3", format!("epoch {} after {}", epoch.number, self.checker.epoch));
                    }
                    self.checker.epoch = epoch.number;
                    self.coverage.hit("epoch taken");
                }
                (Key::Sync | Key::Config, Some(_)) => {
                    if self.is_sync() {
                        self.check_promises();
                    } else {
                        self.checker.promised.clear();
                    }
                }
                (Key::Ack(proxy), Some(Record::Ack(ack))) => {
                    let process = self
                        .processes
                        .iter()
                        .position(|process| process.name == *proxy && process.run == ack.incarnation);
                    self.check_ack(process, ack);
                }
                (Key::Op, Some(Record::Operation(operation))) => {
                    self.coverage.operation(operation);
                    self.check_candidate(by, operation);
                }
                (Key::History(term), Some(Record::History(history))) => self.check_history(*term, history),
                _ => {}
            }
        }
    }

    fn check_term(&mut self, term: &Term) {
        if term.number < self.checker.term {
            self.violate("S3", format!("term {} after {}", term.number, self.checker.term));
        }
        self.checker.term = term.number;
        let Some(leader) = self.names.iter().position(|name| *name == term.leader) else {
            return self.violate("S3", format!("{} leads and is no node", term.leader));
        };
        if term.phase == Phase::Frozen {
            self.deafen();
        }
        if term.phase != Phase::Open {
            return;
        }
        let before = self.checker.leaders.range(..=term.number).next_back();
        let before = before.map(|(number, (node, branch))| (*number, *node, *branch));
        if let Some((number, other, _)) = before
            && number == term.number
            && other != leader
        {
            self.violate("S3", format!("term {number} has two leaders, n{} and n{}", other + 1, leader + 1));
        }
        self.checker.leaders.insert(term.number, (leader, self.servers[leader].place.branch));
        match before {
            Some((_, old, branch)) if old != leader => self.check_succession(branch, leader),
            Some((number, _, _)) if number < term.number => self.coverage.hit("reopened for the same leader"),
            _ => {}
        }
    }

    /// S2: a new leader has everything promised before; what async loses is bounded; a switchover loses nothing.
    fn check_succession(&mut self, old: BranchId, leader: usize) {
        self.coverage.hit("another leader");
        let operation = match self.store.get(&Key::Op).as_deref() {
            Some(Record::Operation(operation)) => operation.clone(),
            _ => return self.violate("C1", "a term opened without an operation".to_owned()),
        };
        if self.servers[leader].mixed {
            self.violate("S5", format!("n{} leads with two histories mixed", leader + 1));
        }
        if self.servers[leader].recovery {
            self.violate("C10", format!("n{} leads and is in recovery", leader + 1));
        }
        self.coverage.succession(&operation);
        let lost = |seen: &BTreeMap<BranchId, u64>| -> Vec<(BranchId, u64)> {
            seen.iter()
                .filter(|(branch, end)| !self.has(leader, **branch, **end))
                .map(|(b, e)| (*b, *e))
                .collect()
        };
        let promised = lost(&self.checker.promised);
        let acknowledged = lost(&self.checker.acknowledged);
        let name = &self.names[leader];
        if let Some((branch, end)) = promised.first()
            && !operation.accept_loss
        {
            let text = format!("{name} leads without the promised commit at {end} of {branch:?}");
            return self.violate("S2", text);
        }
        let direct = lost(&self.checker.direct);
        self.checker.direct.clear();
        if operation.kind == OperationKind::Switchover
            && let Some((branch, end)) = acknowledged.first().or(direct.first())
        {
            let text = format!("a switchover to {name} lost the commit at {end} of {branch:?}");
            return self.violate("S2", text);
        }
        self.check_loss(&operation, old, leader);
        for (branch, end) in promised.iter().chain(&acknowledged) {
            self.coverage.hit("acknowledged commits lost");
            self.checker.lost_in_async += 1;
            // What an operator gave up, or async never promised, is not asked for again.
            let kept = self.wal.common(self.servers[leader].place, Place { branch: *branch, end: *end });
            for seen in [&mut self.checker.promised, &mut self.checker.acknowledged] {
                if let Some(furthest) = seen.get_mut(branch) {
                    *furthest = (*furthest).min(kept);
                }
            }
        }
    }

    /// C6: what was known of the old leader and is gone stays within the limit.
    fn check_loss(&mut self, operation: &Operation, old: BranchId, leader: usize) {
        let end = Place { branch: old, end: self.wal.end(old) };
        let common = self.wal.common(end, self.servers[leader].place);
        let gone = operation.known_end.0.saturating_sub(common);
        let most = self.limits.max_lag_bytes;
        if gone > most && !operation.accept_loss {
            let text = format!("{gone} bytes up to {} are gone, {most} may be", operation.known_end.0);
            self.violate("C6", text);
        }
    }

    /// What history says was lost is no more than what truly was.
    fn check_history(&mut self, term: u64, history: &History) {
        let new = self.names.iter().position(|name| *name == history.leader);
        let before = self.checker.leaders.range(..term).next_back().map(|(_, before)| *before);
        let (Some(new), Some((old, branch))) = (new, before) else { return };
        let mine = Place { branch, end: self.wal.end(branch) };
        let truly = mine.end.saturating_sub(self.wal.common(mine, self.servers[new].place));
        if old != new && history.lost_bytes > truly {
            let text = format!("history says {} bytes are lost, {truly} are", history.lost_bytes);
            self.violate("history", text);
        }
    }

    /// P4: whoever says it is fenced has no connection of an earlier term; whoever says it is idle has nothing
    /// under way.
    fn check_ack(&mut self, process: Option<usize>, ack: &Ack) {
        let Some(process) = process else { return };
        if !self.processes[process].alive || self.processes[process].run != ack.incarnation {
            return;
        }
        match ack.kind {
            AckKind::Fenced => {
                let open =
                    self.connections.values().find(|one| one.process == process && one.term < ack.term);
                if let Some(one) = open {
                    let text = format!(
                        "p{} acknowledged term {} with a connection of {}",
                        process + 1,
                        ack.term,
                        one.term
                    );
                    self.violate("P4", text);
                }
            }
            AckKind::Held => {
                if self.processes[process].has_running() {
                    let text = format!("p{} says it is idle in term {} and is not", process + 1, ack.term);
                    self.violate("P4", text);
                }
            }
        }
    }

    /// C8, H9: a server has just left recovery.
    pub fn check_promotion(&mut self, node: usize) {
        self.coverage.hit("promoted");
        let operation = match self.store.get(&Key::Op).as_deref() {
            Some(Record::Operation(operation)) => Some(operation.clone()),
            _ => None,
        };
        let name = self.names[node].clone();
        let current = operation.as_ref().is_some_and(|operation| operation.candidate.as_ref() == Some(&name));
        // One that was given up may still come through, late: nobody is ever sent to it.
        let recorded = operation.is_some_and(|operation| {
            current || operation.given_up.contains(&name) || operation.step == Step::Settled
        });
        if !recorded {
            return self.violate("H9", format!("{name} was promoted and is not recorded as a candidate"));
        }
        if self.is_sync() && current {
            return self.check_names_of(node);
        }
        if self.is_sync() || !current {
            return;
        }
        let now = self.now;
        let late = self.processes.iter().position(|process| {
            process.permission.pass().is_some_and(|pass| {
                process.may_deliver(now, pass.term)
                    && !matches!(process.permission.gate(),
                        bellwether::cluster::permission::Gate::Open(lead) if lead.leader == name)
            })
        });
        if let Some(process) = late {
            let text = format!("{name} left recovery while p{} may still deliver from another", process + 1);
            self.violate("S2", text);
        }
    }

    /// S5: a server has begun to replay another history on top of its own, as the two look alike. Whoever leads may
    /// only be followed so by a node that is known to be suspect, which nobody reads from.
    pub fn check_mixing(&mut self, node: usize, sender: usize) {
        self.coverage.hit("two histories mixed");
        let Some(Record::Term(term)) = self.store.get(&Key::Term).as_deref().cloned() else { return };
        let leads = term.phase == Phase::Open && self.names[sender] == term.leader;
        if leads && !term.suspects.contains_key(&self.names[node]) {
            self.violate(
                "S5",
                format!("n{} follows another history than its own and is no suspect", node + 1),
            );
        }
    }

    /// H10: whoever leaves recovery makes commits wait from the first one on.
    fn check_names_of(&mut self, node: usize) {
        let Some(Record::Sync(sync)) = self.store.get(&Key::Sync).as_deref().cloned() else { return };
        let waits = self.servers[node].sync_names != SyncNames::Nobody;
        if sync.heir.is_some_and(|heir| heir.k > 0) && !waits {
            self.violate("H10", format!("n{} left recovery and waits for nobody", node + 1));
        }
    }

    /// A commit of a session that goes past the proxies was acknowledged by a server.
    pub fn direct_commit(&mut self, node: usize, write: WriteId) {
        if self.leader() != Some(node) {
            return;
        }
        let place = self.wal.place_of(write);
        let furthest = self.checker.direct.entry(place.branch).or_default();
        *furthest = place.end.max(*furthest);
        if self.is_sync() {
            let furthest = self.checker.promised.entry(place.branch).or_default();
            *furthest = place.end.max(*furthest);
            self.check_promises();
        }
    }

    /// S6: a data directory is about to be overwritten.
    pub fn check_wipe(&mut self, node: usize) {
        if matches!(self.store.get(&Key::Op).as_deref(), Some(Record::Operation(op)) if op.accept_loss) {
            return;
        }
        let alone = self.checker.promised.iter().find(|(branch, end)| {
            self.has(node, **branch, **end)
                && (0..self.servers.len()).all(|other| other == node || !self.has(other, **branch, **end))
        });
        if let Some((branch, end)) = alone {
            let text = format!("n{} is the only holder of the commit at {end} of {branch:?}", node + 1);
            self.violate("S6", text);
        }
    }
}
