//! `bellwether node`: one node shown, drained, added, removed, set.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::args::NodeCommand;
use super::client::encoded;
use super::confirm;
use super::context::Context;
use super::exit;
use super::failure::Failure;
use super::render::{clean, say};
use super::wish;

/// Runs the verb.
///
/// # Errors
/// There is no such node, or the change was not taken up, or its outcome is not known.
pub async fn run(context: &Context<'_>, command: NodeCommand) -> Result<u8, Failure> {
    let path = |node: &str, verb: &str| format!("/api/v1/nodes/{}/{verb}", encoded(node));
    match command {
        NodeCommand::Show { node, .. } => show(context, &node).await,
        NodeCommand::Drain { node, wish } => {
            wish::carry_out(context, &path(&node, "drain"), json!({"reason": wish.reason})).await
        }
        NodeCommand::Undrain { node, wish } => {
            wish::carry_out(context, &path(&node, "undrain"), json!({"reason": wish.reason})).await
        }
        NodeCommand::Add { node, url, wish } => {
            let body = json!({"url": url, "reason": wish.reason});
            wish::carry_out(context, &path(&node, "add"), body).await
        }
        NodeCommand::Remove { node, wish } => {
            let question = format!(
                "{node} will be no part of the cluster: no traffic, never promoted, no slot kept for it."
            );
            confirm::sentence(wish.yes, &clean(&question)).await?;
            wish::carry_out(context, &path(&node, "remove"), json!({"reason": wish.reason})).await
        }
        NodeCommand::Set { node, settings, wish } => {
            let settings: BTreeMap<String, String> = settings.into_iter().collect();
            let body = json!({"settings": settings, "reason": wish.reason});
            wish::carry_out(context, &path(&node, "set"), body).await
        }
    }
}

async fn show(context: &Context<'_>, name: &str) -> Result<u8, Failure> {
    let status = context.ask("/api/v1/status").await?;
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(Value::Object(node)) = nodes.iter().find(|node| node["name"] == name) else {
        let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
        return Err(Failure::usage(format!("there is no node {name}"))
            .hint(format!("the nodes are {}", names.join(", "))));
    };
    let pools = status["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pools: Vec<&Value> = pools.iter().filter(|pool| pool["node"] == name).collect();
    let mut answer = node.clone();
    answer.insert("schema".to_owned(), json!(1));
    answer.insert("leads".to_owned(), json!(status["primary"] == name));
    answer.insert("pools".to_owned(), json!(pools));
    let answer = Value::Object(answer);
    if context.screen.form == super::args::Form::Table {
        say(&text(node, &pools));
    } else {
        context.screen.show(&answer, String::new);
    }
    Ok(exit::DONE)
}

/// One fact a line, in the order that people ask for them; then those a newer proxy tells.
fn text(node: &Map<String, Value>, pools: &[&Value]) -> String {
    const ORDER: [&str; 9] = [
        "name",
        "address",
        "role",
        "state",
        "reason",
        "timeline",
        "lag_bytes",
        "lag_seconds",
        "serves_reads",
    ];
    let later = node.keys().map(String::as_str).filter(|key| !ORDER.contains(key));
    let mut lines = String::new();
    for key in ORDER.into_iter().chain(later) {
        let said = match node.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) if items.is_empty() => continue,
            Some(Value::Array(items)) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
            }
            Some(other) => other.to_string(),
        };
        lines += &format!("{:<20} {}\n", clean(&key.replace('_', " ")), clean(&said));
    }
    for pool in pools {
        let of = |key: &str| pool[key].as_str().unwrap_or("-").to_owned();
        let count = |key: &str| pool[key].as_u64().unwrap_or(0);
        let counts =
            format!("{} active, {} idle, {} waiting", count("active"), count("idle"), count("waiting"));
        lines += &format!(
            "{:<20} {}: {counts}\n",
            "pool",
            clean(&format!("{} of {}", of("user"), of("database")))
        );
    }
    lines
}
