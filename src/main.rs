//! The `bellwether` program: reads its arguments, builds the shells and hands them over.

mod data_plane;
mod leadership;
mod leading;
mod observing;
mod probe_connector;
mod rejoining;
mod serve;
mod service_manager;
mod signals;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bellwether::cli::args::{self, Command, DemoArgs, SourceArgs};
use bellwether::cli::exit;
use bellwether::config::{self, LogFormat};
use bellwether::telemetry::logging;
use bellwether::{cli, lab};

/// Clients come and go by the thousand: what they held goes back to the system, which the C library's allocator keeps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often memory that nobody uses is given back.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Gives memory that nobody uses back to the system. The allocator does so a second after it came free, but only when it
/// is asked for more or given some: of workers that have nothing left to do it is not.
async fn give_memory_back() {
    loop {
        tokio::time::sleep(GIVE_BACK).await;
        // SAFETY: may be called at any time, from any thread; what is in use is not touched.
        unsafe { libmimalloc_sys::mi_collect(false) }
    }
}

fn main() -> ExitCode {
    let env = environment();
    let cli = match args::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    match cli.command {
        Command::Operator(verb) => ExitCode::from(cli::operate(verb, env)),
        Command::Proxy(args) => proxy(args.sources, env),
        Command::Rejoin(args) => ExitCode::from(rejoining::rejoin(args, env)),
        Command::Config(command) => match cli::config::run(command, env) {
            Ok(text) => print(&text),
            Err(problems) => fail(exit::USAGE, &problems),
        },
        Command::Demo(args) => demo(args),
    }
}

fn proxy(args: SourceArgs, env: BTreeMap<String, String>) -> ExitCode {
    let sources = match cli::config::sources(args, env) {
        Ok(sources) => sources,
        Err(problems) => return fail(exit::USAGE, &problems),
    };
    let loaded = match config::load(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(exit::USAGE, &problems),
    };
    let format = match loaded.config.log.format {
        LogFormat::Auto => logging::Format::Auto,
        LogFormat::Text => logging::Format::Text,
        LogFormat::Json => logging::Format::Json,
    };
    let level = match logging::init(format, &loaded.config.log.level) {
        Ok(level) => level,
        Err(error) => return fail(exit::USAGE, &format!("error: {error}")),
    };
    // For everything but clients, which have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit::FAILED, &format!("error: no threads to work with\ncause: {error}")),
    };
    let running = serve::Running { sources, loaded, level };
    runtime.spawn(give_memory_back());
    let code = match runtime.block_on(serve::serve(running)) {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) if error.is_configuration() => fail(exit::USAGE, &error),
        Err(error) => fail(exit::FAILED, &error),
    };
    // Whoever still sits in a blocking call, such as a name lookup, does not hold the process up.
    runtime.shutdown_background();
    code
}

fn demo(args: DemoArgs) -> ExitCode {
    let DemoArgs { nodes, port, data, conf, keep, json, exit_after, script } = args;
    let nodes = usize::from(nodes);
    lab::demo::run(lab::demo::Options { nodes, port, data, conf, keep, json, exit_after, script })
}

/// The environment, without variables that are not text.
fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn print(text: &str) -> ExitCode {
    // A reader that has seen enough, such as `head`, is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(exit::DONE)
}

fn fail(code: u8, error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(code)
}
