//! Reads wishes from the bodies of POST requests. What is not understood is refused, not ignored.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answers::Asked;
use super::operations::{Requester, Upon, Wish};
use crate::config::parse_time;
use crate::topology::NodeName;

type Read = Result<(Wish, Requester), String>;

/// Reads `{"to", "at", "dry_run", "term", "by", "reason"}`, all optional.
pub(super) fn switchover(_: &Asked, body: &[u8]) -> Read {
    let Move { to, at, dry_run, term, allow_data_loss, by, reason } = read(body)?;
    if allow_data_loss.is_some() {
        return Err("a switchover loses no data, so allow_data_loss means nothing to it".to_owned());
    }
    let at = at.map(|at| parse_time(&at)).transpose()?;
    let upon = Upon { dry_run, term };
    Ok((Wish::Switchover { to: to.as_deref().map(NodeName::new), at, upon }, Requester { by, reason }))
}

/// Reads `{"to", "allow_data_loss", "dry_run", "term", "by", "reason"}`, all optional. Loss is a number of bytes, or
/// `true` for any.
pub(super) fn failover(_: &Asked, body: &[u8]) -> Read {
    let Move { to, at, dry_run, term, allow_data_loss, by, reason } = read(body)?;
    if at.is_some() {
        return Err("a failover cannot be scheduled, so at means nothing to it".to_owned());
    }
    let allow_data_loss = match allow_data_loss {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(u64::MAX),
        Some(number) => Some(number.as_u64().ok_or("allow_data_loss is a number of bytes, or true")?),
    };
    let upon = Upon { dry_run, term };
    let wish = Wish::Failover { to: to.as_deref().map(NodeName::new), allow_data_loss, upon };
    Ok((wish, Requester { by, reason }))
}

pub(super) fn cancel_switchover(_: &Asked, body: &[u8]) -> Read {
    plain(Wish::CancelSwitchover, body)
}

pub(super) fn pause(_: &Asked, body: &[u8]) -> Read {
    plain(Wish::Pause, body)
}

pub(super) fn resume(_: &Asked, body: &[u8]) -> Read {
    plain(Wish::Resume, body)
}

pub(super) fn preflight(_: &Asked, body: &[u8]) -> Read {
    plain(Wish::Preflight, body)
}

/// Reads `{"dry_run", "by", "reason"}`.
pub(super) fn adopt(_: &Asked, body: &[u8]) -> Read {
    let Adopt { dry_run, by, reason } = read(body)?;
    Ok((Wish::Adopt { dry_run }, Requester { by, reason }))
}

pub(super) fn drain(asked: &Asked, body: &[u8]) -> Read {
    plain(Wish::Drain(node(asked)), body)
}

pub(super) fn undrain(asked: &Asked, body: &[u8]) -> Read {
    plain(Wish::Undrain(node(asked)), body)
}

pub(super) fn remove(asked: &Asked, body: &[u8]) -> Read {
    plain(Wish::Remove(node(asked)), body)
}

/// Reads `{"url", "by", "reason"}`.
pub(super) fn add(asked: &Asked, body: &[u8]) -> Read {
    let Add { url, by, reason } = read(body)?;
    Ok((Wish::Add { node: node(asked), url }, Requester { by, reason }))
}

/// Reads `{"settings": {NAME: VALUE, ...}, "by", "reason"}`.
pub(super) fn set(asked: &Asked, body: &[u8]) -> Read {
    let Set { settings, by, reason } = read(body)?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name, text(value))).collect();
    if settings.is_empty() {
        return Err("settings is empty: there is nothing to set".to_owned());
    }
    Ok((Wish::Set { node: node(asked), settings }, Requester { by, reason }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    to: Option<String>,
    at: Option<String>,
    #[serde(default)]
    dry_run: bool,
    term: Option<u64>,
    allow_data_loss: Option<Value>,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Adopt {
    #[serde(default)]
    dry_run: bool,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    url: String,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    settings: serde_json::Map<String, Value>,
    by: Option<String>,
    reason: Option<String>,
}

fn plain(wish: Wish, body: &[u8]) -> Read {
    let Plain { by, reason } = read(body)?;
    Ok((wish, Requester { by, reason }))
}

/// An empty body asks for the plain thing.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| format!("the body is not understood: {error}"))
}

/// Routes that name a node are found only with one.
fn node(asked: &Asked) -> NodeName {
    asked.node.clone().unwrap_or_else(|| NodeName::new(""))
}
