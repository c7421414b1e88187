//! Carries out a script, step by step, until it ends or something fails.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::proxy_process::is_ready;
use super::super::script::{Action, Step};
use super::super::{Cluster, Shutdown};
use super::ending::{Ending, Reason};
use super::output::Output;

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
pub(super) fn perform(
    steps: &[Step],
    cluster: &Cluster,
    endpoint: &str,
    http_port: u16,
    output: &Output,
    ending: &Ending,
) -> Tally {
    let stage = Stage { cluster, endpoint, http_port, ending };
    let mut tally = Tally::default();
    for step in steps {
        let began = Instant::now();
        let result = stage.carry_out(&step.action);
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
        if matches!(action, Action::Assert { .. }) {
            if held { self.passed += 1 } else { self.failed += 1 }
        }
    }
}

/// What a script acts on.
struct Stage<'a> {
    cluster: &'a Cluster,
    endpoint: &'a str,
    http_port: u16,
    ending: &'a Ending,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// Does one step; returns what there is to show, or what went wrong.
    fn carry_out(&self, action: &Action) -> Result<String, String> {
        let cluster = self.cluster;
        let done = match action {
            Action::WaitReady => return self.wait_ready(),
            Action::Sql(sql) => {
                return self.settled(cluster.sql_at(self.endpoint, sql).map_err(|error| error.to_string()));
            }
            Action::Psql(file) => {
                return self.settled(cluster.file_at(self.endpoint, file).map_err(|error| error.to_string()));
            }
            Action::Assert { sql, expected } => return self.check(sql, expected),
            Action::Sleep(duration) => {
                self.ending.wait(*duration);
                Ok(())
            }
            Action::PauseReplay(node) => cluster.pause_replay(node),
            Action::ResumeReplay(node) => cluster.resume_replay(node),
            Action::Stop(node) => cluster.stop(node, Shutdown::Fast),
            Action::Start(node) => cluster.rejoin(node),
            Action::Promote(node) if *node != cluster.primary() && cluster.is_running(&cluster.primary()) => {
                cluster.switchover(node)
            }
            Action::Promote(node) => cluster.fail_over(node),
        };
        done.map(|()| String::new()).map_err(|error| error.to_string())
    }

    fn wait_ready(&self) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        self.cluster.wait_streaming().map_err(|error| error.to_string())?;
        while let Err(seen) = is_ready(self.cluster, self.endpoint, self.http_port) {
            if Instant::now() > deadline || self.ending.wait(Duration::from_millis(20)).is_some() {
                return Err(format!("not ready within {} s: {seen}", PATIENCE.as_secs()));
            }
        }
        Ok(String::new())
    }

    /// Every step is a session of its own, and what one wrote the next shall see, also on a standby: waits for
    /// the standbys that replay at all.
    fn settled(&self, result: Result<String, String>) -> Result<String, String> {
        let text = result?;
        if self.cluster.is_running(&self.cluster.primary()) {
            self.cluster.wait_replayed().map_err(|error| error.to_string())?;
        }
        Ok(text)
    }

    fn check(&self, sql: &str, expected: &str) -> Result<String, String> {
        let asserted = format!("assert {sql:?} = {expected}");
        let got = self.cluster.sql_at(self.endpoint, sql).map_err(|error| format!("{asserted}: {error}"))?;
        if same(&got, expected) { Ok(got) } else { Err(format!("{asserted}: got {got:?}")) }
    }
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
            for row in rows.lines().filter(|_| !matches!(step.action, Action::Assert { .. })) {
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
        Action::Stop(node) => format!("stop {node}"),
        Action::Start(node) => format!("start {node}"),
        Action::Promote(node) => format!("promote {node}"),
        Action::Assert { sql, expected } => format!("assert {sql:?} = {expected}"),
        Action::Sleep(duration) => format!("sleep {duration:?}"),
    }
}
