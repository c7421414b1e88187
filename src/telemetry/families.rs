//! The table of the data plane's metrics: names, help, labels, and where their cells lie.

use super::cells::Buckets;

/// The label values only the caller knows. Their order gives the index by which they are counted.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Where statements go, such as `primary` and `replica`.
    pub routes: &'static [&'static str],
    /// Why they went there.
    pub rules: &'static [&'static str],
    /// Why a session keeps its server.
    pub pins: &'static [&'static str],
    /// What a client is doing.
    pub client_states: &'static [&'static str],
    /// Why a client was turned away.
    pub rejections: &'static [&'static str],
    /// Why a read was run again on another server.
    pub healings: &'static [&'static str],
    /// What came of a CancelRequest.
    pub cancels: &'static [&'static str],
    /// Why a read went to the primary for want of a standby.
    pub fallbacks: &'static [&'static str],
}

/// One metric family.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Without prefix, and without `_total` for counters.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) shape: Shape,
    /// The labels, outermost first; the cells of the last one lie side by side.
    pub(super) labels: Vec<(&'static str, Vec<String>)>,
    /// Index of its first cell.
    pub(super) start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Counter,
    Gauge,
    Histogram(Buckets),
}

impl Family {
    /// Returns how many label sets it has.
    pub(super) fn series(&self) -> usize {
        self.labels.iter().map(|(_, values)| values.len()).product()
    }

    /// Returns how many cells one label set takes.
    pub(super) fn width(&self) -> usize {
        match self.shape {
            Shape::Counter | Shape::Gauge => 1,
            Shape::Histogram(buckets) => buckets.cells(),
        }
    }

    /// Returns the labels of one series.
    pub(super) fn labels_of(&self, series: usize) -> Vec<(&'static str, String)> {
        let mut rest = series;
        let mut labels = Vec::with_capacity(self.labels.len());
        for (name, values) in self.labels.iter().rev() {
            labels.push((*name, values[rest % values.len()].clone()));
            rest /= values.len();
        }
        labels.reverse();
        labels
    }
}

/// Where each family's cells begin, and how wide the inner labels are: what a hot path needs to find its cell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    pub(super) clients: usize,
    pub(super) logins: usize,
    pub(super) rejections: usize,
    pub(super) checkout_wait: usize,
    pub(super) statements: usize,
    pub(super) routed: usize,
    pub(super) fallbacks: usize,
    pub(super) pins: usize,
    pub(super) pinned: usize,
    pub(super) transactions: usize,
    pub(super) statement_seconds: usize,
    pub(super) bytes: usize,
    pub(super) errors: usize,
    pub(super) healed: usize,
    pub(super) cancels: usize,
    pub(super) prepared: usize,
    pub(super) classification: usize,
    pub(super) settings_synced: usize,
    /// Number of routes, of rules.
    pub(super) routes: usize,
    pub(super) rules: usize,
    /// Number of cells in all.
    pub(super) end: usize,
}

