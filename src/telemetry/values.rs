//! Families with the values of one moment, on their way to being written.

use super::table::{Family, Shape};

pub(super) type LabelSet = Vec<(&'static str, String)>;

/// One family with the values of one moment.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) series: Vec<(LabelSet, Value)>,
}

#[derive(Debug)]
pub(super) enum Value {
    Counter(u64),
    /// A counter of seconds.
    Seconds(f64),
    Gauge(f64),
    /// The sum in seconds, and each bucket's upper bound and own count.
    Histogram(f64, Vec<(f64, u64)>),
}

impl Values {
    /// A gauge without labels.
    pub(super) fn single(name: &'static str, help: &'static str, value: f64) -> Self {
        Values::gauge(name, help, Vec::new(), value)
    }

    /// A gauge with one label set.
    pub(super) fn gauge(name: &'static str, help: &'static str, labels: LabelSet, value: f64) -> Self {
        Values { name, help, series: vec![(labels, Value::Gauge(value))] }
    }

    /// A gauge with one series for each label set.
    pub(super) fn gauges(
        name: &'static str,
        help: &'static str,
        series: impl IntoIterator<Item = (LabelSet, f64)>,
    ) -> Self {
        let series = series.into_iter().map(|(labels, value)| (labels, Value::Gauge(value)));
        Values { name, help, series: series.collect() }
    }

    /// A counter of seconds without labels.
    pub(super) fn counter_of(name: &'static str, help: &'static str, value: f64) -> Self {
        Values { name, help, series: vec![(Vec::new(), Value::Seconds(value))] }
    }

    /// Reads one family out of its cells. Series of nodes that do not exist are left out.
    pub(super) fn read(family: &Family, cells: &[u64], nodes: &[String]) -> Self {
        let series = (0..family.series()).filter_map(|series| {
            let at = family.start + series * family.width();
            Some((family.labels_of(series, nodes)?, value_of(family.shape, &cells[at..at + family.width()])))
        });
        Values { name: family.name, help: family.help, series: series.collect() }
    }
}

fn value_of(shape: Shape, cells: &[u64]) -> Value {
    let seconds = |ns: u64| ns as f64 / 1e9;
    // Raised by one worker and lowered by another it may for a moment stand below zero.
    let sum = || cells.iter().map(|cell| cell.cast_signed() as f64).sum::<f64>().max(0.0);
    match (shape, cells) {
        (Shape::Counter, _) => Value::Counter(cells.iter().sum()),
        (Shape::Gauge, _) => Value::Gauge(sum()),
        (Shape::Seconds, _) => Value::Gauge(sum() / 1e3),
        (Shape::Histogram(buckets), [counts @ .., sum]) => {
            let bounds = buckets.bounds_ns().iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
            Value::Histogram(seconds(*sum), bounds.zip(counts.iter().copied()).collect())
        }
        (Shape::Histogram(_), []) => Value::Histogram(0.0, Vec::new()),
    }
}

/// The number for yes or no.
pub(super) fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
