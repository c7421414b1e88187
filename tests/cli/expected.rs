//! Output compared with files; what moves by itself is made the same first.

use std::path::{Path, PathBuf};

/// Compares with `tests/cli/expected/NAME`. With BELLWETHER_WRITE_EXPECTED set, writes the file instead.
pub fn compare(name: &str, output: &str) {
    let output = steady(output);
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/expected").join(name);
    if std::env::var_os("BELLWETHER_WRITE_EXPECTED").is_some() {
        std::fs::write(&file, &output).expect("the folder can be written to");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(output == expected, "{name} differs; expected:\n{expected}\ngot:\n{output}");
}

/// Replaces values of the keys that tell the time.
fn steady(output: &str) -> String {
    let line = |line: &str| {
        for key in ["time", "primary_since", "primary_for_seconds"] {
            for start in [format!("\"{key}\": "), format!("{key}: ")] {
                if let Some(rest) = line.trim_start().strip_prefix(&start)
                    // History has times of its own, which stand still.
                    && !rest.starts_with("\"2026-11-19")
                    && !rest.starts_with("\"2026-11-02")
                {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    let comma = if line.ends_with(',') { "," } else { "" };
                    return format!("{indent}{start}<{key}>{comma}\n");
                }
            }
        }
        format!("{line}\n")
    };
    output.lines().map(line).collect()
}
