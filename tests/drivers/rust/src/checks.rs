//! What the programs for Rust share: one line a check, its name, ok or fail or n/a, and what it saw.

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;

/// What a check saw, or how it failed.
pub type Told = Result<String, Box<dyn Error>>;

pub const WORDS: &str = "grüße 'x' \\ \"y\"";

/// The driver has no call for this; the text says what is missing.
#[derive(Debug)]
pub struct NotApplicable(pub &'static str);

impl Error for NotApplicable {}

impl std::fmt::Display for NotApplicable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Says which driver this is.
pub fn version(driver: &str, lockfile: &str) {
    let entry = lockfile.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{driver}\"\n")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    println!("version\tok\t{driver} {}, Rust", version.unwrap_or("of an unknown version"));
}

/// Runs one check.
pub async fn check(name: &str, seen: impl Future<Output = Told>) {
    let (told, saw) = match seen.await {
        Ok(saw) => ("ok", saw),
        Err(error) if error.is::<NotApplicable>() => ("n/a", error.to_string()),
        Err(error) => ("fail", format!("{error} {error:?}")),
    };
    println!("{name}\t{told}\t{}", saw.split_whitespace().collect::<Vec<_>>().join(" "));
}

pub fn expect<T: PartialEq + Debug>(seen: T, wanted: T) -> Result<(), Box<dyn Error>> {
    if seen == wanted {
        return Ok(());
    }
    let short = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
    Err(format!("{} in place of {}", short(&seen), short(&wanted)).into())
}

/// The lines that COPY takes and gives.
pub fn lines() -> String {
    (1..=1000).map(|n| format!("{n}\tword {n}\n")).collect()
}

pub fn big() -> String {
    "0123456789abcdef".repeat(8 * 1024 * 1024 / 16)
}

/// One of libpq's environment variables.
pub fn place(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
