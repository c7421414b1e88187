//! The metrics of a usual installation: their form, their number, and what docs/metrics.md says of them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bellwether::pg::{Address, Lsn, Timeline};
use bellwether::proxy::metric_names;
use bellwether::telemetry::{Format, Metrics, PoolState, Sources};
use bellwether::topology::{Node, NodeId, NodeName, NodeView, Role, Snapshot, Standby};

use super::exposition::families;
use super::promtool::promtool;

/// More would cost a Prometheus that watches hundreds of proxies dearly.
const MOST_SERIES: usize = 3000;

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let said = promtool(&["check", "metrics"], &text());
    assert_eq!(said, "", "{said}");
}

#[test]
fn three_nodes_and_five_databases_make_a_bearable_number_of_series() {
    let series: usize = families(&text()).values().map(|family| family.series).sum();
    assert!((500..MOST_SERIES).contains(&series), "{series} series");
}

#[test]
fn every_metric_is_there_from_the_start() {
    let empty = families(&text_of(&Metrics::new(&metric_names(), Arc::default())));
    for (name, family) in families(&text()) {
        let by_thing = ["node", "database", "worker"]
            .iter()
            .any(|label| family.labels.iter().any(|(name, _)| name == label));
        let there = empty.get(&name).is_some_and(|family| family.series > 0);
        assert!(there || by_thing, "{name} would appear only with its first event");
    }
}

#[test]
fn docs_list_every_metric() {
    let mut table = String::from("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for (name, family) in families(&text()) {
        let labels = family.labels.iter().map(described).collect::<Vec<_>>().join("; ");
        let _ = writeln!(table, "| `{name}` | {} | {labels} | {} |", family.kind, family.help);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let docs = std::fs::read_to_string(file).expect("docs/metrics.md can be read");
    let (begin, end) = ("<!-- metrics -->\n", "<!-- end -->");
    let (before, rest) = docs.split_once(begin).expect("the table's begin is marked");
    let (found, after) = rest.split_once(end).expect("the table's end is marked");
    if found != table {
        let right = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.md");
        let whole = [before, begin, &table, end, after].concat();
        std::fs::write(&right, whole).expect("the test's directory can be written to");
        panic!("the table differs from the code: cp {} docs/metrics.md", right.display());
    }
}

/// A label, with its values where these are a short list of words.
fn described((name, values): &(String, Vec<String>)) -> String {
    let open = ["node", "database", "user", "worker", "version"].contains(&name.as_str());
    match values.len() {
        1..=8 if !open => format!("`{name}`: {}", values.join(", ")),
        _ => format!("`{name}`"),
    }
}

/// Returns the names of all samples, as queries name them.
pub fn sample_names() -> BTreeSet<String> {
    families(&text()).into_values().flat_map(|family| family.samples).collect()
}

fn text() -> String {
    let names = ["a", "b", "c"].map(NodeName::new);
    let view = |id: u16| {
        let node = Node {
            id: NodeId(id),
            name: names[usize::from(id)].clone(),
            address: Address::Tcp { host: "h".to_owned(), port: 5432 },
            weight: 1,
            reads: true,
            zone: None,
        };
        let standby = Standby {
            streaming: true,
            replayed: Lsn(1),
            lag_bytes: Some(1),
            lag_time: Some(Duration::from_secs(1)),
        };
        NodeView {
            node: Arc::new(node),
            role: if id == 0 { Role::Primary { position: Lsn(2) } } else { Role::Standby(standby) },
            timeline: Some(Timeline(1)),
            server_version: Some(150_000),
            serves_reads: id != 0,
            back_since: None,
            gone: false,
        }
    };
    let nodes = (0..3).map(view).collect();
    let snapshot = Snapshot { primary: Some(NodeId(0)), nodes, ..Snapshot::default() };
    let metrics = Metrics::new(&metric_names(), Arc::new(ArcSwap::from_pointee(snapshot)));
    let _workers: Vec<_> = (0..4).map(|_| metrics.worker()).collect();
    metrics.set_sources(Sources {
        pools: Some(Box::new(move || pools(&names))),
        busy: Some(Box::new(|| vec![Duration::from_secs(1); 4])),
        primaries: None,
    });
    text_of(&metrics)
}

fn text_of(metrics: &Metrics) -> String {
    metrics.render(Format::Text)
}

/// Five databases, each used by two users on every node.
fn pools(names: &[NodeName; 3]) -> Vec<PoolState> {
    let pool = |place: usize| PoolState {
        node: NodeId((place % 3) as u16),
        name: names[place % 3].clone(),
        database: format!("database{}", place / 6),
        user: format!("user{}", place / 3 % 2),
        idle: 1,
        active: 1,
        connecting: 0,
        waiting: 0,
        longest_wait: Duration::ZERO,
        limit: 25,
    };
    (0..30).map(pool).collect()
}
