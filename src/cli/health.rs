//! `bellwether health`: silent, 0 or 1, for the HEALTHCHECK of a container.

use super::context::Context;
use super::exit;

/// Runs the verb: 0 when a query could be served now.
pub async fn run(context: &Context<'_>) -> u8 {
    match context.client.get("/readyz").await {
        Ok(reply) if reply.status == 200 => exit::DONE,
        _ => exit::FAILED,
    }
}
