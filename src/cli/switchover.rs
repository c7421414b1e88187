//! `bellwether switchover`: a planned move of the primary.

use serde_json::{Value, json};

use super::args::Form;
use super::args::SwitchoverArgs;
use super::confirm::{self, Answer};
use super::context::Context;
use super::failure::Failure;
use super::render::say;
use super::wish::{self, Heard};

const PATH: &str = "/api/v1/switchover";

/// Runs the verb.
///
/// # Errors
/// It was not taken up, or its outcome is not known.
pub async fn run(context: &Context<'_>, args: SwitchoverArgs) -> Result<u8, Failure> {
    if args.cancel {
        return wish::carry_out(context, "/api/v1/switchover/cancel", json!({"reason": args.wish.reason}))
            .await;
    }
    let body = json!({"to": args.to, "at": args.at, "reason": args.wish.reason});
    planned(context, PATH, body, args.dry_run, args.wish.yes).await
}

/// Carries out what can be planned: only the plan with `dry_run`; upon the plan that was agreed to otherwise.
///
/// # Errors
/// It was not taken up, or its outcome is not known.
pub async fn planned(
    context: &Context<'_>,
    path: &str,
    mut body: Value,
    dry_run: bool,
    yes: bool,
) -> Result<u8, Failure> {
    if dry_run {
        body["dry_run"] = json!(true);
        let heard = wish::ask(context, path, body).await?;
        return Ok(tried(context, &heard));
    }
    match confirm::plan(context, yes, path, &body).await? {
        Answer::Refused(heard) => Ok(wish::finish(&context.screen, &heard)),
        Answer::Yes(term) => {
            if let Some(term) = term {
                body["term"] = json!(term);
            }
            wish::carry_out(context, path, body).await
        }
    }
}

fn tried(context: &Context<'_>, heard: &Heard) -> u8 {
    match &heard.plan {
        Some(plan) if context.screen.form == Form::Table => {
            say(&wish::plan_text(plan));
            super::exit::of_outcome(&heard.end.outcome)
        }
        _ => wish::finish(&context.screen, heard),
    }
}
