//! The language of `bellwether demo --script`: text to steps, with line and column in every complaint.

mod scan;

use std::path::PathBuf;
use std::time::Duration;

use self::scan::{Kind, Token, tokens};

/// One statement of a script and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line in the script, from 1.
    pub line: usize,
    /// What to do.
    pub action: Action,
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `wait ready`: until all running standbys stream, the endpoint answers as the primary, and the proxy
    /// sees every server as it is, the stopped ones included.
    WaitReady,
    /// `sql "..."`: run it through the endpoint.
    Sql(String),
    /// `psql FILE`: run a file through the endpoint.
    Psql(PathBuf),
    /// `pause replay NODE`.
    PauseReplay(String),
    /// `resume replay NODE`.
    ResumeReplay(String),
    /// `stop NODE`: fast shutdown.
    Stop(Whom),
    /// `stop etcd`: all its members are killed.
    StopEtcd,
    /// `start NODE`: as a standby of the present primary, rewound if need be.
    Start(String),
    /// `start etcd`.
    StartEtcd,
    /// `kill NODE`: SIGKILL for its processes.
    Kill(Whom),
    /// `freeze NODE`: SIGSTOP for its processes.
    Freeze(Whom),
    /// `thaw NODE`: lets a frozen one go on.
    Thaw(String),
    /// `switchover [NODE]`: has the proxies move the lead.
    Switchover(Option<String>),
    /// `promote NODE`: a switchover while the primary runs, a failover when it does not.
    Promote(String),
    /// `workload N`: this many clients write and read numbered rows from now on.
    Workload(usize),
    /// `wait writable 10s`: until a write through the endpoint succeeds.
    WaitWritable(Duration),
    /// `assert "SQL" = VALUE`: run it through the endpoint and compare.
    Assert {
        /// The query.
        sql: String,
        /// What psql shall print, unaligned and without header.
        expected: String,
    },
    /// `assert lost = 0`, `assert pause < 2s`: of the workload so far.
    AssertFigure {
        /// Which figure.
        figure: Figure,
        /// How it shall stand to the limit.
        relation: Relation,
        /// A number; milliseconds for a pause.
        limit: u64,
    },
    /// `sleep 1s`.
    Sleep(Duration),
}

/// A node, by its name or by what it is at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whoever leads.
    Primary,
    /// This one.
    Node(String),
}

/// A figure of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Acknowledged rows that are not there.
    Lost,
    /// Rows that are there more than once, or although their write failed.
    Duplicated,
    /// Reads that did not show what their session had written.
    Stale,
    /// Errors that clients got.
    Errors,
    /// The longest time a client tried until a statement succeeded, in milliseconds.
    Pause,
    /// Writes that were acknowledged.
    Writes,
}

impl Figure {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Figure); 6] = [
        ("lost", Figure::Lost),
        ("duplicated", Figure::Duplicated),
        ("stale", Figure::Stale),
        ("errors", Figure::Errors),
        ("pause", Figure::Pause),
        ("writes", Figure::Writes),
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// How a figure shall stand to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Relation {
    Equal,
    Less,
    AtMost,
}

impl Relation {
    /// Whether `value` stands so to `limit`.
    pub fn holds(self, value: u64, limit: u64) -> bool {
        match self {
            Relation::Equal => value == limit,
            Relation::Less => value < limit,
            Relation::AtMost => value <= limit,
        }
    }

    /// Returns its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Relation::Equal => "=",
            Relation::Less => "<",
            Relation::AtMost => "<=",
        }
    }
}

/// A script that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("script line {line}, column {column}: {message}")]
pub struct ScriptError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was expected and what stands there.
    pub message: String,
}

/// Reads a script. Statements end with a newline or a `;` outside quotes; `#` starts a comment. Texts stand in
/// double quotes (with `\"`, `\\` and `\n` inside) or single quotes (`''` is a quote).
pub fn parse(script: &str) -> Result<Vec<Step>, ScriptError> {
    let tokens = tokens(script)?;
    let mut steps = Vec::new();
    for statement in tokens.split(|token| token.kind == Kind::End) {
        if !statement.is_empty() {
            steps.push(Statement { tokens: statement, next: 0 }.step()?);
        }
    }
    Ok(steps)
}

/// One statement being read.
struct Statement<'a> {
    tokens: &'a [Token],
    next: usize,
}

