//! What is counted about the probes of the nodes.

use std::time::Duration;

use super::cells::{Buckets, Cells};
use super::table::{Label, MAX_NODES, Shape, Table};
use crate::topology::{NodeId, Report};

/// The counters of one process. Any thread may call any method.
#[derive(Debug)]
pub struct Health {
    pub(super) table: Table,
    cells: Cells,
    seconds: usize,
    failures: usize,
}

const REASONS: [&str; 3] = ["refused", "not_ready", "failed"];

impl Health {
    pub(super) fn new() -> Self {
        let mut table = Table::default();
        let seconds = table.add(
            "health_check_seconds",
            "Time a node took to answer a probe.",
            Shape::Histogram(Buckets::Statements),
            vec![("node", Label::Node)],
        );
        let failures = table.counter(
            "health_check_failures",
            "Probes a node did not answer as it should: it let nobody in, was starting or stopping, or was silent.",
            vec![("node", Label::Node), ("reason", Label::Fixed(&REASONS))],
        );
        let cells = Cells::new(table.end);
        Health { table, cells, seconds, failures }
    }

    /// A probe of `node` ended with `report` after so long.
    pub fn probed(&self, node: NodeId, report: &Report, took: Duration) {
        let node = usize::from(node.0);
        if node >= MAX_NODES {
            return;
        }
        let reason = match report {
            Report::Answered(_) => {
                let start = self.seconds + node * Buckets::Statements.cells();
                return self.cells.observe(start, Buckets::Statements, took);
            }
            Report::Refused { .. } => 0,
            Report::NotReady { .. } => 1,
            Report::Failed { .. } => 2,
        };
        self.cells.add(self.failures + node * REASONS.len() + reason, 1);
    }

    /// Returns all cells as they are now.
    pub(super) fn read(&self) -> Vec<u64> {
        self.cells.read()
    }
}
