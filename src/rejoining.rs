//! `bellwether rejoin`: hands what was typed to the agent, and shows what it does.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether::agent::{Kind, Order, Rejoin, Trouble};
use bellwether::cli::args::RejoinArgs;
use bellwether::cli::failure::Failure;
use bellwether::cli::local::{self, Local};
use bellwether::pg::ConnInfo;

/// How long a server may take to stop, to start, and to catch up, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the verb and returns its exit code.
pub fn rejoin(args: RejoinArgs, env: BTreeMap<String, String>) -> u8 {
    let mut shown = Local::new(args.asking.output, &env);
    let order = match order(&args, env) {
        Ok(order) => order,
        Err(failure) => return shown.failed(&failure),
    };
    let rejoin = match Rejoin::plan(order) {
        Ok(rejoin) => rejoin,
        Err(trouble) => return ended(shown, Err(trouble)),
    };
    if args.dry_run {
        return shown.dry_run(&rejoin.steps());
    }
    if let Err(failure) = shown.confirm(args.yes, &rejoin.steps()) {
        return shown.failed(&failure);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(shown, Err(unstarted(&error))),
    };
    let (shown, result) = runtime.block_on(undisturbed(rejoin, shown));
    ended(shown, result)
}

/// Does the work in a thread of its own: Ctrl-C in the midst of a rewind would spoil the data.
async fn undisturbed(rejoin: Rejoin, mut shown: Local) -> (Local, Result<String, Trouble>) {
    let mut work = tokio::task::spawn_blocking(move || {
        let result = rejoin.carry_out(&mut |what, note| shown.step(what, note));
        (shown, result)
    });
    loop {
        tokio::select! {
            done = &mut work => return done.expect("the work does not panic"),
            _ = tokio::signal::ctrl_c() => eprintln!("this is not safe to interrupt, and goes on to its end"),
        }
    }
}

fn order(args: &RejoinArgs, env: BTreeMap<String, String>) -> Result<Order, Failure> {
    let password = env.get("PGPASSWORD").cloned();
    let primary = match &args.primary {
        Some(text) => {
            text.parse::<ConnInfo>().map_err(|error| Failure::usage(format!("--primary: {error}")))?
        }
        None => local::primary(&args.asking, env)?,
    };
    Ok(Order {
        node: args.node.clone(),
        data: args.data.clone(),
        primary,
        password,
        programs: args.bin.clone(),
        clone: args.clone,
        start: !args.no_start,
        patience: args.asking.api.timeout.unwrap_or(PATIENCE),
    })
}

fn ended(shown: Local, result: Result<String, Trouble>) -> u8 {
    let trouble = match result {
        Ok(message) => return shown.end("done", &message, None, None),
        Err(trouble) => trouble,
    };
    let outcome = match trouble.kind {
        Kind::Usage => "invalid",
        Kind::Failed => "failed",
        Kind::NoPrimary => "no_primary",
        Kind::Refused => "refused",
        Kind::Unreachable => "unreachable",
        Kind::Unknown => "unknown",
    };
    shown.end(outcome, &trouble.message, trouble.cause, trouble.hint)
}

fn unstarted(error: &std::io::Error) -> Trouble {
    let cause = Some(error.to_string());
    Trouble { kind: Kind::Failed, message: "no thread to work in".to_owned(), cause, hint: None }
}
