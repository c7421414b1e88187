//! Limits shared between pools: connections to a node, for a user on it, for a database on it. Pure.
//!
//! A pool that finds a limit reached stands in a queue, and is called when there is room. First come, first served,
//! except that a pool held up by a limit of its own does not hold up the others.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::topology::NodeId;

/// The shared limits; 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Caps {
    pub per_node: usize,
    pub per_user: usize,
    pub per_database: usize,
}

/// What a pool's connections count towards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The node.
    pub node: NodeId,
    /// User name.
    pub user: Arc<str>,
    /// Database name.
    pub database: Arc<str>,
}

/// Connections counted, and who waits to open one; `P` is how the shell finds a pool.
#[derive(Debug)]
pub struct Budget<P> {
    caps: Caps,
    nodes: BTreeMap<NodeId, usize>,
    users: BTreeMap<(NodeId, Arc<str>), usize>,
    databases: BTreeMap<(NodeId, Arc<str>), usize>,
    queue: VecDeque<Claim<P>>,
}

#[derive(Debug)]
struct Claim<P> {
    id: u64,
    account: Account,
    pool: P,
    /// Its clients wait for long and it has no server at all.
    urgent: bool,
}

impl<P: Clone> Budget<P> {
    /// Starts with nothing counted.
    pub fn new(caps: Caps) -> Self {
        Budget {
            caps,
            nodes: BTreeMap::new(),
            users: BTreeMap::new(),
            databases: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }

    /// Changes the limits. What is over them stays until it is closed.
    pub fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// Counts one more connection of the pool numbered `id`, or puts that pool in the queue and returns false.
    pub fn take(&mut self, id: u64, account: &Account, pool: &P) -> bool {
        let mut earlier = self.queue.iter().take_while(|claim| claim.id != id).map(|claim| &claim.account);
        // All limits are per node, so pools of other nodes do not compete.
        let room = self.has_room(account)
            && !earlier.any(|other| other.node == account.node && self.has_room(other));
        if room {
            self.withdraw(id);
            *self.nodes.entry(account.node).or_default() += 1;
            *self.users.entry((account.node, account.user.clone())).or_default() += 1;
            *self.databases.entry((account.node, account.database.clone())).or_default() += 1;
        } else if !self.queue.iter().any(|claim| claim.id == id) {
            self.queue.push_back(Claim { id, account: account.clone(), pool: pool.clone(), urgent: false });
        }
        room
    }

    /// Takes note that a counted connection is closed.
    pub fn give_back(&mut self, account: &Account) {
        decrement(&mut self.nodes, &account.node);
        decrement(&mut self.users, &(account.node, account.user.clone()));
        decrement(&mut self.databases, &(account.node, account.database.clone()));
    }

    /// Removes a pool from the queue: it needs no connection any more.
    pub fn withdraw(&mut self, id: u64) {
        self.queue.retain(|claim| claim.id != id);
    }

    /// Returns the first pool in the queue that there is room for.
    pub fn next(&self) -> Option<(u64, P)> {
        let claim = self.queue.iter().find(|claim| self.has_room(&claim.account))?;
        Some((claim.id, claim.pool.clone()))
    }

    /// Marks a queued pool as one for which another must give up a server that is still wanted there.
    pub fn mark_urgent(&mut self, id: u64) {
        self.queue.iter_mut().filter(|claim| claim.id == id).for_each(|claim| claim.urgent = true);
    }

    /// Tells whether a server of `account` that has become free must be closed for an urgent pool; asked once for each mark.
    pub fn must_yield(&mut self, account: &Account) -> bool {
        let helped = |claim: &Claim<P>| claim.urgent && self.would_help(&claim.account, account);
        let Some(index) = self.queue.iter().position(helped) else { return false };
        self.queue[index].urgent = false;
        true
    }

    /// Returns the accounts of the queued pools there is no room for, the first first.
    pub fn blocked(&self) -> impl Iterator<Item = &Account> {
        self.queue.iter().map(|claim| &claim.account).filter(|account| !self.has_room(account))
    }

    /// Returns how many pools are in the queue.
    pub fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Tells whether closing a connection of `other` would bring `blocked` nearer to room.
    pub fn would_help(&self, blocked: &Account, other: &Account) -> bool {
        let node = full(self.caps.per_node, self.of_node(blocked));
        let user = full(self.caps.per_user, self.of_user(blocked));
        let database = full(self.caps.per_database, self.of_database(blocked));
        blocked.node == other.node
            && (node
                || (user && blocked.user == other.user)
                || (database && blocked.database == other.database))
    }

    fn has_room(&self, account: &Account) -> bool {
        !full(self.caps.per_node, self.of_node(account))
            && !full(self.caps.per_user, self.of_user(account))
            && !full(self.caps.per_database, self.of_database(account))
    }

    fn of_node(&self, account: &Account) -> usize {
        self.nodes.get(&account.node).copied().unwrap_or(0)
    }

    fn of_user(&self, account: &Account) -> usize {
        self.users.get(&(account.node, account.user.clone())).copied().unwrap_or(0)
    }

    fn of_database(&self, account: &Account) -> usize {
        self.databases.get(&(account.node, account.database.clone())).copied().unwrap_or(0)
    }
}

fn full(cap: usize, used: usize) -> bool {
    cap != 0 && used >= cap
}

fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(user: &str, database: &str) -> Account {
        Account { node: NodeId(0), user: user.into(), database: database.into() }
    }

