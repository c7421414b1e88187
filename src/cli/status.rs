//! `bellwether status`: the verdict, a table of nodes, and what needs looking into.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::args::{Form, StatusArgs};
use super::context::{Context, understood};
use super::exit;
use super::failure::Failure;
use super::render::{Cell, Column, Screen, Table, Tone, age, bytes, clean, or_dash, say, say_aside, when};

/// Runs the verb.
///
/// # Errors
/// There is no answer. While watching, that is shown and asked again.
pub async fn run(context: &Context<'_>, args: StatusArgs) -> Result<u8, Failure> {
    if let Some(period) = args.watch {
        return watch(context, period).await;
    }
    let answer = context.ask("/api/v1/status").await?;
    let status: Status = understood(&answer)?;
    context.screen.show(&answer, || status.text(&context.screen));
    Ok(match status.verdict.as_str() {
        _ if !args.check => exit::DONE,
        "healthy" => exit::DONE,
        "no_primary" => exit::NO_PRIMARY,
        _ => exit::DEGRADED,
    })
}

/// Shows the status again and again. Programs get a line whenever something other than an age or a position differs.
async fn watch(context: &Context<'_>, period: Duration) -> Result<u8, Failure> {
    let mut shown_before: Option<Value> = None;
    loop {
        let shown = match context.ask("/api/v1/status").await {
            Ok(answer) => match context.screen.form {
                Form::Table => {
                    let status: Status = understood(&answer)?;
                    say(&fresh_page(&context.screen, &status.text(&context.screen)))
                }
                _ => {
                    let now = without_ages(answer.clone());
                    let changed = shown_before.as_ref() != Some(&now);
                    shown_before = Some(now);
                    !changed || say(&line(&context.screen, &answer))
                }
            },
            Err(failure) if failure.code == exit::UNREACHABLE => {
                say_aside(&format!("{failure}\n"));
                true
            }
            Err(failure) => return Err(failure),
        };
        if !shown {
            return Ok(exit::DONE);
        }
        tokio::time::sleep(period).await;
    }
}

/// On a terminal the page takes the place of the one before; elsewhere it comes below.
fn fresh_page(screen: &Screen, text: &str) -> String {
    match screen.terminal {
        true => format!("\x1b[H\x1b[2J{text}"),
        false => format!("{text}\n"),
    }
}

/// One document: JSON on a line of its own.
fn line(screen: &Screen, answer: &Value) -> String {
    match screen.form {
        Form::Json => format!("{answer}\n"),
        _ => format!("---\n{}", screen.rendered(answer, String::new)),
    }
}

