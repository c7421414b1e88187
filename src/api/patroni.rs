//! `/cluster` and `/history` in the shape Patroni gives them, for tools that read it; and our own history.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answers::{Answer, Asked, SCHEMA, Sources, json_answer};
use super::operations::{End, Past};
use super::status::state;
use crate::config::display_time;
use crate::pg::Address;
use crate::topology::{NodeView, Role, Snapshot};

/// Members as Patroni lists them. What is not known is null, where Patroni says `"unknown"`.
pub(super) fn cluster(sources: &Sources, _: &Asked) -> Answer {
    let (snapshot, overview) = (sources.snapshot.load(), sources.operations.overview());
    let members: Vec<Value> = snapshot.members().map(|view| member(sources, &snapshot, view)).collect();
    let mut body = json!({"members": members, "scope": sources.cluster});
    if overview.paused {
        body["pause"] = json!(true);
    }
    json_answer(StatusCode::OK, &body)
}

fn member(sources: &Sources, snapshot: &Snapshot, view: &NodeView) -> Value {
    let facts = sources.operations.node(view.node.id);
    let role = match &view.role {
        Role::Primary { .. } if snapshot.primary == Some(view.node.id) => Some("leader"),
        // Patroni has no word for a second one that accepts writes, and it is certainly no replica.
        Role::Primary { .. } | Role::Unknown { .. } => None,
        Role::Standby(_) if facts.synchronous => Some("sync_standby"),
        Role::Standby(_) => Some("replica"),
    };
    let (host, port) = match &view.node.address {
        Address::Tcp { host, port } => (host.clone(), *port),
        Address::Unix { directory, port } => (directory.display().to_string(), *port),
    };
    let mut member = json!({
        "name": view.node.name.as_str(),
        "role": role,
        "state": state(view),
        "host": host,
        "port": port,
        "timeline": view.timeline.map(|timeline| timeline.0),
    });
    if let Role::Standby(standby) = &view.role {
        (member["lag"], member["replay_lag"]) = (json!(standby.lag_bytes), json!(standby.lag_bytes));
        member["replay_lsn"] = json!(standby.replayed.to_string());
    }
    if !view.node.reads || facts.drained {
        member["tags"] = json!({"noloadbalance": true});
    }
    member
}

/// Changes of the primary as Patroni lists them, oldest first: timeline left, position, reason, time, new leader.
pub(super) fn history(past: Result<Vec<Past>, End>) -> Answer {
    let past = match past {
        Ok(past) => past,
        Err(end) => return ended(&end),
    };
    let row = |past: &Past| {
        let left = past.timeline.map(|timeline| timeline.saturating_sub(1));
        json!([left, null, past.reason, display_time(past.at), past.to.as_ref().map(|name| name.as_str())])
    };
    json_answer(StatusCode::OK, &past.iter().rev().map(row).collect())
}

/// The same with everything we know, newest first.
pub(super) fn own_history(past: Result<Vec<Past>, End>) -> Answer {
    let past = match past {
        Ok(past) => past,
        Err(end) => return ended(&end),
    };
    let row = |past: &Past| {
        json!({
            "time": display_time(past.at),
            "kind": past.kind,
            "from": past.from.as_ref().map(|name| name.as_str()),
            "to": past.to.as_ref().map(|name| name.as_str()),
            "timeline": past.timeline,
            "term": past.term,
            "down_seconds": past.down.map(|down| down.as_secs_f64()),
            "steps": past.steps.iter().map(|(step, took)| json!({"step": step, "seconds": took.as_secs_f64()}))
                .collect::<Vec<_>>(),
            "lost_bytes": past.lost_bytes,
            "reason": past.reason,
            "by": past.by,
        })
    };
    let rows: Vec<Value> = past.iter().map(row).collect();
    json_answer(StatusCode::OK, &json!({"schema": SCHEMA, "changes": rows}))
}

/// Why things stand as they stand.
pub(super) fn explain(sources: &Sources, _: &Asked) -> Answer {
    let mut body = serde_json::to_value(sources.operations.explain()).unwrap_or_default();
    body["schema"] = json!(SCHEMA);
    json_answer(StatusCode::OK, &body)
}

fn ended(end: &End) -> Answer {
    let body = json!({"schema": SCHEMA, "error": end.message, "cause": end.cause, "hint": end.hint});
    json_answer(end.outcome.status(), &body)
}
