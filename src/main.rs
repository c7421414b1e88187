//! The `bellwether` program: reads its arguments and hands over.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;

use bellwether::cli::args::{Cli, Command, EXIT_DONE, EXIT_FAILED, EXIT_USAGE};
use bellwether::cli::config::run;

fn main() -> ExitCode {
    let env = environment();
    match Cli::parse().command {
        Command::Config(command) => match run(command, env) {
            Ok(text) => print(&text),
            Err(problems) => fail(EXIT_USAGE, &problems),
        },
        _ => ExitCode::from(EXIT_FAILED),
    }
}

/// The environment, without variables that are not text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn print(text: &str) -> ExitCode {
    use std::io::Write;
    // A reader that has seen enough, such as `head`, is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(EXIT_DONE)
}

fn fail(code: u8, error: &dyn Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(code)
}
