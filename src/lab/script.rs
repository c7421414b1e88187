//! The language of `bellwether demo --script`: text to steps, with line and column in every complaint.

use std::path::PathBuf;
use std::time::Duration;

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
    Stop(String),
    /// `start NODE`: as a standby of the present primary, rewound if need be.
    Start(String),
    /// `promote NODE`: a switchover while the primary runs, a failover when it does not.
    Promote(String),
    /// `assert "SQL" = VALUE`: run it through the endpoint and compare.
    Assert {
        /// The query.
        sql: String,
        /// What psql shall print, unaligned and without header.
        expected: String,
    },
    /// `sleep 1s`.
    Sleep(Duration),
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    Equals,
    /// Newline or `;`.
    End,
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
    line: usize,
    column: usize,
    /// Column after the token.
    end: usize,
}

impl Token {
    fn shown(&self) -> String {
        match self.kind {
            Kind::Quoted => "a quoted text".to_owned(),
            _ => format!("{:?}", self.text),
        }
    }
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
            "wait" => self.keyword("ready").map(|()| Action::WaitReady)?,
            "sql" => Action::Sql(self.quoted("the statement in quotes")?),
            "psql" => Action::Psql(self.value("a file name")?.into()),
            "pause" => self.keyword("replay").and_then(|()| self.node()).map(Action::PauseReplay)?,
            "resume" => self.keyword("replay").and_then(|()| self.node()).map(Action::ResumeReplay)?,
            "stop" => Action::Stop(self.node()?),
            "start" => Action::Start(self.node()?),
            "promote" => Action::Promote(self.node()?),
            "assert" => self.assertion()?,
            "sleep" => self.sleep()?,
            _ => {
                let token = &self.tokens[self.next - 1];
                return Err(error_at(token, format!("expected {VERBS}, not {}", token.shown())));
            }
        })
    }

    fn assertion(&mut self) -> Result<Action, ScriptError> {
        let sql = self.quoted("the query in quotes")?;
        self.take("\"=\"", |kind| *kind == Kind::Equals)?;
        Ok(Action::Assert { sql, expected: self.value("the expected value")? })
    }

    fn sleep(&mut self) -> Result<Action, ScriptError> {
        let token = self.take("a duration such as 1s or 500ms", |kind| *kind == Kind::Word)?;
        let duration = duration(&token.text).ok_or_else(|| {
            error_at(&token, format!("expected a duration such as 1s or 500ms, not {}", token.shown()))
        })?;
        Ok(Action::Sleep(duration))
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

const VERBS: &str = "wait, sql, psql, pause, resume, stop, start, promote, assert or sleep";

fn error_at(token: &Token, message: String) -> ScriptError {
    ScriptError { line: token.line, column: token.column, message }
}

fn tokens(script: &str) -> Result<Vec<Token>, ScriptError> {
    let mut scanner = Scanner { rest: script.chars().peekable(), line: 1, column: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = scanner.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

impl Scanner<'_> {
    fn token(&mut self) -> Result<Option<Token>, ScriptError> {
        self.skip_blanks();
        let (line, column) = (self.line, self.column);
        let Some(first) = self.rest.peek().copied() else { return Ok(None) };
        let (kind, text) = match first {
            '\n' | ';' => (Kind::End, self.bump().into_iter().collect()),
            '=' => (Kind::Equals, self.bump().into_iter().collect()),
            '"' | '\'' => (Kind::Quoted, self.quoted(line, column)?),
            _ => (Kind::Word, self.word()),
        };
        Ok(Some(Token { kind, text, line, column, end: self.column }))
    }

    fn skip_blanks(&mut self) {
        while let Some(next) = self.rest.peek().copied() {
            match next {
                '#' => {
                    while self.rest.peek().is_some_and(|next| *next != '\n') {
                        self.bump();
                    }
                }
                '\n' => return,
                blank if blank.is_whitespace() => {
                    self.bump();
                }
                _ => return,
            }
        }
    }

    fn word(&mut self) -> String {
        let mut text = String::new();
        while self.rest.peek().is_some_and(|next| !next.is_whitespace() && !";=\"'".contains(*next)) {
            text.extend(self.bump());
        }
        text
    }

    fn quoted(&mut self, line: usize, column: usize) -> Result<String, ScriptError> {
        let quote = self.bump();
        let mut text = String::new();
        loop {
            let Some(next) = self.bump() else {
                let message = "this quoted text does not end".to_owned();
                return Err(ScriptError { line, column, message });
            };
            if Some(next) == quote {
                // '' inside single quotes is one quote.
                if next != '\'' || self.rest.peek() != Some(&'\'') {
                    return Ok(text);
                }
                self.bump();
            }
            match next {
                '\\' if quote == Some('"') => text.extend(self.bump().map(unescaped)),
                _ => text.push(next),
            }
        }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(next)
    }
}

fn unescaped(letter: char) -> char {
    if letter == 'n' { '\n' } else { letter }
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
        let found = actions("psql dir/x.sql; stop a; start a; promote b; sleep 1s; sleep 250ms");
        let expected = [
            Action::Psql("dir/x.sql".into()),
            Action::Stop("a".into()),
            Action::Start("a".into()),
            Action::Promote("b".into()),
            Action::Sleep(Duration::from_secs(1)),
            Action::Sleep(Duration::from_millis(250)),
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
    fn mistakes_are_pointed_at() {
        let check = |script: &str, expected: &str| {
            let message = parse(script).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("wait ready\n  walk b", "script line 2, column 3: expected wait, sql,");
        check("wait", "script line 1, column 5: expected \"ready\" after \"wait\"");
        check("sql \"open", "script line 1, column 5: this quoted text does not end");
        check("assert \"x\" 3", "script line 1, column 12: expected \"=\", not \"3\"");
        check("sleep long", "script line 1, column 7: expected a duration such as 1s or 500ms, not \"long\"");
        check("stop a b", "script line 1, column 8: expected the end of the statement, not \"b\"");
        check("sql select", "script line 1, column 5: expected the statement in quotes, not \"select\"");
    }
}