impl Statement<'_> {
    fn step(mut self) -> Result<Step, ScriptError> {
        let line = self.tokens[0].line;
        let action = self.action()?;
        match self.tokens.get(self.next) {
            Some(extra) => {
                Err(error_at(extra, format!("expected the end of the statement, not {}", extra.shown())))
            }
            None => Ok(Step { line, action }),
        }
    }

    fn action(&mut self) -> Result<Action, ScriptError> {
        let verb = self.word(VERBS)?;
        Ok(match verb.as_str() {
            "wait" => self.waiting()?,
            "sql" => Action::Sql(self.quoted("the statement in quotes")?),
            "psql" => Action::Psql(self.value("a file name")?.into()),
            "pause" => self.keyword("replay").and_then(|()| self.node()).map(Action::PauseReplay)?,
            "resume" => self.keyword("replay").and_then(|()| self.node()).map(Action::ResumeReplay)?,
            "stop" => match self.node()?.as_str() {
                "etcd" => Action::StopEtcd,
                node => Action::Stop(whom(node)),
            },
            "start" => match self.node()?.as_str() {
                "etcd" => Action::StartEtcd,
                node => Action::Start(node.to_owned()),
            },
            "kill" => Action::Kill(whom(&self.node()?)),
            "freeze" => Action::Freeze(whom(&self.node()?)),
            "thaw" => Action::Thaw(self.node()?),
            "switchover" => {
                let named = self.tokens.get(self.next).is_some();
                Action::Switchover(if named { Some(self.node()?) } else { None })
            }
            "promote" => Action::Promote(self.node()?),
            "workload" => {
                let wanted = "the number of clients";
                Action::Workload(self.number(wanted, |text| text.parse().ok())?)
            }
            "assert" => self.assertion()?,
            "sleep" => Action::Sleep(self.duration()?),
            _ => {
                let token = &self.tokens[self.next - 1];
                return Err(error_at(token, format!("expected {VERBS}, not {}", token.shown())));
            }
        })
    }

    fn waiting(&mut self) -> Result<Action, ScriptError> {
        let token = self.take("\"ready\" or \"writable\"", |kind| *kind == Kind::Word)?;
        match token.text.to_ascii_lowercase().as_str() {
            "ready" => Ok(Action::WaitReady),
            "writable" => self.duration().map(Action::WaitWritable),
            _ => Err(error_at(&token, format!("expected \"ready\" or \"writable\", not {}", token.shown()))),
        }
    }

    fn assertion(&mut self) -> Result<Action, ScriptError> {
        if self.tokens.get(self.next).is_some_and(|token| token.kind == Kind::Word) {
            return self.figure();
        }
        let sql = self.quoted("the query in quotes")?;
        self.take("\"=\"", |kind| *kind == Kind::Relation)?;
        Ok(Action::Assert { sql, expected: self.value("the expected value")? })
    }

    fn figure(&mut self) -> Result<Action, ScriptError> {
        let names = Figure::NAMES.map(|(name, _)| name).join(", ");
        let wanted = format!("a query in quotes or one of {names}");
        let token = self.take(&wanted, |kind| *kind == Kind::Word)?;
        let found = Figure::NAMES.iter().find(|(name, _)| token.text.eq_ignore_ascii_case(name));
        let Some((_, figure)) = found else {
            return Err(error_at(&token, format!("expected {wanted}, not {}", token.shown())));
        };
        let relation =
            match self.take("\"=\", \"<\" or \"<=\"", |kind| *kind == Kind::Relation)?.text.as_str() {
                "<" => Relation::Less,
                "<=" => Relation::AtMost,
                _ => Relation::Equal,
            };
        let limit = match figure {
            Figure::Pause => u64::try_from(self.duration()?.as_millis()).unwrap_or(u64::MAX),
            _ => self.number("a number", |text| text.parse().ok())?,
        };
        Ok(Action::AssertFigure { figure: *figure, relation, limit })
    }

    fn duration(&mut self) -> Result<Duration, ScriptError> {
        self.number("a duration such as 1s or 500ms", duration)
    }

    fn number<T>(&mut self, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, ScriptError> {
        let token = self.take(wanted, |kind| *kind == Kind::Word)?;
        read(&token.text).ok_or_else(|| error_at(&token, format!("expected {wanted}, not {}", token.shown())))
    }

    fn keyword(&mut self, wanted: &str) -> Result<(), ScriptError> {
        let token = self.take(&format!("{wanted:?}"), |kind| *kind == Kind::Word)?;
        if token.text.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        Err(error_at(&token, format!("expected {wanted:?}, not {}", token.shown())))
    }

    fn node(&mut self) -> Result<String, ScriptError> {
        self.value("the name of a node")
    }

    fn word(&mut self, wanted: &str) -> Result<String, ScriptError> {
        self.take(wanted, |kind| *kind == Kind::Word).map(|token| token.text.to_ascii_lowercase())
    }

    fn quoted(&mut self, wanted: &str) -> Result<String, ScriptError> {
        self.take(wanted, |kind| *kind == Kind::Quoted).map(|token| token.text)
    }

    fn value(&mut self, wanted: &str) -> Result<String, ScriptError> {
        self.take(wanted, |kind| matches!(kind, Kind::Word | Kind::Quoted)).map(|token| token.text)
    }

    fn take(&mut self, wanted: &str, fits: impl Fn(&Kind) -> bool) -> Result<Token, ScriptError> {
        let Some(token) = self.tokens.get(self.next) else {
            let last = &self.tokens[self.tokens.len() - 1];
            let message = format!("expected {wanted} after {}", last.shown());
            return Err(ScriptError { line: last.line, column: last.end, message });
        };
        if !fits(&token.kind) {
            return Err(error_at(token, format!("expected {wanted}, not {}", token.shown())));
        }
        self.next += 1;
        Ok(token.clone())
    }
}

