//! The live status of the demo's servers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::Cluster;
use super::stage::Stage;

/// What one server said of itself; `None` where it did not answer.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    facts: Option<Facts>,
}

#[derive(Clone, Debug)]
struct Facts {
    role: &'static str,
    position: u64,
    transactions: u64,
}

/// Shows the servers until the end: a line rewritten every second on a terminal; elsewhere a line, or a JSON
/// event, when a role changes.
pub(super) fn show(stage: &Stage<'_>) {
    let (cluster, output, ending) = (stage.cluster, stage.output, stage.ending);
    let mut before: Vec<Seen> = observe(cluster);
    let mut at = Instant::now();
    while ending.wait(Duration::from_secs(1)).is_none() {
        let now = observe(cluster);
        let seconds = at.elapsed().as_secs_f64();
        at = Instant::now();
        if ending.reason().is_some() {
            return; // The servers may have been stopped while we asked.
        }
        if output.is_terminal() {
            output.live(&format!("  {}", describe(&now, Some((&before, seconds)))));
        } else if roles(&before) != roles(&now) {
            output.text(&format!("  {}", describe(&now, None)));
            output.json(|| event(&now));
        }
        before = now;
    }
}

fn observe(cluster: &Cluster) -> Vec<Seen> {
    let names = cluster.names().iter();
    names.map(|name| Seen { name: name.clone(), facts: facts(cluster, name) }).collect()
}

fn facts(cluster: &Cluster, name: &str) -> Option<Facts> {
    if !cluster.is_running(name) {
        return None;
    }
    let row = cluster.sql(name, QUESTION).ok()?;
    let mut columns = row.split('|');
    let role = match columns.next()? {
        "primary" => "primary",
        "paused" => "paused",
        _ => "standby",
    };
    let position = columns.next()?.parse().ok()?;
    // Our own question is a transaction too.
    let transactions = columns.next()?.parse().ok()?;
    Some(Facts { role, position, transactions })
}

const QUESTION: &str = "
SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'primary'
            WHEN pg_is_wal_replay_paused() THEN 'paused' ELSE 'standby' END,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0',
       (SELECT xact_commit FROM pg_stat_database WHERE datname = 'demo')";

fn roles(seen: &[Seen]) -> Vec<&'static str> {
    seen.iter().map(|seen| seen.facts.as_ref().map_or("stopped", |facts| facts.role)).collect()
}

fn describe(seen: &[Seen], before: Option<(&[Seen], f64)>) -> String {
    let head = head(seen);
    let parts = seen.iter().enumerate().map(|(index, node)| {
        let Some(facts) = &node.facts else { return format!("{} stopped", node.name) };
        let mut text = format!("{} {}", node.name, facts.role);
        if facts.role != "primary" {
            text.push_str(&format!(" lag {} B", head.saturating_sub(facts.position)));
        }
        let earlier =
            before.and_then(|(before, seconds)| Some((before.get(index)?.facts.as_ref()?, seconds)));
        if let Some((earlier, seconds)) = earlier {
            let ran = facts.transactions.saturating_sub(earlier.transactions).saturating_sub(1);
            text.push_str(&format!(" {:.0} tx/s", ran as f64 / seconds));
        }
        text
    });
    parts.collect::<Vec<_>>().join(" · ")
}

fn event(seen: &[Seen]) -> Value {
    let head = head(seen);
    let nodes = seen.iter().map(|node| match &node.facts {
        Some(facts) => {
            json!({"name": node.name, "role": facts.role, "lag_bytes": head.saturating_sub(facts.position)})
        }
        None => json!({"name": node.name, "role": "stopped"}),
    });
    json!({"event": "status", "nodes": nodes.collect::<Vec<_>>()})
}

/// How far the furthest server is. Servers are asked one after the other, so this may be a little behind.
fn head(seen: &[Seen]) -> u64 {
    seen.iter().filter_map(|seen| Some(seen.facts.as_ref()?.position)).max().unwrap_or(0)
}