    #[test]
    fn without_caps_there_is_always_room() {
        let mut budget = Budget::new(Caps::default());
        for _ in 0..1000 {
            assert!(budget.take(1, &account("ann", "shop"), &"a"));
        }
        assert_eq!(budget.queue_length(), 0);
    }

    #[test]
    fn the_queue_is_served_in_order() {
        let mut budget = Budget::new(Caps { per_node: 1, ..Caps::default() });
        let (a, b, c) = (account("a", "d"), account("b", "d"), account("c", "d"));
        assert!(budget.take(1, &a, &"a"));
        assert!(!budget.take(2, &b, &"b"));
        assert!(!budget.take(3, &c, &"c"));
        assert!(!budget.take(2, &b, &"b"), "asking again keeps the place");
        assert!(budget.next().is_none());
        assert!(budget.would_help(&b, &a));
        budget.give_back(&a);
        assert_eq!(budget.next(), Some((2, "b")));
        assert!(!budget.take(3, &c, &"c"), "b is before it");
        assert!(!budget.take(1, &a, &"a"));
        budget.withdraw(2);
        assert!(budget.take(3, &c, &"c"));
        assert_eq!(budget.blocked().collect::<Vec<_>>(), [&a]);
        assert!(!budget.must_yield(&c));
        budget.mark_urgent(1);
        assert!(budget.must_yield(&c) && !budget.must_yield(&c));
    }

    #[test]
    fn a_pool_held_up_by_its_own_user_does_not_hold_up_others() {
        let mut budget = Budget::new(Caps { per_node: 3, per_user: 1, per_database: 2 });
        let (ann_x, ann_y, bob_x, cid_x) =
            (account("ann", "x"), account("ann", "y"), account("bob", "x"), account("cid", "x"));
        assert!(budget.take(1, &ann_x, &1));
        assert!(!budget.take(2, &ann_y, &2));
        assert!(budget.take(3, &bob_x, &3));
        assert!(!budget.take(4, &cid_x, &4), "two of database x");
        assert!(budget.would_help(&ann_y, &ann_x) && !budget.would_help(&ann_y, &bob_x));
        assert!(budget.would_help(&cid_x, &bob_x));
        budget.give_back(&bob_x);
        assert_eq!(budget.next(), Some((4, 4)));
    }
}