const VERBS: &str = "wait, sql, psql, pause, resume, stop, start, kill, freeze, thaw, switchover, promote, workload, assert \
                     or sleep";

fn whom(node: &str) -> Whom {
    if node.eq_ignore_ascii_case("primary") { Whom::Primary } else { Whom::Node(node.to_owned()) }
}

fn error_at(token: &Token, message: String) -> ScriptError {
    ScriptError { line: token.line, column: token.column, message }
}

/// `1s`, `1.5s`, `500ms`, `2m`, or plain seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(script: &str) -> Vec<Action> {
        parse(script).unwrap().into_iter().map(|step| step.action).collect()
    }

    #[test]
    fn statements_end_at_newlines_and_semicolons_outside_quotes() {
        let found = actions("wait ready; sql \"a; b\"\n\n# note; more\npause replay b;;resume replay 'b'");
        let expected = [
            Action::WaitReady,
            Action::Sql("a; b".into()),
            Action::PauseReplay("b".into()),
            Action::ResumeReplay("b".into()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_other_verb() {
        let found = actions(
            "psql dir/x.sql; stop a; start a; promote b; sleep 1s; sleep 250ms; kill primary; freeze c; thaw c; \
             switchover; switchover b; stop etcd; start etcd; workload 8; wait writable 10s",
        );
        let expected = [
            Action::Psql("dir/x.sql".into()),
            Action::Stop(Whom::Node("a".into())),
            Action::Start("a".into()),
            Action::Promote("b".into()),
            Action::Sleep(Duration::from_secs(1)),
            Action::Sleep(Duration::from_millis(250)),
            Action::Kill(Whom::Primary),
            Action::Freeze(Whom::Node("c".into())),
            Action::Thaw("c".into()),
            Action::Switchover(None),
            Action::Switchover(Some("b".into())),
            Action::StopEtcd,
            Action::StartEtcd,
            Action::Workload(8),
            Action::WaitWritable(Duration::from_secs(10)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn assertions_compare_with_words_and_texts() {
        let assert =
            |sql: &str, expected: &str| Action::Assert { sql: sql.into(), expected: expected.into() };
        let found =
            actions("assert \"select \\\"x\\\" = 1\" = 3\nassert 'select ''y''' = \"a|b\"; assert \"q\"=t");
        assert_eq!(found, [assert("select \"x\" = 1", "3"), assert("select 'y'", "a|b"), assert("q", "t")]);
    }

    #[test]
    fn figures_of_the_workload_are_compared() {
        let assert = |figure, relation, limit| Action::AssertFigure { figure, relation, limit };
        let found = actions("assert lost = 0; assert errors<3; assert pause <= 1.5s");
        let expected = [
            assert(Figure::Lost, Relation::Equal, 0),
            assert(Figure::Errors, Relation::Less, 3),
            assert(Figure::Pause, Relation::AtMost, 1500),
        ];
        assert_eq!(found, expected);
        for (index, (name, figure)) in Figure::NAMES.into_iter().enumerate() {
            assert_eq!((figure as usize, figure.name()), (index, name));
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        let check = |script: &str, expected: &str| {
            let message = parse(script).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("wait ready\n  walk b", "script line 2, column 3: expected wait, sql,");
        check("wait", "script line 1, column 5: expected \"ready\" or \"writable\" after \"wait\"");
        check("assert gone = 0", "script line 1, column 8: expected a query in quotes or one of lost, ");
        check("sql \"open", "script line 1, column 5: this quoted text does not end");
        check("assert \"x\" 3", "script line 1, column 12: expected \"=\", not \"3\"");
        check("assert lost = few", "script line 1, column 15: expected a number, not \"few\"");
        check("sleep long", "script line 1, column 7: expected a duration such as 1s or 500ms, not \"long\"");
        check("stop a b", "script line 1, column 8: expected the end of the statement, not \"b\"");
        check("sql select", "script line 1, column 5: expected the statement in quotes, not \"select\"");
    }
}
