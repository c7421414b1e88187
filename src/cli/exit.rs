//! Exit codes: what a script learns of how it went.

/// Done.
pub const DONE: u8 = 0;
/// Failed.
pub const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// Something needs looking into (`status --check`).
pub const DEGRADED: u8 = 3;
/// There is no primary.
pub const NO_PRIMARY: u8 = 4;
/// A safety rule forbids it.
pub const REFUSED: u8 = 5;
/// The API, or etcd behind it, cannot be reached.
pub const UNREACHABLE: u8 = 6;
/// It was begun, and how it ended is not known.
pub const UNKNOWN: u8 = 7;
/// Ended by Ctrl-C; what a shell reports for that signal.
pub const INTERRUPTED: u8 = 130;

/// The same for people, at the end of `--help`.
pub const HELP: &str = "Exit codes:
    0  done
    1  failed
    2  the command line or the configuration is wrong
    3  degraded: something needs looking into (status --check)
    4  there is no primary
    5  refused by a safety rule
    6  the API, or etcd behind it, cannot be reached
    7  timed out, or the outcome is not known; what is printed says how to find out
  130  interrupted";

/// Returns the code for how a wish ended, in the API's word for it.
pub fn of_outcome(outcome: &str) -> u8 {
    match outcome {
        "done" | "accepted" => DONE,
        "failed" => FAILED,
        "invalid" | "not_found" | "unsupported" => USAGE,
        "no_primary" => NO_PRIMARY,
        "refused" | "stale" => REFUSED,
        "unreachable" => UNREACHABLE,
        // "unknown", and whatever a proxy newer than this program says.
        _ => UNKNOWN,
    }
}
