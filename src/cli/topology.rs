//! `bellwether topology`: the nodes as a tree, with the share of this proxy's connections each of them has.

use serde_json::{Value, json};

use super::context::{Context, understood};
use super::exit;
use super::failure::Failure;
use super::render::{Cell, Column, Screen, Table, Tone};
use super::status::{Node, Status};

/// Runs the verb.
///
/// # Errors
/// There is no answer.
pub async fn run(context: &Context<'_>) -> Result<u8, Failure> {
    let answer = context.ask("/api/v1/status").await?;
    let status: Status = understood(&answer)?;
    let tree = Tree::new(&status);
    context.screen.show(&tree.object(&status), || tree.text(&status, &context.screen));
    Ok(exit::DONE)
}

/// Who stands where.
struct Tree<'a> {
    primary: Option<&'a Node>,
    following: Vec<&'a Node>,
    /// Those that follow nobody we know of.
    apart: Vec<&'a Node>,
    connections: u64,
}

impl<'a> Tree<'a> {
    fn new(status: &'a Status) -> Self {
        let leads = |node: &&Node| status.primary.as_ref() == Some(&node.name);
        let follows = |node: &&Node| node.state.as_deref() == Some("streaming");
        let (primary, others): (Vec<&Node>, Vec<&Node>) = status.nodes.iter().partition(leads);
        let (following, apart) = others.into_iter().partition(follows);
        let connections = status.nodes.iter().map(|node| node.connections_active).sum();
        Tree { primary: primary.first().copied(), following, apart, connections }
    }

    fn text(&self, status: &Status, screen: &Screen) -> String {
        let columns = ["NODE", "ROLE", "ADDRESS", "LAG", "IN USE", "NOTE"].map(Column::new);
        let mut table = Table::new(&columns);
        let mut add = |mark: &str, node: &Node, note: Cell| {
            let role = node.role.clone().unwrap_or_else(|| "unknown".to_owned());
            let (name, used) = (format!("{mark}{}", node.name), self.share_text(node));
            table.row(vec![
                name.into(),
                role.into(),
                node.address.clone().into(),
                node.lag().into(),
                used.into(),
                note,
            ]);
        };
        if let Some(primary) = self.primary {
            add("", primary, note(primary));
        }
        for (place, node) in self.following.iter().enumerate() {
            add(if place + 1 == self.following.len() { "└─ " } else { "├─ " }, node, note(node));
        }
        for node in &self.apart {
            add("?  ", node, note(node));
        }
        let missing = match self.primary {
            Some(_) => String::new(),
            None => screen.paint(Tone::Bad, &format!("{}: there is no primary", status.cluster)) + "\n",
        };
        missing + &table.text(screen)
    }

    fn object(&self, status: &Status) -> Value {
        let node = |node: &Node| {
            json!({
                "name": node.name,
                "address": node.address,
                "role": node.role,
                "state": node.state,
                "timeline": node.timeline,
                "lag_bytes": node.lag_bytes,
                "lag_seconds": node.lag_seconds,
                "serves_reads": node.serves_reads,
                "connections_active": node.connections_active,
                "connections_share": self.share(node),
            })
        };
        let nodes = |list: &[&Node]| list.iter().map(|one| node(one)).collect::<Value>();
        json!({
            "schema": 1,
            "cluster": status.cluster,
            "primary": self.primary.map(node),
            "streaming": nodes(&self.following),
            "apart": nodes(&self.apart),
        })
    }

    /// Its part of the connections that clients have in hand; `None` while there are none.
    fn share(&self, node: &Node) -> Option<f64> {
        let part = node.connections_active as f64 / self.connections as f64;
        (self.connections > 0).then_some((part * 1000.0).round() / 1000.0)
    }

    fn share_text(&self, node: &Node) -> String {
        match self.share(node) {
            Some(share) => format!("{} ({:.0}%)", node.connections_active, share * 100.0),
            None => "0".to_owned(),
        }
    }
}

fn note(node: &Node) -> Cell {
    match (node.warnings.as_slice(), node.drained) {
        ([], true) => Cell::toned("drained", Tone::Warn),
        ([], false) if node.serves_reads => "takes reads".into(),
        ([], false) => "".into(),
        (warnings, _) => Cell::toned(format!("! {}", warnings.join("; ")), Tone::Warn),
    }
}
