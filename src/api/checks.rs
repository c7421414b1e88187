//! Health checks at the paths Patroni has, answered by status code for this proxy's view.
//!
//! Patroni's daemon speaks for the server beside it. A proxy stands before all of them, so its `/primary` says
//! whether it can serve what needs the primary, and `/nodes/NAME/primary` is the question about one server.

use hyper::StatusCode;
use serde_json::json;

use super::answers::{Answer, Asked, Sources, error, json_answer};
use crate::topology::{NodeView, Role, Snapshot};

/// Whether writes can be served.
pub(super) fn primary(sources: &Sources, _: &Asked) -> Answer {
    let snapshot = sources.snapshot.load();
    verdict(sources, snapshot.primary(), "there is no primary")
}

/// Whether a standby takes reads; with `lag`, one that is not further behind.
pub(super) fn replica(sources: &Sources, asked: &Asked) -> Answer {
    standby(sources, asked, |_| true, "no standby takes reads")
}

/// Whether a standby takes reads that commits wait for.
pub(super) fn sync(sources: &Sources, asked: &Asked) -> Answer {
    let synchronous = |view: &NodeView| sources.operations.node(view.node.id).synchronous;
    standby(sources, asked, synchronous, "no synchronous standby takes reads")
}

/// Whether a standby takes reads that commits do not wait for.
pub(super) fn asynchronous(sources: &Sources, asked: &Asked) -> Answer {
    let other = |view: &NodeView| !sources.operations.node(view.node.id).synchronous;
    standby(sources, asked, other, "no asynchronous standby takes reads")
}

/// Whether reads can be served, by whichever node.
pub(super) fn read_only(sources: &Sources, asked: &Asked) -> Answer {
    let limit = match lag_limit(asked) {
        Ok(limit) => limit,
        Err(answer) => return *answer,
    };
    let snapshot = sources.snapshot.load();
    let near = snapshot.readable_standbys().find(|view| is_within(view, limit));
    verdict(sources, near.or(snapshot.primary()), "there is no primary, and no standby takes reads")
}

/// Whether the node of the path is the primary.
pub(super) fn node_primary(sources: &Sources, asked: &Asked) -> Answer {
    let snapshot = sources.snapshot.load();
    let Some(view) = named(&snapshot, asked) else { return no_such_node() };
    let leads = snapshot.primary == Some(view.node.id);
    verdict(sources, leads.then_some(view), "it is not the primary")
}

/// Whether the node of the path is a standby that takes reads; with `lag`, not further behind.
pub(super) fn node_replica(sources: &Sources, asked: &Asked) -> Answer {
    let limit = match lag_limit(asked) {
        Ok(limit) => limit,
        Err(answer) => return *answer,
    };
    let snapshot = sources.snapshot.load();
    let Some(view) = named(&snapshot, asked) else { return no_such_node() };
    let reason = match &view.role {
        Role::Standby(_) if view.serves_reads => "its lag is above the limit, or not known".to_owned(),
        Role::Unknown { reason } => reason.clone(),
        _ => {
            let told = sources.operations.node(view.node.id).no_reads;
            told.unwrap_or_else(|| "it is no standby that takes reads".to_owned())
        }
    };
    verdict(sources, Some(view).filter(|view| view.serves_reads && is_within(view, limit)), &reason)
}

/// Reads a number of bytes as PostgreSQL writes sizes: `10MB`, `512kB`, or plain bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "tb" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn standby(sources: &Sources, asked: &Asked, fits: impl Fn(&NodeView) -> bool, otherwise: &str) -> Answer {
    let limit = match lag_limit(asked) {
        Ok(limit) => limit,
        Err(answer) => return *answer,
    };
    let snapshot = sources.snapshot.load();
    let mut readable = snapshot.readable_standbys().filter(|view| fits(view)).peekable();
    let any = readable.peek().is_some();
    let near = readable.find(|view| is_within(view, limit));
    verdict(sources, near, if any { "every standby lags more than that" } else { otherwise })
}

/// 200 with the node that serves, or 503 with the reason.
fn verdict(sources: &Sources, serving: Option<&NodeView>, otherwise: &str) -> Answer {
    let reason = match (sources.refusing)() {
        Some(refusing) => Some(refusing),
        None if serving.is_some() => None,
        None => Some(otherwise.to_owned()),
    };
    match (serving, reason) {
        (Some(view), None) => {
            let body = json!({
                "node": view.node.name.as_str(),
                "role": view.role.word(),
                "timeline": view.timeline.map(|timeline| timeline.0),
            });
            json_answer(StatusCode::OK, &body)
        }
        (_, reason) => json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"reason": reason})),
    }
}

fn lag_limit(asked: &Asked) -> Result<Option<u64>, Box<Answer>> {
    let Some(text) = asked.parameter("lag") else { return Ok(None) };
    let wrong = || error(StatusCode::BAD_REQUEST, "lag is a number of bytes, such as 10MB or 1048576");
    size(text).map(Some).ok_or_else(|| Box::new(wrong()))
}

/// A lag nobody knows is above every limit.
fn is_within(view: &NodeView, limit: Option<u64>) -> bool {
    let Some(limit) = limit else { return true };
    matches!(&view.role, Role::Standby(standby) if standby.lag_bytes.is_some_and(|lag| lag <= limit))
}

fn named<'a>(snapshot: &'a Snapshot, asked: &Asked) -> Option<&'a NodeView> {
    asked.node.as_ref().and_then(|name| snapshot.by_name(name))
}

pub(super) fn no_such_node() -> Answer {
    error(StatusCode::NOT_FOUND, "there is no such node")
}
