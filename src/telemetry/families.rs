//! The table of the data plane's metrics: names, help, labels, and where their cells lie.

use super::cells::Buckets;
use super::metrics::Origin;
use super::table::{Label, Shape, Table};

/// The label values only the caller knows. Their order gives the index by which they are counted.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Where statements go, such as `primary` and `standby`.
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
    /// What came of reads that had to see something.
    pub freshness: &'static [&'static str],
}

/// Where each family's cells begin, and how wide the inner labels are: what a hot path needs to find its cell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    pub(super) clients: usize,
    pub(super) logins: usize,
    pub(super) rejections: usize,
    pub(super) checkout_wait: usize,
    pub(super) checkout_failures: usize,
    pub(super) statements: usize,
    pub(super) statement_seconds: usize,
    pub(super) routed: usize,
    pub(super) fallbacks: usize,
    pub(super) freshness: usize,
    pub(super) pins: usize,
    pub(super) pinned: usize,
    pub(super) transactions: usize,
    pub(super) bytes: usize,
    pub(super) errors: usize,
    pub(super) healed: usize,
    pub(super) cancels: usize,
    pub(super) prepared: usize,
    pub(super) classification: usize,
    pub(super) settings_synced: usize,
    pub(super) hints_ignored: usize,
    pub(super) refused_on_standby: usize,
    /// Number of routes, of rules.
    pub(super) routes: usize,
    pub(super) rules: usize,
}

/// Lays out all families for these label values.
pub(super) fn lay_out(names: &Names) -> (Table, Slots) {
    let mut table = Table::default();
    let routes = || ("route", Label::Fixed(names.routes));
    let reason = |values| vec![("reason", Label::Fixed(values))];
    let hit = || vec![("result", Label::Fixed(&["hit", "miss"]))];
    let slots = Slots {
        clients: table.gauge(
            "clients",
            "Clients connected now.",
            vec![("state", Label::Fixed(names.client_states))],
        ),
        logins: table.counter("client_logins", "Clients that logged in.", vec![]),
        rejections: table.counter("client_rejected", "Clients turned away.", reason(names.rejections)),
        checkout_wait: table.add(
            "checkout_wait_seconds",
            "Time a client waited for a server connection.",
            Shape::Histogram(Buckets::Waits),
            vec![routes()],
        ),
        checkout_failures: table.counter(
            "checkout_failures",
            "Requests refused because they got no server connection.",
            reason(&CHECKOUT_FAILURES),
        ),
        statements: table.counter(
            "statements",
            "Statements answered by a node; those a client sends in one go count as one.",
            vec![("node", Label::Node), routes()],
        ),
        statement_seconds: table.add(
            "statement_seconds",
            "Time from a statement's arrival to the end of its answer, waiting included.",
            Shape::Histogram(Buckets::Statements),
            vec![routes()],
        ),
        routed: table.counter(
            "routed",
            "Routing decisions and the rule that made them.",
            vec![routes(), ("rule", Label::Fixed(names.rules))],
        ),
        fallbacks: table.counter(
            "read_fallbacks",
            "Reads for a standby that the primary served.",
            reason(names.fallbacks),
        ),
        freshness: table.counter(
            "read_freshness",
            "Reads that had to see something, and what came of it.",
            vec![("outcome", Label::Fixed(names.freshness))],
        ),
        pins: table.counter("pins", "Times a session began to keep its server.", reason(names.pins)),
        pinned: table.gauge(
            "pinned_clients",
            "Clients that keep their server now, counted once for each reason.",
            reason(names.pins),
        ),
        transactions: table.counter(
            "transactions",
            "Times a node's connection was used and given back: a transaction, or a statement outside of one.",
            vec![("node", Label::Node)],
        ),
        bytes: table.counter(
            "bytes",
            "Bytes of messages dealt with, by where they came from or went.",
            vec![("direction", Label::Fixed(&DIRECTIONS))],
        ),
        errors: table.counter(
            "errors",
            "ErrorResponses sent to clients that had logged in, by who found fault and the class of the SQLSTATE.",
            vec![("origin", Label::Fixed(&ORIGINS)), ("sqlstate_class", Label::Fixed(&CLASSES))],
        ),
        healed: table.counter(
            "reads_healed",
            "Reads that failed on a standby and were run again on another server, unseen by the client.",
            vec![("cause", Label::Fixed(names.healings))],
        ),
        cancels: table.counter(
            "cancels",
            "CancelRequests and what came of them.",
            vec![("result", Label::Fixed(names.cancels))],
        ),
        prepared: table.counter(
            "prepared_cache",
            "Uses of a prepared statement, by whether the server had it already.",
            hit(),
        ),
        classification: table.counter(
            "classification_cache",
            "Statements classified, by whether the answer was known already.",
            hit(),
        ),
        settings_synced: table.counter(
            "settings_synced",
            "Times a server's settings had to be brought to a session's.",
            vec![],
        ),
        hints_ignored: table.counter(
            "hints_ignored",
            "Comments that look like a routing hint and cannot be followed.",
            vec![],
        ),
        refused_on_standby: table.counter(
            "refused_on_standby",
            "Statements refused because their transaction or session is on a standby and they need the primary.",
            vec![],
        ),
        routes: names.routes.len(),
        rules: names.rules.len(),
    };
    (table, slots)
}

/// Where bytes go, in the order of [`Direction`](super::Direction).
const DIRECTIONS: [&str; 4] = ["from_client", "to_client", "from_server", "to_server"];

/// Who found fault, in the order of [`Origin`](super::Origin).
const ORIGINS: [&str; 2] = ["proxy", "server"];

/// Why there was no server, in the order of [`NoServer`](super::NoServer).
const CHECKOUT_FAILURES: [&str; 4] = ["timeout", "connect", "no_primary", "no_standby"];

/// The classes of SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) that belong to
/// errors, sorted, and one for all else.
const CLASSES: [&str; 42] = [
    "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55",
    "57", "58", "72", "F0", "HV", "P0", "XX", "other",
];

/// Returns the place of an origin's class among the series of `errors`.
pub(super) fn error_index(origin: Origin, class: &str) -> usize {
    origin as usize * CLASSES.len() + class_index(class)
}

/// Returns the index of a class among the values of `sqlstate_class`.
fn class_index(class: &str) -> usize {
    let known = &CLASSES[..CLASSES.len() - 1];
    known.binary_search(&class).unwrap_or(known.len())
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
}