/// What is left when all that moves by itself is taken out.
fn without_ages(mut answer: Value) -> Value {
    const MOVING: [&str; 12] = [
        "time",
        "primary_for_seconds",
        "checked_seconds",
        "lsn",
        "replay_lsn",
        "lag_bytes",
        "lag_seconds",
        "connections_active",
        "connections_idle",
        "clients_waiting",
        "pools",
        "warnings",
    ];
    let parts = answer["nodes"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let strip = |mut value: Value| {
        if let Value::Object(map) = &mut value {
            map.retain(|key, _| !MOVING.contains(&key.as_str()));
        }
        value
    };
    answer["nodes"] = parts.into_iter().map(strip).collect();
    strip(answer)
}

/// The part of the answer that the table shows.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub cluster: String,
    pub verdict: String,
    pub primary: Option<String>,
    pub primary_for_seconds: Option<f64>,
    pub timeline: Option<u64>,
    #[serde(default)]
    pub failover: Option<String>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub store: Option<Store>,
    #[serde(default)]
    pub proxies: Option<u64>,
    #[serde(default)]
    pub operation: Option<String>,
    #[serde(default)]
    pub scheduled: Option<Scheduled>,
    #[serde(default)]
    pub warnings: Vec<String>,
    pub nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Store {
    kind: String,
    reachable: u64,
    members: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Scheduled {
    at: String,
    to: Option<String>,
    by: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub name: String,
    pub address: String,
    pub role: Option<String>,
    pub state: Option<String>,
    pub timeline: Option<u64>,
    pub lag_bytes: Option<u64>,
    pub lag_seconds: Option<f64>,
    pub lsn: Option<String>,
    pub replay_lsn: Option<String>,
    #[serde(default)]
    pub synchronous: bool,
    #[serde(default)]
    pub drained: bool,
    #[serde(default)]
    pub serves_reads: bool,
    #[serde(default)]
    pub no_reads_because: Option<String>,
    #[serde(default)]
    pub connections_active: u64,
    #[serde(default)]
    pub connections_idle: u64,
    #[serde(default)]
    pub clients_waiting: u64,
    #[serde(default)]
    pub checked_seconds: Option<f64>,
    #[serde(default)]
    pub warnings: Vec<String>,
}

const COLUMNS: [Column; 11] = [
    Column::new("NODE"),
    Column::new("ROLE"),
    Column::new("STATE").worth(7),
    Column::new("TL").right().worth(6),
    Column::new("ADDRESS").worth(5),
    Column::new("LAG").worth(9),
    Column::new("LSN").worth(2),
    Column::new("CONN").right().worth(4),
    Column::new("WAITING").right().worth(3),
    Column::new("CHECKED").worth(8),
    Column::new("NOTE"),
];

impl Status {
    fn text(&self, screen: &Screen) -> String {
        let mut table = Table::new(&COLUMNS);
        for node in &self.nodes {
            let waiting = Some(node.clients_waiting).filter(|waiting| *waiting > 0);
            let in_use = node.connections_active + node.connections_idle;
            table.row(vec![
                node.name.clone().into(),
                node.role_cell(),
                or_dash(node.state.as_ref()).into(),
                or_dash(node.timeline).into(),
                node.address.clone().into(),
                node.lag().into(),
                or_dash(node.lsn.as_ref().or(node.replay_lsn.as_ref())).into(),
                format!("{}/{in_use}", node.connections_active).into(),
                or_dash(waiting).into(),
                node.checked_seconds
                    .map_or_else(|| "never".to_owned(), |seconds| age(seconds) + " ago")
                    .into(),
                node.note(),
            ]);
        }
        format!("{}\n\n{}{}", self.headline(screen), table.text(screen), self.footer(screen))
    }

    fn headline(&self, screen: &Screen) -> String {
        let tone = match self.verdict.as_str() {
            "healthy" => Tone::Good,
            "degraded" => Tone::Warn,
            _ => Tone::Bad,
        };
        let leads = match (&self.primary, self.primary_for_seconds) {
            (None, _) => None,
            (Some(primary), Some(since)) => Some(format!("primary {primary} for {}", age(since))),
            (Some(primary), None) => Some(format!("primary {primary}")),
        };
        let timeline = self
            .timeline
            .filter(|_| self.primary.is_some())
            .map(|timeline| format!(" (timeline {timeline})"));
        let failover = self.failover.as_ref().map(|mode| match self.paused {
            true => format!("failover {mode}, {}", screen.paint(Tone::Warn, "paused")),
            false => format!("failover {mode}"),
        });
        let parts = [
            Some(screen.paint(Tone::Bold, &clean(&self.cluster))),
            Some(screen.paint(tone, &self.verdict.replace('_', " "))),
            leads.map(|leads| leads + &timeline.unwrap_or_default()),
            failover,
            self.store.as_ref().map(|store| format!("{} {}/{}", store.kind, store.reachable, store.members)),
            self.proxies.map(|proxies| format!("proxies {proxies}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("   ")
    }

    /// What concerns more than one node.
    fn footer(&self, screen: &Screen) -> String {
        let of_nodes: Vec<String> = self
            .nodes
            .iter()
            .flat_map(|node| node.warnings.iter().map(|own| format!("{}: {own}", node.name)))
            .collect();
        let mut lines: Vec<String> = Vec::new();
        let general = self.warnings.iter().filter(|warning| !of_nodes.contains(warning));
        lines.extend(general.map(|warning| screen.paint(Tone::Warn, &format!("! {}", clean(warning)))));
        lines.extend(self.operation.iter().map(|operation| format!("under way: {}", clean(operation))));
        lines.extend(self.scheduled.iter().map(|scheduled| {
            let to = scheduled.to.as_deref().unwrap_or("the best standby");
            let by = scheduled.by.as_ref().map(|by| format!(", asked for by {by}")).unwrap_or_default();
            let undo = "   (bellwether switchover --cancel takes it back)";
            format!("scheduled: switchover to {} at {}{}{undo}", clean(to), when(&scheduled.at), clean(&by))
        }));
        match lines.is_empty() {
            true => String::new(),
            false => format!("\n{}\n", lines.join("\n")),
        }
    }
}

impl Node {
    fn role_cell(&self) -> Cell {
        match self.role.as_deref() {
            Some("standby") if self.synchronous => "sync standby".into(),
            Some(role) => role.into(),
            None => Cell::toned("unknown", Tone::Bad),
        }
    }

    /// How far it is behind, in bytes and, where it is behind, in time.
    pub(super) fn lag(&self) -> String {
        match (self.lag_bytes, self.lag_seconds) {
            (Some(0), _) => bytes(0),
            (Some(lag), Some(time)) => format!("{} / {}", bytes(lag), age(time)),
            (Some(lag), None) => bytes(lag),
            (None, Some(time)) => age(time),
            (None, None) => "-".to_owned(),
        }
    }

    fn note(&self) -> Cell {
        let reads = self.no_reads_because.as_ref().filter(|_| self.role.as_deref() == Some("standby"));
        match (self.warnings.as_slice(), reads) {
            ([], _) if self.drained => Cell::toned("drained", Tone::Warn),
            ([], Some(why)) if !self.serves_reads => format!("no reads: {why}").into(),
            ([], _) => "".into(),
            (warnings, _) => Cell::toned(format!("! {}", warnings.join("; ")), Tone::Warn),
        }
    }
}
