use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::*;
use crate::pg::{Address, Lsn, SqlState, Timeline};
use crate::topology::{Node, NodeId, NodeName, NodeView, Role, Snapshot, Standby};

const NAMES: Names = Names {
    routes: &["primary", "replica"],
    rules: &["plain_read", "writes", "in_transaction"],
    pins: &["temp_table", "listen"],
    client_states: &["idle", "active", "waiting"],
    rejections: &["password"],
    healings: &["writes"],
    cancels: &["sent", "unknown_key"],
    fallbacks: &["none"],
    freshness: &["fresh"],
};

fn metrics() -> Metrics {
    let node = |id: u16, name: &str| {
        let address = Address::Tcp { host: "h".to_owned(), port: 5432 };
        Arc::new(Node {
            id: NodeId(id),
            name: NodeName::new(name),
            address,
            weight: 1,
            reads: true,
            zone: None,
        })
    };
    let view = |node: &Arc<Node>, role, serves_reads| NodeView {
        node: node.clone(),
        role,
        timeline: Some(Timeline(3)),
        server_version: Some(150_000),
        serves_reads,
        back_since: None,
        gone: false,
    };
    let nodes = [node(0, "a"), node(1, "b")];
    let (replayed, lag_time) = (Lsn(1), Some(Duration::from_millis(1500)));
    let standby = Standby { streaming: true, replayed, lag_bytes: Some(512), lag_time };
    let snapshot = Snapshot {
        term: 4,
        primary: Some(NodeId(0)),
        nodes: vec![
            view(&nodes[0], Role::Primary { position: Lsn(513) }, false),
            view(&nodes[1], Role::Standby(standby), true),
        ],
        ..Snapshot::default()
    };
    let metrics = Metrics::new(&NAMES, Arc::new(ArcSwap::from_pointee(snapshot)));
    metrics.set_sources(Sources {
        pools: Some(Box::new(|| vec![pool(1, "b", "app", 2), pool(1, "b", "shop", 3)])),
        busy: Some(Box::new(|| vec![Duration::from_millis(1500)])),
        primaries: Some(Box::new(|| Primaries {
            since: Some(UNIX_EPOCH + Duration::from_secs(7)),
            changes: 2,
        })),
    });
    metrics
}

