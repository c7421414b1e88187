//! `bellwether explain`: why things stand as they stand; or where a statement would go.

use serde::Deserialize;

use super::args::ExplainArgs;
use super::client::encoded;
use super::context::{Context, understood};
use super::exit;
use super::failure::Failure;
use super::render::{Cell, Column, Screen, Table, Tone, clean};

/// Runs the verb.
///
/// # Errors
/// There is no answer.
pub async fn run(context: &Context<'_>, args: ExplainArgs) -> Result<u8, Failure> {
    let Some(sql) = &args.sql else { return state(context).await };
    let mut path = format!("/api/v1/route?sql={}", encoded(sql));
    for (name, value) in [("database", &args.database), ("user", &args.user)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", encoded(value));
        }
    }
    let answer = context.ask(&path).await?;
    let route: Route = understood(&answer)?;
    context.screen.show(&answer, || route.text(&context.screen));
    Ok(exit::DONE)
}

async fn state(context: &Context<'_>) -> Result<u8, Failure> {
    let answer = context.ask("/api/v1/explain").await?;
    let explained: Explanation = understood(&answer)?;
    context.screen.show(&answer, || explained.text(&context.screen));
    Ok(exit::DONE)
}

#[derive(Deserialize)]
struct Explanation {
    verdict: String,
    waits_for: Vec<String>,
    nodes: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    name: String,
    may_lead: Option<bool>,
    reason: String,
}

impl Explanation {
    fn text(&self, screen: &Screen) -> String {
        let mut text = format!("{}\n", clean(&self.verdict));
        for wait in &self.waits_for {
            text += &format!("waiting: {}\n", clean(wait));
        }
        let mut table = Table::new(&["NODE", "MAY LEAD", "WHY"].map(Column::new));
        for node in &self.nodes {
            let may = match node.may_lead {
                Some(true) => Cell::toned("yes", Tone::Good),
                Some(false) => Cell::toned("no", Tone::Warn),
                None => "-".into(),
            };
            table.row(vec![node.name.clone().into(), may, node.reason.clone().into()]);
        }
        text + "\n" + &table.text(screen)
    }
}

#[derive(Deserialize)]
struct Route {
    target: String,
    node: Option<String>,
    rule: String,
    because: String,
    statements: Vec<Statement>,
    database: String,
    user: String,
    catalog_loaded: bool,
}

#[derive(Deserialize)]
struct Statement {
    sql: String,
    rule: String,
    because: String,
    names: Vec<String>,
}

impl Route {
    fn text(&self, screen: &Screen) -> String {
        let node = self.node.as_ref().map_or_else(|| "nobody now".to_owned(), Clone::clone);
        let target = screen.paint(Tone::Bold, &clean(&self.target));
        let mut text =
            format!("{target}   {}   rule {}: {}\n", clean(&node), self.rule, clean(&self.because));
        for statement in &self.statements {
            if self.statements.len() > 1 {
                text += &format!(
                    "  {}\n    rule {}: {}\n",
                    clean(&statement.sql),
                    statement.rule,
                    clean(&statement.because)
                );
            }
            text.extend(statement.names.iter().map(|name| format!("    {}\n", clean(name))));
        }
        if !self.catalog_loaded {
            let place = format!("the catalog of {} is not loaded (user {})", self.database, self.user);
            text += &format!("! {}: what only it could tell needs the primary\n", clean(&place));
        }
        text
    }
}
