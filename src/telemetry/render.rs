//! Writes the metrics as text, for Prometheus and for OpenMetrics.

use std::fmt;
use std::sync::PoisonError;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::{Family, Shape};
use super::metrics::{Format, Metrics};
use crate::topology::{NodeView, Role, Snapshot};

type Labels = Vec<(&'static str, String)>;

/// Writes all metrics as they are now.
pub(super) fn render(metrics: &Metrics, format: Format) -> String {
    let families =
        data_plane(metrics).into_iter().chain(topology(&metrics.snapshot.load())).chain(process(metrics));
    let mut registry = Registry::with_prefix("bellwether");
    registry.register_collector(Box::new(Frozen(families.collect())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .expect("writing to a String does not fail");
    match format {
        Format::OpenMetrics => text,
        Format::Text => classical(&text),
    }
}

/// Rewrites OpenMetrics text as Prometheus' classical one, where a counter's `# HELP` and `# TYPE` lines
/// carry the `_total` its samples have, and nothing marks the end.
fn classical(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1024);
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        let comment = line.strip_prefix("# ").and_then(|rest| {
            let (word, rest) = rest.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            Some((word, name, rest))
        });
        match comment {
            Some(("HELP", name, text)) => help = Some((name, text)),
            Some(("TYPE", name, kind)) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                if let Some((_, text)) = help.take().filter(|(helped, _)| *helped == name) {
                    out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
                }
                out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            _ if line.starts_with('#') => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// One family with the values of one moment.
#[derive(Debug)]
struct Values {
    name: &'static str,
    help: &'static str,
    series: Vec<(Labels, Value)>,
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    Gauge(f64),
    /// The sum in seconds, and each bucket's upper bound and own count.
    Histogram(f64, Vec<(f64, u64)>),
}

#[derive(Debug)]
struct Frozen(Vec<Values>);

impl Collector for Frozen {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in &self.0 {
            let Some((_, first)) = family.series.first() else { continue };
            let mut family_encoder =
                encoder.encode_descriptor(family.name, family.help, None, first.metric_type())?;
            for (labels, value) in &family.series {
                // An empty label set would be written as `{}`.
                if labels.is_empty() {
                    value.encode_to(&mut family_encoder)?;
                } else {
                    value.encode(family_encoder.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode_to(&self, encoder: &mut MetricEncoder) -> fmt::Result {
        match self {
            Value::Counter(value) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            Value::Gauge(value) => encoder.encode_gauge(value),
            Value::Histogram(sum, buckets) => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }
}

impl EncodeMetric for Value {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        self.encode_to(&mut encoder)
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Value::Counter(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
            Value::Histogram(..) => MetricType::Histogram,
        }
    }
}

fn data_plane(metrics: &Metrics) -> Vec<Values> {
    let cells = metrics.fold();
    let one = |family: &Family| {
        let at = |series| family.start + series * family.width();
        let value =
            |series| (family.labels_of(series), value_of(family.shape, &cells[at(series)..at(series + 1)]));
        Values { name: family.name, help: family.help, series: (0..family.series()).map(value).collect() }
    };
    metrics.families.iter().map(one).collect()
}

fn value_of(shape: Shape, cells: &[u64]) -> Value {
    let seconds = |ns: u64| ns as f64 / 1e9;
    match (shape, cells) {
        (Shape::Counter, _) => Value::Counter(cells.iter().sum()),
        // Raised by one worker and lowered by another it may for a moment stand below zero.
        (Shape::Gauge, _) => {
            Value::Gauge(cells.iter().map(|cell| cell.cast_signed() as f64).sum::<f64>().max(0.0))
        }
        (Shape::Histogram(buckets), [counts @ .., sum]) => {
            let bounds = buckets.bounds_ns().iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
            Value::Histogram(seconds(*sum), bounds.zip(counts.iter().copied()).collect())
        }
        (Shape::Histogram(_), []) => Value::Histogram(0.0, Vec::new()),
    }
}

fn topology(snapshot: &Snapshot) -> Vec<Values> {
    let per_node = |name, help, read: &dyn Fn(&NodeView) -> Option<f64>| {
        let value =
            |view: &NodeView| Some((vec![("node", view.node.name.to_string())], Value::Gauge(read(view)?)));
        Values { name, help, series: snapshot.nodes.iter().filter_map(value).collect() }
    };
    let single = |name, help, value| Values { name, help, series: vec![(Vec::new(), Value::Gauge(value))] };
    vec![
        per_node("node_up", "Whether the node answers its probes.", &|view| {
            Some(flag(!matches!(view.role, Role::Unknown { .. })))
        }),
        node_role(snapshot),
        per_node("node_timeline", "Timeline the node is on; absent while unknown.", &|view| {
            view.timeline.map(|timeline| f64::from(timeline.0))
        }),
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
        single("writable", "Whether there is a primary to take writes.", flag(snapshot.primary.is_some())),
        single("term", "Number of the leadership; grows with each change of primary.", snapshot.term as f64),
    ]
}

fn standby_figure(view: &NodeView, read: impl Fn(&crate::topology::Standby) -> Option<f64>) -> Option<f64> {
    match &view.role {
        Role::Standby(standby) => read(standby),
        _ => None,
    }
}

fn node_role(snapshot: &Snapshot) -> Values {
    let rows = snapshot.nodes.iter().flat_map(|view| {
        ["primary", "standby", "unknown"].map(|role| {
            let labels = vec![("node", view.node.name.to_string()), ("role", role.to_owned())];
            (labels, Value::Gauge(flag(view.role.word() == role)))
        })
    });
    Values {
        name: "node_role",
        help: "1 for the role the node has, 0 for the others.",
        series: rows.collect(),
    }
}

fn process(metrics: &Metrics) -> Vec<Values> {
    let pools = metrics.pools.lock().unwrap_or_else(PoisonError::into_inner);
    let snapshot = metrics.snapshot.load();
    let connections = pools.as_ref().map(|source| source()).unwrap_or_default();
    let connections = connections.into_iter().filter_map(|one| {
        let node = snapshot.node(one.node)?.node.name.to_string();
        Some((vec![("node", node), ("state", one.state.to_owned())], Value::Gauge(one.count as f64)))
    });
    let started = metrics.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    vec![
        Values {
            name: "server_connections",
            help: "Connections to servers now.",
            series: connections.collect(),
        },
        Values { name: "build_info", help: "What is running.", series: vec![(build, Value::Gauge(1.0))] },
        Values {
            name: "start_timestamp_seconds",
            help: "When this process started.",
            series: vec![(Vec::new(), Value::Gauge(started))],
        },
    ]
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
