//! Writes the metrics as text, for Prometheus and for OpenMetrics.

use std::fmt;
use std::sync::PoisonError;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::metrics::{Format, Metrics};
use super::state;
use super::values::{Value, Values};

/// Writes all metrics as they are now.
pub(super) fn render(metrics: &Metrics, format: Format) -> String {
    let mut text = String::new();
    let ours = Registry::with_prefix("bellwether");
    for (mut registry, families) in [(ours, own(metrics)), (Registry::default(), metrics.process.standard())]
    {
        registry.register_collector(Box::new(Frozen(families)));
        encode_registry(&mut text, &registry).expect("writing to a String does not fail");
    }
    match format {
        Format::OpenMetrics => {
            encode_eof(&mut text).expect("writing to a String does not fail");
            text
        }
        Format::Text => classical(&text),
    }
}

/// Returns everything that carries our prefix.
fn own(metrics: &Metrics) -> Vec<Values> {
    let snapshot = metrics.snapshot.load();
    let nodes: Vec<String> = snapshot.nodes.iter().map(|view| view.node.name.to_string()).collect();
    let counted = [
        (&metrics.table, metrics.fold()),
        (&metrics.health.table, metrics.health.read()),
        (&metrics.leadership.table, metrics.leadership.read(Instant::now())),
    ];
    let counted = counted
        .iter()
        .flat_map(|(table, cells)| table.families.iter().map(|family| Values::read(family, cells, &nodes)));
    let sources = metrics.sources.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all: Vec<Values> = counted.collect();
    all.extend(state::topology(&snapshot, &sources));
    all.extend(state::pools(&sources));
    all.push(state::workers(&sources));
    all.extend(metrics.process.own());
    all
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
            Value::Seconds(value) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
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
            Value::Counter(_) | Value::Seconds(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
            Value::Histogram(..) => MetricType::Histogram,
        }
    }
}