/// Lays out all families for these label values.
pub(super) fn lay_out(names: &Names, nodes: &[String]) -> (Vec<Family>, Slots) {
    let mut table = Table::default();
    let fixed = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (nodes, routes, hit) = (nodes.to_vec(), fixed(names.routes), fixed(&["hit", "miss"]));
    let waits = Shape::Histogram(Buckets::Waits);
    let statements = Shape::Histogram(Buckets::Statements);
    let slots = Slots {
        clients: table.gauge(
            "clients",
            "Clients connected now.",
            vec![("state", fixed(names.client_states))],
        ),
        logins: table.counter("client_logins", "Clients that logged in.", vec![]),
        rejections: table.counter(
            "client_rejected",
            "Clients turned away.",
            vec![("reason", fixed(names.rejections))],
        ),
        checkout_wait: table.add(
            "checkout_wait_seconds",
            "Time a client waited for a server connection.",
            waits,
            vec![],
        ),
        statements: table.counter(
            "statements",
            "Statements answered by a node.",
            vec![("node", nodes.clone()), ("route", routes.clone())],
        ),
        routed: table.counter(
            "routed",
            "Routing decisions and the rule that made them.",
            vec![("route", routes), ("rule", fixed(names.rules))],
        ),
        fallbacks: table.counter(
            "read_fallbacks",
            "Reads for a standby that the primary served.",
            vec![("reason", fixed(names.fallbacks))],
        ),
        pins: table.counter(
            "pins",
            "Times a session began to keep its server.",
            vec![("reason", fixed(names.pins))],
        ),
        pinned: table.gauge(
            "pinned_clients",
            "Clients that keep their server now, counted once for each reason.",
            vec![("reason", fixed(names.pins))],
        ),
        transactions: table.counter("transactions", "Transactions ended on a node.", vec![("node", nodes)]),
        statement_seconds: table.add(
            "statement_seconds",
            "Time from a statement's arrival to the end of its answer.",
            statements,
            vec![],
        ),
        bytes: table.counter("bytes", "Bytes moved.", vec![("direction", fixed(&DIRECTIONS))]),
        errors: table.counter(
            "errors",
            "ErrorResponses sent to clients, by the class of their SQLSTATE.",
            vec![("sqlstate_class", fixed(&CLASSES))],
        ),
        healed: table.counter(
            "reads_healed",
            "Reads that failed on a standby and were run again on another server, unseen by the client.",
            vec![("cause", fixed(names.healings))],
        ),
        cancels: table.counter(
            "cancels",
            "CancelRequests and what came of them.",
            vec![("result", fixed(names.cancels))],
        ),
        prepared: table.counter(
            "prepared_cache",
            "Uses of a prepared statement, by whether the server had it already.",
            vec![("result", hit.clone())],
        ),
        classification: table.counter(
            "classification_cache",
            "Statements classified, by whether the answer was known already.",
            vec![("result", hit)],
        ),
        settings_synced: table.counter(
            "settings_synced",
            "Times a server's settings had to be brought to a session's.",
            vec![],
        ),
        routes: names.routes.len(),
        rules: names.rules.len(),
        end: 0,
    };
    (table.families, Slots { end: table.end, ..slots })
}

/// Where bytes go, in the order of [`Direction`](super::Direction).
const DIRECTIONS: [&str; 4] = ["from_client", "to_client", "from_server", "to_server"];

/// The classes of SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) that belong to
/// errors, sorted, and one for all else.
const CLASSES: [&str; 42] = [
    "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55",
    "57", "58", "72", "F0", "HV", "P0", "XX", "other",
];

/// Returns the index of a class among the values of `sqlstate_class`.
pub(super) fn class_index(class: &str) -> usize {
    let known = &CLASSES[..CLASSES.len() - 1];
    known.binary_search(&class).unwrap_or(known.len())
}

#[derive(Default)]
struct Table {
    families: Vec<Family>,
    end: usize,
}

type Labels = Vec<(&'static str, Vec<String>)>;

impl Table {
    fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels) -> usize {
        self.add(name, help, Shape::Counter, labels)
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels) -> usize {
        self.add(name, help, Shape::Gauge, labels)
    }

    fn add(&mut self, name: &'static str, help: &'static str, shape: Shape, labels: Labels) -> usize {
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
    fn classes_are_sorted_and_the_unknown_has_a_place() {
        assert!(CLASSES[..41].is_sorted());
        assert_eq!(CLASSES[class_index("42")], "42");
        assert_eq!(CLASSES[class_index("ZZ")], "other");
    }

    #[test]
    fn labels_count_from_the_last() {
        let (routes, rules) = (vec!["p".to_owned(), "r".to_owned()], vec!["x".to_owned(), "y".to_owned()]);
        let labels = vec![("route", routes), ("rule", rules)];
        let family = Family { name: "n", help: "h", shape: Shape::Counter, labels, start: 0 };
        let all: Vec<_> =
            (0..4).map(|i| family.labels_of(i).iter().map(|(_, v)| v.clone()).collect::<String>()).collect();
        assert_eq!(all, ["px", "py", "rx", "ry"]);
    }
}
