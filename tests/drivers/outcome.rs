//! What a driver's program told, directly and through the endpoint, and what that comes to.
//!
//! A program prints one line a check, `name<TAB>ok|fail|n/a<TAB>what it saw`, and before them one named `version`. What
//! it saw is the same at every run: errors by SQLSTATE, shapes of rows. So a difference is the endpoint's.

use std::collections::BTreeMap;
use std::time::Duration;

/// The checks that every program makes, or says why it cannot.
pub const CHECKS: &[(&str, &str)] = &[
    ("login", "SCRAM over TLS with a verified certificate; a wrong password is refused"),
    ("simple", "a statement of the simple protocol, or without parameters where the driver has no such call"),
    ("parameters", "an integer, a text with quotes and NULL as parameters"),
    ("named", "a prepared statement run 50 times"),
    ("transaction", "BEGIN, two INSERTs, COMMIT"),
    ("rollback", "an error in a transaction, the refusal of what follows, ROLLBACK"),
    ("savepoint", "a duplicate key after a savepoint, ROLLBACK TO, COMMIT"),
    ("copy in", "1,000 rows by COPY FROM STDIN"),
    ("copy out", "the same by COPY TO STDOUT"),
    ("cursor", "1,000 rows in portions of 100"),
    ("cancel", "a running statement is cancelled; the connection goes on"),
    ("notify", "LISTEN on one connection, NOTIFY on another"),
    ("big row", "a text of 8 MiB to the server and back"),
    ("own writes", "100 times an INSERT and a count of the rows, outside of a transaction"),
    (
        "altered",
        "a statement prepared ten executions ago, after another connection has added a column to its table",
    ),
];

/// What one run told.
pub struct Run {
    checks: BTreeMap<String, Told>,
    /// What it printed besides, and how it ended when that was not well.
    rest: String,
    took: Duration,
}

#[derive(Clone, PartialEq)]
enum Told {
    Ok(String),
    NotApplicable(String),
    Fail(String),
}

impl Run {
    /// Reads what was printed; `status` says how the program ended.
    pub fn read(printed: &str, status: &str, took: Duration) -> Run {
        let (mut checks, mut rest) = (BTreeMap::new(), String::new());
        for line in printed.lines() {
            let mut columns = line.splitn(3, '\t');
            let (name, told, saw) = (columns.next(), columns.next(), columns.next().unwrap_or_default());
            let told = match told {
                Some("ok") => Told::Ok(saw.to_owned()),
                Some("n/a") => Told::NotApplicable(saw.to_owned()),
                Some("fail") => Told::Fail(saw.to_owned()),
                _ => {
                    rest += &format!("{line}\n");
                    continue;
                }
            };
            checks.insert(name.unwrap_or_default().to_owned(), told);
        }
        if status != "exit status: 0" {
            rest += status;
        }
        Run { checks, rest, took }
    }

    /// What there is in place of results, if not a single check was told of.
    fn silence(&self) -> Option<String> {
        self.checks.is_empty().then(|| excerpt(&self.rest))
    }

    fn told(&self, check: &str) -> Told {
        let nothing = || Told::Fail(format!("nothing was told; {}", excerpt(&self.rest)));
        self.checks.get(check).cloned().unwrap_or_else(nothing)
    }
}

/// Both runs of one driver.
pub struct Outcome {
    direct: Run,
    through: Run,
    /// Statements of the second run that ran on standbys.
    pub on_standbys: u64,
}

/// What a check came to.
pub enum Verdict {
    /// The same, directly and through the endpoint.
    Same,
    /// The driver has no call for it, and says so.
    NotApplicable(String),
    /// It fails directly already: the program is wrong.
    FailsDirectly(String),
    /// It passes directly, and something else is seen through the endpoint.
    Differs(String),
}

impl Outcome {
    pub fn of(direct: Run, through: Run, on_standbys: u64) -> Outcome {
        Outcome { direct, through, on_standbys }
    }

    /// Driver and language with their versions.
    pub fn version(&self) -> String {
        match self.direct.told("version") {
            Told::Ok(version) => version,
            Told::NotApplicable(told) | Told::Fail(told) => format!("unknown: {told}"),
        }
    }

    pub fn verdict(&self, check: &str) -> Verdict {
        match (self.direct.told(check), self.through.told(check)) {
            (Told::Fail(saw), _) => Verdict::FailsDirectly(saw),
            (Told::NotApplicable(why), Told::NotApplicable(again)) if why == again => {
                Verdict::NotApplicable(why)
            }
            (direct, through) if direct == through => Verdict::Same,
            (Told::Ok(direct) | Told::NotApplicable(direct), through) => {
                let (Told::Ok(saw) | Told::NotApplicable(saw) | Told::Fail(saw)) = through;
                Verdict::Differs(format!("directly {direct:?}, through the endpoint {saw:?}"))
            }
        }
    }

    /// One line while the runs go on.
    pub fn summary(&self) -> String {
        let mut counts = [0; 4];
        for (check, _) in CHECKS {
            counts[match self.verdict(check) {
                Verdict::Same => 0,
                Verdict::NotApplicable(_) => 1,
                Verdict::Differs(_) => 2,
                Verdict::FailsDirectly(_) => 3,
            }] += 1;
        }
        let [ok, not_applicable, differ, fail] = counts;
        let (direct, through) = (self.direct.took.as_secs_f32(), self.through.took.as_secs_f32());
        format!(
            "{ok} ok, {not_applicable} n/a, {differ} differ, {fail} fail directly; {direct:.1} s directly, {through:.1} s \
             through the endpoint"
        )
    }

    /// What must not be, one line each.
    pub fn complaints(&self, driver: &str) -> Vec<String> {
        if let Some(end) = self.direct.silence().or(self.through.silence()) {
            return vec![format!("{driver}: {end}")];
        }
        let checks = CHECKS.iter().filter_map(|(check, _)| match self.verdict(check) {
            Verdict::Same | Verdict::NotApplicable(_) => None,
            Verdict::Differs(how) => Some(format!("{driver}: {check} differs: {how}")),
            Verdict::FailsDirectly(how) => Some(format!("{driver}: {check} fails directly: {how}")),
        });
        let idle = (self.on_standbys == 0).then(|| format!("{driver}: no statement of its ran on a standby"));
        checks.chain(idle).collect()
    }
}

/// The beginning of a long text, in one line.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(400).collect()
}