fn pool(node: u16, name: &str, database: &str, idle: usize) -> PoolState {
    PoolState {
        node: NodeId(node),
        name: NodeName::new(name),
        database: database.to_owned(),
        user: "u".to_owned(),
        idle,
        active: 1,
        connecting: 0,
        waiting: 4,
        longest_wait: Duration::from_millis(idle as u64 * 100),
        limit: 25,
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
}

#[test]
fn what_workers_count_is_summed() {
    let metrics = metrics();
    let (one, two) = (metrics.worker(), metrics.worker());
    for worker in [&one, &two] {
        worker.routed(1, 0);
        worker.bytes(Direction::ToServer, 100);
        worker.statement(NodeId(1), 1, Duration::from_micros(200));
        worker.error(Origin::Proxy, SqlState::CANNOT_CONNECT_NOW);
        worker.prepared(Found::Miss, 1);
        worker.checked_out(0, Duration::from_millis(3));
        worker.transaction(NodeId(0));
        worker.pinned(1);
    }
    drop(two);
    let text = metrics.render(Format::Text);
    has(&text, "bellwether_routed_total{route=\"replica\",rule=\"plain_read\"} 2");
    has(&text, "bellwether_bytes_total{direction=\"to_server\"} 200");
    has(&text, "bellwether_statements_total{node=\"b\",route=\"replica\"} 2");
    has(&text, "bellwether_statement_seconds_bucket{le=\"0.0001\",route=\"replica\"} 0");
    has(&text, "bellwether_statement_seconds_bucket{le=\"0.00025\",route=\"replica\"} 2");
    has(&text, "bellwether_statement_seconds_bucket{le=\"+Inf\",route=\"replica\"} 2");
    has(&text, "bellwether_statement_seconds_count{route=\"replica\"} 2");
    has(&text, "bellwether_statement_seconds_sum{route=\"replica\"} 0.0004");
    has(&text, "bellwether_errors_total{origin=\"proxy\",sqlstate_class=\"57\"} 2");
    has(&text, "bellwether_prepared_cache_total{result=\"miss\"} 2");
    has(&text, "bellwether_checkout_wait_seconds_bucket{le=\"0.004\",route=\"primary\"} 2");
    has(&text, "bellwether_transactions_total{node=\"a\"} 2");
    has(&text, "bellwether_pins_total{reason=\"listen\"} 2");
    has(&text, "bellwether_pinned_clients{reason=\"listen\"} 2.0");
    // Nothing happened, and yet it is there.
    has(&text, "bellwether_cancels_total{result=\"sent\"} 0");
    has(&text, "bellwether_settings_synced_total 0");
}

#[test]
fn a_gauge_may_be_lowered_through_another_worker() {
    let metrics = metrics();
    let (one, two) = (metrics.worker(), metrics.worker());
    one.client_came(0);
    one.client_came(0);
    two.client_moved(0, 2);
    two.client_left(0);
    let text = metrics.render(Format::Text);
    has(&text, "bellwether_clients{state=\"idle\"} 0.0");
    has(&text, "bellwether_clients{state=\"waiting\"} 1.0");
}

#[test]
fn the_snapshot_and_the_pools_are_shown() {
    let text = metrics().render(Format::Text);
    for line in [
        "bellwether_node_up{node=\"b\"} 1.0",
        "bellwether_node_role{node=\"a\",role=\"primary\"} 1.0",
        "bellwether_node_role{node=\"a\",role=\"standby\"} 0.0",
        "bellwether_node_timeline{node=\"a\"} 3.0",
        "bellwether_replica_eligible{node=\"a\"} 0.0",
        "bellwether_replica_lag_bytes{node=\"b\"} 512.0",
        "bellwether_replica_lag_seconds{node=\"b\"} 1.5",
        "bellwether_writable 1.0",
        "bellwether_term 4.0",
        "bellwether_server_connections{node=\"b\",state=\"idle\"} 5.0",
        "bellwether_pool_active{node=\"b\",database=\"shop\",user=\"u\"} 1.0",
        "bellwether_pool_waiting{node=\"b\",database=\"app\",user=\"u\"} 4.0",
        "bellwether_pool_limit{node=\"b\",database=\"app\",user=\"u\"} 25.0",
        "bellwether_pools_merged 0.0",
        "bellwether_checkout_oldest_seconds 0.3",
        "bellwether_worker_busy_seconds_total{worker=\"0\"} 1.5",
        "bellwether_primary_since_timestamp_seconds 7.0",
        "bellwether_primary_changes_total 2",
        "bellwether_stray_primaries 0.0",
        "bellwether_node_wal_bytes{node=\"a\"} 513.0",
        "bellwether_config_reload_success 1.0",
        "bellwether_failover_mode{mode=\"observe\"} 1.0",
        "bellwether_failovers_total{kind=\"failover\",result=\"done\"} 0",
        "bellwether_permission_remaining_seconds 0.0",
        concat!("bellwether_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1.0"),
    ] {
        has(&text, line);
    }
    assert!(!text.contains("bellwether_replica_lag_bytes{node=\"a\"}"), "a primary has no lag");
}

#[test]
fn every_sample_of_the_classical_text_belongs_to_a_typed_and_helped_family() {
    let text = metrics().render(Format::Text);
    let named = |start: &'static str| {
        let name = move |line: &str| line.strip_prefix(start)?.split(' ').next().map(str::to_owned);
        text.lines().filter_map(name).collect::<BTreeSet<_>>()
    };
    let (typed, helped) = (named("# TYPE "), named("# HELP "));
    assert_eq!(typed, helped);
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().unwrap_or_default();
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(typed.contains(family), "{sample}");
    }
    assert!(!text.contains("# EOF"));
    assert!(metrics().render(Format::OpenMetrics).ends_with("# EOF\n"));
}

#[test]
fn pools_beyond_the_limit_are_summed() {
    let metrics = metrics();
    let many = || (0..200).map(|number| pool(1, "b", &format!("d{number:03}"), 1)).collect();
    metrics.set_sources(Sources { pools: Some(Box::new(many)), ..Sources::default() });
    let text = metrics.render(Format::Text);
    has(&text, "bellwether_pools_merged 20.0");
    has(&text, "bellwether_pool_active{node=\"b\",database=\"other\",user=\"other\"} 20.0");
    has(&text, "bellwether_server_connections{node=\"b\",state=\"idle\"} 200.0");
    assert_eq!(text.matches("bellwether_pool_limit{").count(), 181);
}

#[test]
fn the_process_is_told_under_the_usual_names() {
    let text = metrics().render(Format::Text);
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{name} in\n{text}");
    }
}
