//! Figures that are read when someone looks: the snapshot of the nodes, the pools, the worker threads.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sources::{PoolState, Sources};
use super::values::{LabelSet, Value, Values, flag};
use crate::topology::{NodeView, Role, Snapshot, Standby};

/// Pools that are told apart by database and user; further ones are summed under `other`. Three nodes with five
/// databases of a dozen users each.
const MAX_POOLS: usize = 180;

/// Returns who is what, how far and how healthy.
pub(super) fn topology(snapshot: &Snapshot, sources: &Sources) -> Vec<Values> {
    let per_node = |name, help, read: &dyn Fn(&NodeView) -> Option<f64>| {
        let value = |view: &NodeView| Some((vec![("node", view.node.name.to_string())], read(view)?));
        Values::gauges(name, help, snapshot.members().filter_map(value))
    };
    let primaries = sources.primaries.as_ref().map(|primaries| primaries()).unwrap_or_default();
    vec![
        per_node("node_up", "Whether the node answers its probes.", &|view| {
            Some(flag(!matches!(view.role, Role::Unknown { .. })))
        }),
        node_role(snapshot),
        per_node("node_timeline", "Timeline the node is on; absent while unknown.", &|view| {
            view.timeline.map(|timeline| f64::from(timeline.0))
        }),
        per_node(
            "node_wal_bytes",
            "Position in the WAL, as a number of bytes: inserted by the primary, replayed by a standby; absent while unknown.",
            &position,
        ),
        per_node("replica_eligible", "Whether the node takes reads.", &|view| Some(flag(view.serves_reads))),
        per_node("replica_streaming", "Whether the standby receives WAL; absent for others.", &|view| {
            standby_figure(view, |standby| Some(flag(standby.streaming)))
        }),
        per_node("replica_lag_bytes", "WAL written but not replayed; absent while unknown.", &|view| {
            standby_figure(view, |standby| standby.lag_bytes.map(|bytes| bytes as f64))
        }),
        per_node(
            "replica_lag_seconds",
            "Age of the last replayed transaction, 0 when all is replayed; absent while unknown.",
            &|view| standby_figure(view, |standby| standby.lag_time.map(|age| age.as_secs_f64())),
        ),
        Values::single(
            "writable",
            "Whether there is a primary to take writes.",
            flag(snapshot.primary.is_some()),
        ),
        Values::single(
            "stray_primaries",
            "Nodes that accept writes and are not the primary that is followed.",
            strays(snapshot) as f64,
        ),
        Values::single(
            "term",
            "Number of the leadership; grows with each change of primary.",
            snapshot.term as f64,
        ),
        Values::single(
            "primary_since_timestamp_seconds",
            "When the present primary was first seen to lead in its term; 0 before the first.",
            primaries.since.map_or(0.0, seconds),
        ),
        Values {
            name: "primary_changes",
            help: "Times another node was seen to become the primary, or the same one on another timeline.",
            series: vec![(Vec::new(), Value::Counter(primaries.changes))],
        },
    ]
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn position(view: &NodeView) -> Option<f64> {
    match &view.role {
        Role::Primary { position } => Some(position.0 as f64),
        Role::Standby(standby) => Some(standby.replayed.0 as f64),
        Role::Unknown { .. } => None,
    }
}

fn standby_figure(view: &NodeView, read: impl Fn(&Standby) -> Option<f64>) -> Option<f64> {
    match &view.role {
        Role::Standby(standby) => read(standby),
        _ => None,
    }
}

fn strays(snapshot: &Snapshot) -> usize {
    let writable = snapshot.members().filter(|view| matches!(view.role, Role::Primary { .. }));
    writable.filter(|view| snapshot.primary != Some(view.node.id)).count()
}

fn node_role(snapshot: &Snapshot) -> Values {
    let rows = snapshot.members().flat_map(|view| {
        ["primary", "standby", "unknown"].map(|role| {
            let labels = vec![("node", view.node.name.to_string()), ("role", role.to_owned())];
            (labels, flag(view.role.word() == role))
        })
    });
    Values::gauges("node_role", "1 for the role the node has, 0 for the others.", rows)
}

/// Returns how the pools are used.
pub(super) fn pools(sources: &Sources) -> Vec<Values> {
    let mut pools = sources.pools.as_ref().map(|pools| pools()).unwrap_or_default();
    let hidden = pools.len().saturating_sub(MAX_POOLS);
    for pool in pools.iter_mut().skip(MAX_POOLS) {
        (pool.database, pool.user) = ("other".to_owned(), "other".to_owned());
    }
    let oldest = pools.iter().map(|pool| pool.longest_wait).max().unwrap_or_default();
    let by_pool = |pool: &PoolState| -> LabelSet {
        vec![
            ("node", pool.name.to_string()),
            ("database", pool.database.clone()),
            ("user", pool.user.clone()),
        ]
    };
    let each = |read: fn(&PoolState) -> usize| sum(pools.iter().map(|pool| (by_pool(pool), read(pool))));
    let states = pools.iter().flat_map(|pool| {
        [("idle", pool.idle), ("active", pool.active), ("connecting", pool.connecting)]
            .map(|(state, count)| (vec![("node", pool.name.to_string()), ("state", state.to_owned())], count))
    });
    vec![
        Values::gauges("server_connections", "Connections to servers now.", sum(states)),
        Values::gauges("pool_active", "Connections of a pool in use now.", each(|pool| pool.active)),
        Values::gauges(
            "pool_waiting",
            "Clients that wait for a connection of a pool now.",
            each(|pool| pool.waiting),
        ),
        Values::gauges(
            "pool_limit",
            "Connections a pool may hold, its reserve included.",
            each(|pool| pool.limit),
        ),
        Values::single(
            "pools_merged",
            "Pools that are not told apart here, but summed as database and user other.",
            hidden as f64,
        ),
        Values::single(
            "checkout_oldest_seconds",
            "How long the client has waited that waits longest for a server connection.",
            oldest.as_secs_f64(),
        ),
    ]
}

fn sum(rows: impl Iterator<Item = (LabelSet, usize)>) -> Vec<(LabelSet, f64)> {
    let mut sums: BTreeMap<LabelSet, usize> = BTreeMap::new();
    for (labels, count) in rows {
        *sums.entry(labels).or_default() += count;
    }
    sums.into_iter().map(|(labels, count)| (labels, count as f64)).collect()
}

/// Returns how busy the worker threads are.
pub(super) fn workers(sources: &Sources) -> Values {
    let busy: Vec<Duration> = sources.busy.as_ref().map(|busy| busy()).unwrap_or_default();
    let series = busy
        .iter()
        .enumerate()
        .map(|(number, busy)| (vec![("worker", number.to_string())], Value::Seconds(busy.as_secs_f64())));
    Values {
        name: "worker_busy_seconds",
        help: "Time a worker thread was busy; at 1 s a second it is the limit.",
        series: series.collect(),
    }
}
