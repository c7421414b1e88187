//! `bellwether preflight` and `bellwether adopt`: what is missing before these servers are led, and leading them.

use serde_json::json;

use super::args::AdoptArgs;
use super::context::Context;
use super::failure::Failure;
use super::switchover::planned;
use super::wish;

/// Runs `preflight`.
///
/// # Errors
/// It was not taken up, or its outcome is not known.
pub async fn preflight(context: &Context<'_>) -> Result<u8, Failure> {
    wish::carry_out(context, "/api/v1/preflight", json!({})).await
}

/// Runs `adopt`. What the dry run looks at is shown before the question.
///
/// # Errors
/// It was not taken up, or its outcome is not known.
pub async fn adopt(context: &Context<'_>, args: AdoptArgs) -> Result<u8, Failure> {
    let body = json!({"reason": args.wish.reason});
    planned(context, "/api/v1/adopt", body, args.dry_run, args.wish.yes).await
}
