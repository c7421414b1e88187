//! Runs the program.

use std::process::{Command, Output};

/// The program under test.
pub const BELLWETHER: &str = env!("CARGO_BIN_EXE_bellwether");

/// Runs the program with nothing but these variables in its environment.
pub fn bellwether(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BELLWETHER);
    command.args(arguments).env_clear().envs(env.iter().copied());
    command.output().expect("the program was built with this test")
}

/// What it wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
