//! The table of results, and the page that keeps it.

use std::fmt::Write;
use std::path::Path;

use crate::driver::Driver;
use crate::outcome::{CHECKS, Outcome, Verdict};

/// One row a driver, one column a check, and under it why a driver lacks what it lacks.
pub fn markdown(outcomes: &[(&Driver, Outcome)]) -> String {
    let mut text = String::from("| |");
    for (check, _) in CHECKS {
        let _ = write!(text, " {check} |");
    }
    text += " on standbys |\n|---|";
    text += &"---|".repeat(CHECKS.len() + 1);
    text.push('\n');
    let mut lacks = String::new();
    for (driver, outcome) in outcomes {
        let _ = write!(text, "| {} |", driver.name);
        for (check, _) in CHECKS {
            let cell = match outcome.verdict(check) {
                Verdict::Same => "ok",
                Verdict::NotApplicable(why) => {
                    let _ = writeln!(lacks, "- {}, {check}: {why}", driver.name);
                    "n/a"
                }
                Verdict::Differs(_) => "**differs**",
                Verdict::FailsDirectly(_) => "**fails directly**",
            };
            let _ = write!(text, " {cell} |");
        }
        let _ = writeln!(text, " {} |", outcome.on_standbys);
    }
    if !lacks.is_empty() {
        let _ = write!(text, "\nNot applicable:\n\n{lacks}");
    }
    text += "\n| | version |\n|---|---|\n";
    for (driver, outcome) in outcomes {
        let _ = writeln!(text, "| {} | {} |", driver.name, outcome.version());
    }
    text
}

/// Writes `docs/drivers.md`.
pub fn keep(table: &str, when: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let mut text =
        format!("{HEAD}\nRun on {when}, Bellwether {version}.\n\n{table}\n| | check |\n|---|---|\n");
    for (check, what) in CHECKS {
        let _ = writeln!(text, "| {check} | {what} |");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/drivers.md");
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

const HEAD: &str = "# Drivers

<!-- Written by ./dev drivers. -->

Each driver runs the same checks directly against PostgreSQL and through the endpoint, with SCRAM over TLS and default settings:
reads outside of transactions go to two standbys. *ok* says that both runs saw the same, SQLSTATEs and shapes of rows included,
and *n/a* that the driver has no call for it. The last column counts what ran on standbys: a read goes with the write that it
was sent right behind, without waiting for the answer (postgres.js), and to the primary as long as the catalog is not read yet.

`./dev drivers` repeats it, `./dev drivers pgx sqlx` some of it. The programs are in `tests/drivers`.
Without names it also has the pools of SQLAlchemy (looks at a connection before it lends it), Django (persistent connections with
health checks) and asyncpg (resets what comes back) at work while the lead moves, when no call may fail, and while the primary
is killed, when only a transaction under way may, with 40001 or, at its COMMIT, 08007.
";
