//! `bellwether failover`: a promotion although the primary cannot agree to it.

use serde_json::json;

use super::args::{FailoverArgs, Loss};
use super::context::Context;
use super::failure::Failure;
use super::switchover::planned;

/// Runs the verb.
///
/// # Errors
/// It was not taken up, or its outcome is not known.
pub async fn run(context: &Context<'_>, args: FailoverArgs) -> Result<u8, Failure> {
    let loss = args.allow_data_loss.map(|loss| match loss {
        Loss::Any => json!(true),
        Loss::Bytes(bytes) => json!(bytes),
    });
    let body = json!({"to": args.to, "allow_data_loss": loss, "reason": args.wish.reason});
    planned(context, "/api/v1/failover", body, args.dry_run, args.wish.yes).await
}
