//! Asks an operator before something changes: shows the plan, and refuses where nobody can be asked.

use std::io::{IsTerminal, stdin};

use serde_json::{Value, json};

use super::context::Context;
use super::exit;
use super::failure::Failure;
use super::render::say_aside;
use super::wish::{self, Heard};

/// What came of it.
pub enum Answer {
    /// Go ahead; upon the plan of this term, where there was one.
    Yes(Option<u64>),
    /// There is nothing to ask: the proxy would not do it.
    Refused(Heard),
}

/// Shows what the change would do, by a dry run of it, and asks. With `yes` nothing is asked and nothing shown.
///
/// # Errors
/// Nobody can be asked here, or the answer is no.
pub async fn plan(context: &Context<'_>, yes: bool, path: &str, body: &Value) -> Result<Answer, Failure> {
    if yes {
        return Ok(Answer::Yes(None));
    }
    needs_terminal("--yes to go ahead, or --dry-run to see what would be done")?;
    let mut trial = body.clone();
    trial["dry_run"] = json!(true);
    let heard = wish::ask(context, path, trial).await?;
    if exit::of_outcome(&heard.end.outcome) != exit::DONE {
        return Ok(Answer::Refused(heard));
    }
    if let Some(plan) = &heard.plan {
        say_aside(&wish::plan_text(plan));
    }
    agreed("Proceed?").await?;
    Ok(Answer::Yes(heard.plan.map(|plan| plan.term)))
}

/// Asks whether to do what `sentence` says. With `yes` nothing is asked.
///
/// # Errors
/// Nobody can be asked here, or the answer is no.
pub async fn sentence(yes: bool, sentence: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    needs_terminal("--yes to go ahead")?;
    agreed(&format!("{sentence}\nProceed?")).await
}

/// Shows what will be done on this host, and asks. With `yes` nothing is asked and nothing shown.
///
/// # Errors
/// Nobody can be asked here, or the answer is no.
pub fn here(yes: bool, plan: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    needs_terminal("--yes to go ahead, or --dry-run to see what would be done")?;
    say_aside(&format!("{plan}{}", prompt("Proceed?")));
    judge(&read_line())
}

/// A script must not hang on a question, nor be taken for an answer.
fn needs_terminal(options: &str) -> Result<(), Failure> {
    if stdin().is_terminal() {
        return Ok(());
    }
    let failure = Failure::usage("this changes the cluster, and nobody can be asked here");
    Err(failure.cause("standard input is no terminal").hint(format!("add {options}")))
}

async fn agreed(question: &str) -> Result<(), Failure> {
    say_aside(&prompt(question));
    // In a thread of its own, so that Ctrl-C is seen meanwhile.
    judge(&tokio::task::spawn_blocking(read_line).await.unwrap_or_default())
}

fn prompt(question: &str) -> String {
    format!("{question} [y/N] ")
}

/// Returns what was typed; nothing at the end of the input.
fn read_line() -> String {
    let mut line = String::new();
    stdin().read_line(&mut line).map(|_| line).unwrap_or_default()
}

fn judge(line: &str) -> Result<(), Failure> {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(exit::FAILED, "nothing has been done").cause("the answer was not yes")),
    }
}
