//! What the demo says at its end: what the clients were told, against what is there.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use super::ending::{Ending, Reason};
use super::output::Output;
use super::perform::Tally;
use super::{Failure, Outcome, round};
use crate::lab::workload::Report;

/// Prints the last words, and returns the exit code.
pub(super) fn report(
    output: &Output,
    ending: &Ending,
    began: Instant,
    outcome: &Result<Outcome, Failure>,
) -> ExitCode {
    let (tally, reason, workload) = match outcome {
        Ok(outcome) => (outcome.tally.clone(), outcome.reason, outcome.report.clone()),
        Err(_) => (Tally::default(), ending.reason().unwrap_or(Reason::NotStarted), None),
    };
    let error = match outcome {
        Err(Failure::Unprepared(text) | Failure::Broken(text)) => Some(text.clone()),
        Ok(outcome) => outcome.error(),
    };
    let code = match outcome {
        Err(Failure::Unprepared(_)) => 2,
        _ => u8::from(error.is_some()),
    };
    output.end_status();
    output.json(|| {
        json!({
            "event": "report",
            "uptime_seconds": round(began.elapsed()),
            "reason": reason.text(),
            "statements": tally.statements,
            "asserts_passed": tally.passed,
            "asserts_failed": tally.failed,
            "workload": workload.as_ref().map(workload_event),
            "error": error,
            "exit_code": code,
        })
    });
    if let Some(error) = &error {
        output.error(error);
    }
    if let Some(workload) = &workload {
        workload_lines(workload).iter().for_each(|line| output.text(line));
    }
    let steps = match tally.statements {
        0 => String::new(),
        ran => format!("; {ran} statements, {} assertions held, {} failed", tally.passed, tally.failed),
    };
    output.text(&format!("{} after {:.1} s{steps}", reason.text(), began.elapsed().as_secs_f64()));
    ExitCode::from(code)
}

impl Outcome {
    /// A script cut short is a failure, whoever cut it.
    fn error(&self) -> Option<String> {
        match self.reason {
            Reason::ProxyDied => Some("the proxy ended by itself".to_owned()),
            _ if self.tally.error.is_some() => self.tally.error.clone(),
            _ => None,
        }
    }
}

fn workload_event(report: &Report) -> Value {
    let progress = &report.progress;
    json!({
        "writes": progress.writes,
        "reads": progress.reads,
        "lost": report.lost,
        "duplicated": report.duplicated,
        "stale_reads": progress.stale,
        "errors": progress.errors,
        "unknown": report.unknown.0,
        "unknown_and_there": report.unknown.1,
        "longest_write_pause_seconds": round(progress.write_pause),
        "longest_read_pause_seconds": round(progress.read_pause),
    })
}

fn workload_lines(report: &Report) -> Vec<String> {
    let progress = &report.progress;
    let errors = told(&progress.errors);
    vec![
        format!(
            "workload: {} writes acknowledged, {} lost, {} duplicated; {} reads, {} stale",
            progress.writes, report.lost, report.duplicated, progress.reads, progress.stale
        ),
        format!(
            "  errors {errors}; longest pause {:.2} s for writes, {:.2} s for reads{}",
            progress.write_pause.as_secs_f64(),
            progress.read_pause.as_secs_f64(),
            match report.unknown {
                (0, _) => String::new(),
                (unknown, there) => format!("; {unknown} of unknown outcome, {there} of them there"),
            }
        ),
    ]
}

/// Errors by SQLSTATE, and what the frequent ones mean to whoever got them.
pub(super) fn told(errors: &BTreeMap<String, u64>) -> String {
    let meaning = |code: &str| match code {
        "08007" => " (outcome unknown)",
        "40001" => " (nothing done, run again)",
        "timeout" => " (no answer)",
        _ => "",
    };
    let each: Vec<String> =
        errors.iter().map(|(code, count)| format!("{count} x {code}{}", meaning(code))).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}
