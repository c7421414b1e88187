//! Runs promtool, which comes with Prometheus.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs promtool with these arguments and this input; what it says when it is not content fails the test.
pub fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error}\n{}", INSTALL));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("promtool reads its input");
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("promtool ends");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "promtool {}: {status}\n{said}", arguments.join(" "));
    said
}

/// What to do when it is missing.
pub const INSTALL: &str = "Run ./dev setup, or: apt-get install prometheus";
