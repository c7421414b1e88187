//! What each path answers, as a function of the present snapshot.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::telemetry::{Format, Metrics};
use crate::topology::{NodeView, Role, Snapshot};

/// Where answers come from.
pub struct Sources {
    /// The latest snapshot.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/api/v1/status` shows under `pools`; JSON as the caller likes it.
    pub pools: Option<Box<dyn Fn() -> Value + Send + Sync>>,
    /// Why no query is taken although there are servers, such as `draining`; `None` while queries are taken.
    pub refusing: Option<Box<dyn Fn() -> Option<String> + Send + Sync>>,
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

/// Answers one request. `accept` is its Accept header, if any.
pub(super) fn answer(sources: &Sources, method: &Method, path: &str, accept: Option<&str>) -> Answer {
    let known = matches!(path, "/metrics" | "/livez" | "/readyz" | "/healthz" | "/api/v1/status");
    if known && method != Method::GET && method != Method::HEAD {
        return error(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes GET and HEAD only"));
    }
    match path {
        "/metrics" => metrics(sources, accept),
        // Whoever reads this has been answered, and that is all it says.
        "/livez" => json_answer(StatusCode::OK, &json!({"status": "alive"})),
        "/readyz" | "/healthz" => readiness(sources),
        "/api/v1/status" => status(sources),
        _ => error(StatusCode::NOT_FOUND, &format!("there is nothing at {path}")),
    }
}

/// Makes an error answer.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    json_answer(status, &json!({"error": message}))
}

fn metrics(sources: &Sources, accept: Option<&str>) -> Answer {
    let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (format, content_type) =
        if open { (Format::OpenMetrics, OPEN_METRICS) } else { (Format::Text, TEXT) };
    Answer { status: StatusCode::OK, content_type, body: sources.metrics.render(format) }
}

/// Ready means: a query could be served now, if only a read.
fn readiness(sources: &Sources) -> Answer {
    let snapshot = sources.snapshot.load();
    let writes = snapshot.primary.is_some();
    let reads = writes || snapshot.readable_standbys().next().is_some();
    let mut reasons: Vec<String> = sources.refusing.as_ref().and_then(|ask| ask()).into_iter().collect();
    if !reads {
        reasons.push("there is no primary, and no standby takes reads".to_owned());
        reasons.extend(snapshot.nodes.iter().filter_map(|view| match &view.role {
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

fn status(sources: &Sources) -> Answer {
    let snapshot = sources.snapshot.load();
    let mut body = json!({
        "version": snapshot.version,
        "term": snapshot.term,
        "primary": snapshot.primary().map(|view| view.node.name.as_str()),
        "timeline": snapshot.primary().and_then(|view| view.timeline).map(|timeline| timeline.0),
        // Beyond what a JSON number holds exactly in many readers.
        "system_identifier": snapshot.system_identifier.map(|identifier| identifier.to_string()),
        "nodes": snapshot.nodes.iter().map(node).collect::<Vec<_>>(),
    });
    if let Some(pools) = &sources.pools {
        body["pools"] = pools();
    }
    json_answer(StatusCode::OK, &body)
}

fn node(view: &NodeView) -> Value {
    let mut node = json!({
        "name": view.node.name.as_str(),
        "address": view.node.address.to_string(),
        "role": view.role.word(),
        "state": state(view),
        "timeline": view.timeline.map(|timeline| timeline.0),
        "server_version": view.server_version,
        "serves_reads": view.serves_reads,
        "weight": view.node.weight,
    });
    match &view.role {
        Role::Primary { position } => node["lsn"] = json!(position.to_string()),
        Role::Standby(standby) => {
            node["replay_lsn"] = json!(standby.replayed.to_string());
            node["lag_bytes"] = json!(standby.lag_bytes);
            node["lag_seconds"] = json!(standby.lag_time.map(|age| age.as_secs_f64()));
        }
        Role::Unknown { reason } => node["reason"] = json!(reason),
    }
    node
}

/// Returns the state in Patroni's words: what a healthy standby does is stream.
fn state(view: &NodeView) -> &'static str {
    match &view.role {
        Role::Standby(standby) if standby.streaming => "streaming",
        Role::Primary { .. } | Role::Standby(_) => "running",
        Role::Unknown { .. } => "unknown",
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    Answer { status, content_type: JSON, body: format!("{body}\n") }
}
