//! `bellwether history`: past changes of the primary.

use serde::Deserialize;

use super::context::{Context, understood};
use super::exit;
use super::failure::Failure;
use super::render::{Column, Screen, Table, age, bytes, or_dash, when};

/// Runs the verb.
///
/// # Errors
/// There is no answer.
pub async fn run(context: &Context<'_>) -> Result<u8, Failure> {
    let answer = context.ask("/api/v1/history").await?;
    let history: History = understood(&answer)?;
    context.screen.show(&answer, || history.text(&context.screen));
    Ok(exit::DONE)
}

#[derive(Deserialize)]
struct History {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    time: String,
    kind: String,
    from: Option<String>,
    to: Option<String>,
    timeline: Option<u64>,
    down_seconds: Option<f64>,
    lost_bytes: Option<u64>,
    reason: String,
    by: Option<String>,
}

const COLUMNS: [Column; 8] = [
    Column::new("WHEN"),
    Column::new("KIND").worth(3),
    Column::new("FROM"),
    Column::new("TO"),
    Column::new("TL").right().worth(1),
    Column::new("DOWN").right(),
    Column::new("LOST").right().worth(2),
    Column::new("WHY"),
];

impl History {
    fn text(&self, screen: &Screen) -> String {
        if self.changes.is_empty() {
            return "no change of the primary is known\n".to_owned();
        }
        let mut table = Table::new(&COLUMNS);
        for change in &self.changes {
            let why = match &change.by {
                Some(by) => format!("{} (asked for by {by})", change.reason),
                None => change.reason.clone(),
            };
            table.row(vec![
                when(&change.time).into(),
                change.kind.clone().into(),
                or_dash(change.from.as_ref()).into(),
                or_dash(change.to.as_ref()).into(),
                or_dash(change.timeline).into(),
                or_dash(change.down_seconds.map(age)).into(),
                or_dash(change.lost_bytes.map(bytes)).into(),
                why.into(),
            ]);
        }
        table.text(screen)
    }
}
