//! Carries out a script, step by step, until it ends or something fails.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::Error;
use super::super::script::{Action, Figure, Relation, Step, Whom};
use super::ending::Reason;
use super::output::Output;
use super::stage::Stage;

/// How far the script came.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Steps carried out, the failed one included.
    pub(super) statements: usize,
    /// Assertions that held.
    pub(super) passed: usize,
    /// Assertions that did not.
    pub(super) failed: usize,
    /// What went wrong, with the line.
    pub(super) error: Option<String>,
}

/// Runs the steps and ends the demo after the last one, or after the first that fails.
pub(super) fn perform(steps: &[Step], stage: &Stage<'_>) -> Tally {
    let (output, ending) = (stage.output, stage.ending);
    let mut tally = Tally::default();
    for step in steps {
        let began = Instant::now();
        let result = carry_out(stage, &step.action);
        if let Some(cut) = ending.reason() {
            tally.error = Some(format!("script line {}: cut short ({})", step.line, cut.text()));
            return tally;
        }
        tally.count(&step.action, result.is_ok());
        tell(output, step, &result, began.elapsed());
        if let Err(message) = result {
            tally.error = Some(format!("script line {}: {message}", step.line));
            ending.end(Reason::ScriptFailed);
            return tally;
        }
    }
    ending.end(Reason::ScriptDone);
    tally
}

impl Tally {
    fn count(&mut self, action: &Action, held: bool) {
        self.statements += 1;
        if is_assertion(action) {
            if held { self.passed += 1 } else { self.failed += 1 }
        }
    }
}

fn is_assertion(action: &Action) -> bool {
    matches!(action, Action::Assert { .. } | Action::AssertFigure { .. })
}

/// Does one step; returns what there is to show, or what went wrong.
fn carry_out(stage: &Stage<'_>, action: &Action) -> Result<String, String> {
    let text = |error: Error| error.to_string();
    let cluster = stage.cluster;
    match action {
        Action::Sql(sql) => return settled(stage, cluster.sql_at(stage.endpoint(), sql).map_err(text)),
        Action::Psql(file) => return settled(stage, cluster.file_at(stage.endpoint(), file).map_err(text)),
        Action::Assert { sql, expected } => return check(stage, sql, expected),
        Action::AssertFigure { figure, relation, limit } => {
            return check_figure(stage, *figure, *relation, *limit);
        }
        Action::WaitReady => stage.wait_ready(),
        Action::WaitWritable(limit) => stage.wait_writable(*limit),
        Action::Sleep(duration) => {
            stage.ending.wait(*duration);
            Ok(())
        }
        Action::PauseReplay(node) => cluster.pause_replay(node).map_err(text),
        Action::ResumeReplay(node) => cluster.resume_replay(node).map_err(text),
        Action::Stop(whom) => stage.name(whom).and_then(|node| stage.stop(&node).map_err(text)),
        Action::Kill(whom) => stage.name(whom).and_then(|node| stage.kill(&node).map_err(text)),
        Action::Freeze(whom) => stage.name(whom).and_then(|node| cluster.freeze(&node).map_err(text)),
        Action::Thaw(node) => cluster.thaw(node).map_err(text),
        Action::Start(node) => stage.rejoin(node),
        Action::StopEtcd => stage.stop_etcd(),
        Action::StartEtcd => stage.start_etcd(),
        Action::Switchover(to) => stage.switchover(to.as_deref()),
        Action::Promote(node) => stage.promote(node),
        Action::Workload(clients) => stage.work(*clients),
    }
    .map(|()| String::new())
}

/// Every step is a session of its own, and what one wrote the next shall see, also on a standby: waits for the standbys
/// that replay at all.
fn settled(stage: &Stage<'_>, result: Result<String, String>) -> Result<String, String> {
    let text = result?;
    if stage.primary().is_some_and(|primary| stage.cluster.is_running(&primary)) {
        stage.cluster.wait_replayed().map_err(|error| error.to_string())?;
    }
    Ok(text)
}

fn check(stage: &Stage<'_>, sql: &str, expected: &str) -> Result<String, String> {
    let asserted = format!("assert {sql:?} = {expected}");
    let got = stage.cluster.sql_at(stage.endpoint(), sql).map_err(|error| format!("{asserted}: {error}"))?;
    if same(&got, expected) { Ok(got) } else { Err(format!("{asserted}: got {got:?}")) }
}

fn check_figure(stage: &Stage<'_>, figure: Figure, relation: Relation, limit: u64) -> Result<String, String> {
    let asserted = shown(figure, relation, limit);
    let got = stage.figure(figure).map_err(|error| format!("{asserted}: {error}"))?;
    let unit = unit(figure);
    if relation.holds(got, limit) {
        Ok(got.to_string())
    } else {
        Err(format!("{asserted}: it is {got}{unit}"))
    }
}

fn shown(figure: Figure, relation: Relation, limit: u64) -> String {
    format!("assert {} {} {limit}{}", figure.name(), relation.sign(), unit(figure))
}

fn unit(figure: Figure) -> &'static str {
    if figure == Figure::Pause { "ms" } else { "" }
}

/// psql prints booleans as `t` and `f`.
fn same(got: &str, expected: &str) -> bool {
    got == expected || matches!((got, expected), ("t", "true") | ("f", "false"))
}

fn tell(output: &Output, step: &Step, result: &Result<String, String>, took: Duration) {
    let shown = show(&step.action);
    let (line, seconds) = (step.line, super::round(took));
    match result {
        Ok(rows) => {
            output.text(&format!("  {line:>3}  {shown}  {seconds} s"));
            for row in rows.lines().filter(|_| !is_assertion(&step.action)) {
                output.text(&format!("         {row}"));
            }
        }
        Err(message) => output.text(&format!("  {line:>3}  {shown}  FAILED: {message}")),
    }
    output.json(|| {
        let (text, error) = (result.as_ref().ok(), result.as_ref().err());
        json!({"event": "step", "line": line, "statement": shown, "ok": error.is_none(), "output": text,
               "error": error, "seconds": seconds})
    });
}

fn show(action: &Action) -> String {
    match action {
        Action::WaitReady => "wait ready".to_owned(),
        Action::Sql(sql) => format!("sql {sql:?}"),
        Action::Psql(file) => format!("psql {}", file.display()),
        Action::PauseReplay(node) => format!("pause replay {node}"),
        Action::ResumeReplay(node) => format!("resume replay {node}"),
        Action::WaitWritable(limit) => format!("wait writable {limit:?}"),
        Action::Stop(whom) => format!("stop {}", called(whom)),
        Action::Kill(whom) => format!("kill {}", called(whom)),
        Action::Freeze(whom) => format!("freeze {}", called(whom)),
        Action::Thaw(node) => format!("thaw {node}"),
        Action::StopEtcd => "stop etcd".to_owned(),
        Action::StartEtcd => "start etcd".to_owned(),
        Action::Switchover(None) => "switchover".to_owned(),
        Action::Switchover(Some(to)) => format!("switchover {to}"),
        Action::Workload(clients) => format!("workload {clients}"),
        Action::AssertFigure { figure, relation, limit } => shown(*figure, *relation, *limit),
        Action::Start(node) => format!("start {node}"),
        Action::Promote(node) => format!("promote {node}"),
        Action::Assert { sql, expected } => format!("assert {sql:?} = {expected}"),
        Action::Sleep(duration) => format!("sleep {duration:?}"),
    }
}

fn called(whom: &Whom) -> &str {
    match whom {
        Whom::Primary => "primary",
        Whom::Node(name) => name,
    }
}
