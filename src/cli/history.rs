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
    #[serde(default)]
    steps: Vec<Step>,
    lost_bytes: Option<u64>,
    reason: String,
    by: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    step: String,
    seconds: f64,
}

const COLUMNS: [Column; 10] = [
    Column::new("WHEN"),
    Column::new("KIND").worth(3),
    Column::new("FROM"),
    Column::new("TO"),
    Column::new("TL").right().worth(1),
    Column::new("DOWN").right(),
    Column::new("STEPS").worth(0),
    Column::new("LOST").right().worth(2),
    Column::new("BY").worth(4),
    Column::new("WHY"),
];

impl History {
    fn text(&self, screen: &Screen) -> String {
        if self.changes.is_empty() {
            return "no change of the primary is known\n".to_owned();
        }
        let mut table = Table::new(&COLUMNS);
        for change in &self.changes {
            table.row(vec![
                when(&change.time).into(),
                change.kind.clone().into(),
                or_dash(change.from.as_ref()).into(),
                or_dash(change.to.as_ref()).into(),
                or_dash(change.timeline).into(),
                or_dash(change.down_seconds.map(age)).into(),
                or_dash(change.steps()).into(),
                or_dash(change.lost_bytes.map(bytes)).into(),
                or_dash(change.by.as_ref()).into(),
                change.reason.clone().into(),
            ]);
        }
        table.text(screen)
    }
}

impl Change {
    /// What the time without writes went into.
    fn steps(&self) -> Option<String> {
        let steps = self.steps.iter().map(|step| format!("{} {:.0} ms", step.step, step.seconds * 1000.0));
        Some(steps.collect::<Vec<_>>().join(", ")).filter(|steps| !steps.is_empty())
    }
}
