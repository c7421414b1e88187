//! Runs a verb of an operator to its exit code, or until Ctrl-C.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::json;

use super::args::{NodeCommand, OutputArgs, QuestionArgs, Verb};
use super::context::Context;
use super::exit;
use super::failure::Failure;
use super::render::say_aside;
use super::{
    adopt, explain, failover, health, history, node, setup_role, status, switchover, topology, wish,
};

/// Runs `verb` and returns its exit code; what went wrong is on standard error then.
pub fn operate(verb: Verb, env: BTreeMap<String, String>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say_aside(&format!("error: cannot wait for answers\ncause: {error}\n"));
            return exit::FAILED;
        }
    };
    let under_way = Cell::new(false);
    let code = runtime.block_on(async {
        tokio::select! {
            ended = run(verb, env, &under_way) => ended.unwrap_or_else(|failure| {
                say_aside(&format!("{failure}\n"));
                failure.code
            }),
            _ = tokio::signal::ctrl_c() => {
                say_aside(if under_way.get() { INTERRUPTED } else { "\n" });
                exit::INTERRUPTED
            }
        }
    });
    // A thread that waits for an answer on the terminal does not hold the process up.
    runtime.shutdown_background();
    code
}

const INTERRUPTED: &str = "\ninterrupted: what was asked for goes on without us\n\
                           hint: bellwether status shows how it goes, bellwether history how it ended\n";

async fn run(verb: Verb, env: BTreeMap<String, String>, under_way: &Cell<bool>) -> Result<u8, Failure> {
    let of = |asking: &QuestionArgs| Context::new(asking, env.clone(), under_way);
    match verb {
        Verb::Status(args) => status::run(&of(&args.asking)?, args).await,
        Verb::Topology(asking) => topology::run(&of(&asking)?).await,
        Verb::Switchover(args) => switchover::run(&of(&args.wish.asking)?, args).await,
        Verb::Failover(args) => failover::run(&of(&args.wish.asking)?, args).await,
        Verb::Pause(args) => {
            wish::carry_out(&of(&args.asking)?, "/api/v1/pause", json!({"reason": args.reason})).await
        }
        Verb::Resume(args) => {
            wish::carry_out(&of(&args.asking)?, "/api/v1/resume", json!({"reason": args.reason})).await
        }
        Verb::History(asking) => history::run(&of(&asking)?).await,
        Verb::Explain(args) => explain::run(&of(&args.asking)?, args).await,
        Verb::Node(command) => node::run(&of(asking(&command))?, command).await,
        Verb::Preflight(asking) => adopt::preflight(&of(&asking)?).await,
        Verb::Adopt(args) => adopt::adopt(&of(&args.wish.asking)?, args).await,
        Verb::SetupRole(args) => setup_role::run(&args),
        Verb::Health(args) => {
            let context = Context::of(&args.api, OutputArgs::default(), env.clone(), under_way);
            // A container's health is 0 or 1, and nothing else.
            let context = context.map_err(|failure| failure.with_code(exit::FAILED))?;
            Ok(health::run(&context).await)
        }
    }
}

fn asking(command: &NodeCommand) -> &QuestionArgs {
    match command {
        NodeCommand::Show { asking, .. } => asking,
        NodeCommand::Drain { wish, .. }
        | NodeCommand::Undrain { wish, .. }
        | NodeCommand::Add { wish, .. }
        | NodeCommand::Remove { wish, .. }
        | NodeCommand::Set { wish, .. } => &wish.asking,
    }
}
