//! Metric families and where their cells lie: one flat array, laid out once.

use super::cells::Buckets;

/// Nodes that have cells of their own; what happens on further ones is not counted by node.
pub(super) const MAX_NODES: usize = 16;

/// One metric family.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Without prefix, and without `_total` for counters.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) shape: Shape,
    /// The labels, outermost first; the cells of the last one lie side by side.
    pub(super) labels: Labels,
    /// Index of its first cell.
    pub(super) start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Counter,
    Gauge,
    /// A gauge kept in milliseconds and shown in seconds.
    Seconds,
    Histogram(Buckets),
}

/// Names of labels and the values each may have.
pub(super) type Labels = Vec<(&'static str, Label)>;

/// The values of one label.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    /// Known from the start.
    Fixed(&'static [&'static str]),
    /// The nodes, at the index of their ids. Their names are known only when somebody looks.
    Node,
}

impl Label {
    fn len(self) -> usize {
        match self {
            Label::Fixed(values) => values.len(),
            Label::Node => MAX_NODES,
        }
    }
}

impl Family {
    /// Returns how many label sets it has.
    pub(super) fn series(&self) -> usize {
        self.labels.iter().map(|(_, label)| label.len()).product()
    }

    /// Returns how many cells one label set takes.
    pub(super) fn width(&self) -> usize {
        match self.shape {
            Shape::Counter | Shape::Gauge | Shape::Seconds => 1,
            Shape::Histogram(buckets) => buckets.cells(),
        }
    }

    /// Returns the labels of one series; `None` when it belongs to a node that does not exist.
    pub(super) fn labels_of(&self, series: usize, nodes: &[String]) -> Option<Vec<(&'static str, String)>> {
        let mut rest = series;
        let mut labels = Vec::with_capacity(self.labels.len());
        for (name, label) in self.labels.iter().rev() {
            let index = rest % label.len();
            let value = match label {
                Label::Fixed(values) => values[index].to_owned(),
                Label::Node => nodes.get(index)?.clone(),
            };
            labels.push((*name, value));
            rest /= label.len();
        }
        labels.reverse();
        Some(labels)
    }
}

/// Lays out families one behind the other.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) families: Vec<Family>,
    /// Number of cells so far.
    pub(super) end: usize,
}

impl Table {
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels) -> usize {
        self.add(name, help, Shape::Counter, labels)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels) -> usize {
        self.add(name, help, Shape::Gauge, labels)
    }

    pub(super) fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        shape: Shape,
        labels: Labels,
    ) -> usize {
        let family = Family { name, help, shape, labels, start: self.end };
        let start = self.end;
        self.end += family.series() * family.width();
        self.families.push(family);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_count_from_the_last_and_end_with_the_nodes() {
        let labels = vec![("node", Label::Node), ("rule", Label::Fixed(&["x", "y"]))];
        let family = Family { name: "n", help: "h", shape: Shape::Counter, labels, start: 0 };
        let nodes = ["p".to_owned(), "r".to_owned()];
        let joined = |i| {
            let labels = family.labels_of(i, &nodes)?;
            Some(labels.into_iter().map(|(_, value)| value).collect::<String>())
        };
        let all: Vec<_> = (0..family.series()).filter_map(joined).collect();
        assert_eq!(all, ["px", "py", "rx", "ry"]);
    }
}
