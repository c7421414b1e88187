//! Where answers come from, and the plain ones: metrics, liveness, readiness.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::operations::Operations;
use super::route::RouteSource;
use crate::telemetry::{Format, Metrics};
use crate::topology::{NodeName, Role, Snapshot};

/// Where answers come from.
pub struct Sources {
    /// Name of the cluster.
    pub cluster: String,
    /// The latest snapshot.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// The pools of this proxy.
    pub pools: Box<dyn Fn() -> Vec<PoolStatus> + Send + Sync>,
    /// Why no query is taken although there are servers, such as `draining`; `None` while queries are taken.
    pub refusing: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Who knows how the cluster is led, and changes it.
    pub operations: Arc<dyn Operations>,
    /// Who knows where statements go.
    pub route: RouteSource,
}

/// One pool, as `/api/v1/status` shows it: connections by what they do, and clients in line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// The node's name.
    pub node: String,
    /// Database of its connections.
    pub database: String,
    /// User of its connections.
    pub user: String,
    /// Connections nobody uses.
    pub idle: usize,
    /// Connections in clients' hands.
    pub active: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Clients that wait for one.
    pub waiting: usize,
    /// Clients that waited too long, ever.
    pub timeouts: u64,
}

/// What was asked, beyond method and path.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The node named in the path.
    pub(super) node: Option<NodeName>,
    /// The part behind the question mark.
    pub(super) query: String,
    /// The Accept header.
    pub(super) accept: Option<String>,
}

impl Asked {
    /// Returns the value of a parameter of the query; an empty one for a parameter without a value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    }
}

/// A whole answer.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";

/// The version of the JSON below `/api/v1`: keys are added within one, and never change their meaning.
pub(super) const SCHEMA: u32 = 1;

/// Makes an error answer.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    json_answer(status, &json!({"schema": SCHEMA, "error": message}))
}

/// Makes an error answer that says what to do.
pub(super) fn error_with_hint(status: StatusCode, message: &str, hint: &str) -> Answer {
    json_answer(status, &json!({"schema": SCHEMA, "error": message, "hint": hint}))
}

/// Makes an answer of one JSON object.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    Answer { status, content_type: JSON, body: format!("{body}\n") }
}

pub(super) fn metrics(sources: &Sources, asked: &Asked) -> Answer {
    let open = asked.accept.as_ref().is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (format, content_type) =
        if open { (Format::OpenMetrics, OPEN_METRICS) } else { (Format::Text, TEXT) };
    Answer { status: StatusCode::OK, content_type, body: sources.metrics.render(format) }
}

/// Whoever reads this has been answered, and that is all it says.
pub(super) fn liveness(_: &Sources, _: &Asked) -> Answer {
    json_answer(StatusCode::OK, &json!({"status": "alive"}))
}

/// Ready means: a query could be served now, if only a read.
pub(super) fn readiness(sources: &Sources, _: &Asked) -> Answer {
    let snapshot = sources.snapshot.load();
    let writes = snapshot.primary.is_some();
    let reads = writes || snapshot.readable_standbys().next().is_some();
    let mut reasons: Vec<String> = (sources.refusing)().into_iter().collect();
    if !reads {
        reasons.push("there is no primary, and no standby takes reads".to_owned());
        reasons.extend(snapshot.members().filter_map(|view| match &view.role {
            Role::Unknown { reason } => Some(format!("{}: {reason}", view.node.name)),
            _ => None,
        }));
    }
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    json_answer(status, &json!({"status": word, "reads": reads, "writes": writes, "reasons": reasons}))
}
