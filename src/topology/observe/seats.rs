//! Nodes that come and go while the process runs. Each name has one seat, for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Observer;
use super::member::Member;
use crate::pg::Address;
use crate::topology::{Change, Node, NodeId, NodeName, SPARE_SEATS};

/// Share of reads of a node that the configuration does not name; the default of the configuration.
const WEIGHT: u16 = 1;

impl Observer {
    /// Returns the nodes that belong to the cluster.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.members.iter().filter(|member| !member.gone).map(|member| &member.node)
    }

    /// Takes in who belongs to the cluster; returns who came and who went. What the configuration says of a node beyond
    /// its address stays. A cluster without members is none that anybody could mean.
    pub(super) fn seat(&mut self, members: &BTreeMap<NodeName, Address>) -> Vec<Change> {
        let mut changes = Vec::new();
        if members.is_empty() {
            return changes;
        }
        for member in self.members.iter_mut().filter(|member| !member.gone) {
            if !members.contains_key(&member.node.name) {
                member.leave();
                changes.push(Change::Member { node: member.node.name.clone(), at: None });
            }
        }
        for (name, address) in members {
            let taken = self.members.len();
            match self.members.iter_mut().find(|member| member.node.name == *name) {
                Some(member) if !member.gone && member.node.address == *address => continue,
                Some(member) => member.settle_at(address),
                None if taken < self.seats => {
                    self.members.push(Member::new(Arc::new(newcomer(taken, name, address))));
                }
                None => {
                    changes.push(Change::Conflict { text: no_seat(name) });
                    continue;
                }
            }
            changes.push(Change::Member { node: name.clone(), at: Some(address.clone()) });
        }
        changes
    }
}

fn no_seat(name: &NodeName) -> String {
    format!(
        "node {name} gets nothing here: {SPARE_SEATS} nodes have come since the start; restart this process"
    )
}

fn newcomer(seat: usize, name: &NodeName, address: &Address) -> Node {
    Node {
        id: NodeId(seat as u16),
        name: name.clone(),
        address: address.clone(),
        weight: WEIGHT,
        reads: true,
        zone: None,
    }
}

#[cfg(test)]
mod tests {
    // An Instant cannot be made otherwise.
    #![allow(clippy::disallowed_methods)]

    use std::time::Instant;

    use super::*;
    use crate::pg::Timeline;
    use crate::topology::{Decree, LagLimits, Report, Thresholds};

    fn place(port: u16) -> Address {
        Address::Tcp { host: "h".to_owned(), port }
    }

    fn observer() -> Observer {
        let nodes = [("a", 1), ("b", 2)].iter().enumerate();
        let nodes = nodes.map(|(seat, (name, port))| {
            Arc::new(Node { weight: 7, ..newcomer(seat, &NodeName::new(name), &place(*port)) })
        });
        Observer::told(nodes.collect(), Thresholds { fall: 3, rise: 2, lag: LagLimits::default() })
    }

    fn agree(observer: &mut Observer, term: u64, members: &[(&str, u16)]) -> Vec<String> {
        let decree = Decree {
            term,
            open: true,
            leader: NodeName::new("a"),
            timeline: Timeline(1),
            system_identifier: Some(1),
            members: members.iter().map(|(name, port)| (NodeName::new(name), place(*port))).collect(),
            barred: BTreeMap::new(),
        };
        let changes = observer.hear(decree, Instant::now());
        changes
            .iter()
            .filter(|change| matches!(change, Change::Member { .. }))
            .map(Change::to_string)
            .collect()
    }

    fn seats(observer: &Observer) -> Vec<String> {
        observer.snapshot().members().map(|view| format!("{}{}", view.node.name, view.node.id.0)).collect()
    }

    #[test]
    fn a_name_keeps_its_seat_and_nobody_else_gets_it() {
        let mut observer = observer();
        assert!(agree(&mut observer, 1, &[("a", 1), ("b", 2)]).is_empty(), "the configuration is right");
        assert!(agree(&mut observer, 2, &[]).is_empty(), "nobody can mean that");
        let version = observer.snapshot().version;
        assert_eq!(agree(&mut observer, 3, &[("a", 1), ("c", 3)]).len(), 2);
        assert_eq!(seats(&observer), ["a0", "c2"]);
        assert!(observer.snapshot().version > version, "whoever waits is woken");
        assert!(observer.snapshot().by_name(&NodeName::new("b")).is_none());
        assert!(observer.snapshot().has_fallen_silent(NodeId(1)), "reads there go elsewhere");

        // What is known of its first place is not believed of the next one.
        let report = Report::Refused { reason: "too many clients".to_owned() };
        observer.step(NodeId(2), report, Instant::now(), Instant::now());
        assert_eq!(agree(&mut observer, 4, &[("a", 1), ("b", 2), ("c", 4)]).len(), 2);
        assert_eq!(seats(&observer), ["a0", "b1", "c2"]);
        let nodes: Vec<_> = observer.nodes().map(|node| (node.weight, node.address.clone())).collect();
        assert_eq!(nodes, [(7, place(1)), (7, place(2)), (1, place(4))]);
        assert_eq!(observer.no_reads_because(NodeId(2)), Some("its role is unknown"));
    }

    #[test]
    fn when_all_seats_are_taken_a_newcomer_is_refused_aloud() {
        let mut observer = observer();
        let names: Vec<String> = (0..=SPARE_SEATS).map(|n| format!("n{n:03}")).collect();
        let members: Vec<_> =
            names.iter().map(|name| (name.as_str(), 9)).chain([("a", 1), ("b", 2)]).collect();
        assert_eq!(agree(&mut observer, 1, &members).len(), SPARE_SEATS);
        assert_eq!(seats(&observer).len(), SPARE_SEATS + 2);
    }
}
