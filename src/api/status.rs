//! `/api/v1/status`: the whole view in one JSON object, with a verdict on top.

use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answers::{Answer, Asked, PoolStatus, SCHEMA, Sources, json_answer};
use super::operations::NodeFacts;
use crate::config::display_time;
use crate::topology::{NodeView, Role, Snapshot};

/// Units are in the keys; what is not known is null.
pub(super) fn status(sources: &Sources, _: &Asked) -> Answer {
    let (snapshot, overview) = (sources.snapshot.load(), sources.operations.overview());
    let (pools, now) = ((sources.pools)(), SystemTime::now());
    let mut warnings: Vec<String> =
        (sources.refusing)().map(|why| format!("this proxy is {why}")).into_iter().collect();
    warnings.extend(overview.warnings.iter().cloned());
    let mut nodes = Vec::new();
    for view in snapshot.members() {
        let facts = sources.operations.node(view.node.id);
        let own = node_warnings(&snapshot, view, &facts);
        warnings.extend(own.iter().map(|warning| format!("{}: {warning}", view.node.name)));
        nodes.push(node(view, &facts, &own, &pools));
    }
    let since = overview.primary_since.filter(|_| snapshot.primary.is_some());
    let mut body = json!({
        "schema": SCHEMA,
        "cluster": sources.cluster,
        "time": display_time(now),
        "verdict": verdict(&snapshot, &warnings),
        "summary": summary(&snapshot, &warnings),
        "version": snapshot.version,
        "term": snapshot.term,
        "primary": snapshot.primary().map(|view| view.node.name.as_str()),
        "primary_since": since.map(display_time),
        "primary_for_seconds": since.and_then(|since| now.duration_since(since).ok()).map(|age| age.as_secs()),
        "timeline": snapshot.primary().and_then(|view| view.timeline).map(|timeline| timeline.0),
        // Beyond what a JSON number holds exactly in many readers.
        "system_identifier": snapshot.system_identifier.map(|identifier| identifier.to_string()),
        "warnings": warnings,
        "nodes": nodes,
        "pools": pools,
    });
    if let (Value::Object(body), Ok(Value::Object(overview))) = (&mut body, serde_json::to_value(overview)) {
        body.extend(overview);
    }
    json_answer(StatusCode::OK, &body)
}

/// `no_primary`, `degraded` or `healthy`: what a monitoring system turns into a colour.
fn verdict(snapshot: &Snapshot, warnings: &[String]) -> &'static str {
    match (snapshot.primary, warnings) {
        (None, _) => "no_primary",
        (Some(_), []) => "healthy",
        (Some(_), _) => "degraded",
    }
}

fn summary(snapshot: &Snapshot, warnings: &[String]) -> String {
    let readable = snapshot.readable_standbys().count();
    let reads = match readable {
        0 => "no standby takes reads".to_owned(),
        1 => "1 standby takes reads".to_owned(),
        several => format!("{several} standbys take reads"),
    };
    let leads = match snapshot.primary() {
        Some(view) => format!("{} is the primary", view.node.name),
        None => "there is no primary".to_owned(),
    };
    match warnings {
        [] => format!("{leads}, {reads}"),
        [only] => format!("{leads}, {reads}; {only}"),
        [first, rest @ ..] => format!("{leads}, {reads}; {first} (and {} more)", rest.len()),
    }
}

/// What an operator should look into on one node.
fn node_warnings(snapshot: &Snapshot, view: &NodeView, facts: &NodeFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    match &view.role {
        Role::Unknown { reason } => warnings.push(reason.clone()),
        Role::Primary { .. } if snapshot.primary != Some(view.node.id) => {
            warnings.push("accepts writes and is not the primary".to_owned());
        }
        Role::Primary { .. } => {}
        // What an operator or the configuration wants is no trouble.
        Role::Standby(_) if facts.drained || !view.node.reads || view.node.weight == 0 => {}
        Role::Standby(_) if !view.serves_reads => {
            let why = facts.no_reads.as_deref().unwrap_or("the reason is not known");
            warnings.push(format!("takes no reads: {why}"));
        }
        Role::Standby(_) => {}
    }
    warnings.extend(facts.warnings.iter().cloned());
    warnings
}

fn node(view: &NodeView, facts: &NodeFacts, warnings: &[String], pools: &[PoolStatus]) -> Value {
    let ours = || pools.iter().filter(|pool| pool.node == view.node.name.as_str());
    let sum = |count: fn(&PoolStatus) -> usize| ours().map(count).sum::<usize>();
    let (position, standby) = match &view.role {
        Role::Primary { position } => (Some(position.to_string()), None),
        Role::Standby(standby) => (None, Some(standby)),
        Role::Unknown { .. } => (None, None),
    };
    json!({
        "name": view.node.name.as_str(),
        "address": view.node.address.to_string(),
        "role": known_role(view),
        "state": state(view),
        "reason": match &view.role {
            Role::Unknown { reason } => Some(reason),
            _ => None,
        },
        "timeline": view.timeline.map(|timeline| timeline.0),
        "server_version": view.server_version,
        "serves_reads": view.serves_reads,
        "no_reads_because": facts.no_reads,
        "synchronous": facts.synchronous,
        "drained": facts.drained,
        "weight": view.node.weight,
        "lsn": position,
        "replay_lsn": standby.map(|standby| standby.replayed.to_string()),
        "lag_bytes": standby.and_then(|standby| standby.lag_bytes),
        "lag_seconds": standby.and_then(|standby| standby.lag_time).map(|lag| lag.as_secs_f64()),
        "connections_active": sum(|pool| pool.active),
        "connections_idle": sum(|pool| pool.idle),
        "clients_waiting": sum(|pool| pool.waiting),
        "checked_seconds": facts.checked.map(|age| (age.as_secs_f64() * 1000.0).round() / 1000.0),
        "warnings": warnings,
    })
}

/// Returns `primary` or `standby`, or nothing.
pub(super) fn known_role(view: &NodeView) -> Option<&'static str> {
    (!matches!(view.role, Role::Unknown { .. })).then(|| view.role.word())
}

/// Returns the state in Patroni's words: what a healthy standby does is stream.
pub(super) fn state(view: &NodeView) -> Option<&'static str> {
    match &view.role {
        Role::Standby(standby) if standby.streaming => Some("streaming"),
        Role::Primary { .. } | Role::Standby(_) => Some("running"),
        Role::Unknown { .. } => None,
    }
}
