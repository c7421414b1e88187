//! What is wrong in a configuration, where, and what to write instead: three parts on the terminal.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text with a name, to point into.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// How people know it: the path as they wrote it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a file, at these bytes.
    File(Arc<Source>, Range<usize>),
    /// In this environment variable.
    Env(String),
    /// On the command line; the option's name, such as `--listen`.
    Flag(String),
    /// In the connection URL on the command line.
    Url,
}

impl Origin {
    /// Narrows a place in a file to `span`; other origins stay as they are.
    pub(crate) fn at(&self, span: Option<Range<usize>>) -> Origin {
        match (self, span) {
            (Origin::File(source, _), Some(span)) => Origin::File(source.clone(), span),
            _ => self.clone(),
        }
    }
}

impl fmt::Display for Origin {
    /// Writes the short form, as `config show` prints it: `default`, `bellwether.toml:3`, `env BELLWETHER_LISTEN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(source, span) => {
                write!(f, "{}:{}", source.name, position(&source.text, span.start).0)
            }
            Origin::Env(variable) => write!(f, "env {variable}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
            Origin::Url => f.write_str("url"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, naming the key meant.
    pub error: String,
    /// The row of the key whose value it is; `None` when it is about something else.
    pub key: Option<&'static str>,
    /// Where it stands; `None` for something that is missing altogether.
    pub place: Option<Origin>,
    /// Why that is wrong, when the place alone does not say.
    pub cause: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(error: impl Into<String>) -> Self {
        Problem { error: error.into(), key: None, place: None, cause: None, hint: None }
    }

    pub(crate) fn at(mut self, place: Origin) -> Self {
        self.place = Some(place);
        self
    }

    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let place = self.place.as_ref().map(long_form);
        match (place, self.cause.clone()) {
            (Some(place), Some(cause)) => write!(f, "\ncause: {place}: {cause}")?,
            (Some(line), None) | (None, Some(line)) => write!(f, "\ncause: {line}")?,
            (None, None) => {}
        }
        if let Some(Origin::File(source, span)) = &self.place {
            f.write_str(&excerpt(&source.text, span))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything found wrong in one reading, in the order it was found. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&all.join("\n\n"))
    }
}

fn long_form(place: &Origin) -> String {
    match place {
        Origin::File(source, span) => {
            let (line, column) = position(&source.text, span.start);
            format!("{}:{line}:{column}", source.name)
        }
        Origin::Env(variable) => format!("environment variable {variable}"),
        Origin::Flag(flag) => format!("option {flag}"),
        Origin::Url => "the connection URL".to_owned(),
        Origin::Default => "the default".to_owned(),
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The line `span` begins on, with carets under it.
fn excerpt(text: &str, span: &Range<usize>) -> String {
    let (number, column) = position(text, span.start);
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let shown = redacted(line);
    let wide = text.get(span.clone()).map_or(1, |marked| marked.lines().next().unwrap_or("").chars().count());
    // A caret may stand just behind the line's end: there something is missing.
    let room = (shown.chars().count() + 1).saturating_sub(column);
    let carets = "^".repeat(wide.min(room).max(1));
    // Tabs stay tabs, so that the carets stand below what they mean.
    let pad: String = line.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
    let number = number.to_string();
    let gutter = " ".repeat(number.len());
    format!("\n  {gutter} |\n  {number} | {shown}\n  {gutter} | {pad}{carets}")
}

/// Hides what may be a password: whatever is given to a key of that name, and the user part of a URL.
fn redacted(line: &str) -> String {
    let secret =
        line.to_ascii_lowercase().find("password").and_then(|at| Some(at + line[at..].find('=')? + 1));
    if let Some(at) = secret {
        return format!("{} ***", &line[..at]);
    }
    match line.find("://").and_then(|at| Some((at + 3, at + 3 + line[at + 3..].rfind('@')?))) {
        Some((from, to)) => format!("{}***{}", &line[..from], &line[to..]),
        None => line.to_owned(),
    }
}

/// Returns the candidate a mistyped `word` most likely means: at most a third of its letters wrong.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Edit distance in which swapping two neighbours is one step.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let keys = ["listen", "workers", "failover"];
        assert_eq!(nearest("lisen", keys), Some("listen"));
        assert_eq!(nearest("lsiten", keys), Some("listen"));
        assert_eq!(nearest("worker", keys), Some("workers"));
        assert_eq!(nearest("etcd", keys), None);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn shows_the_line_with_carets_but_no_password() {
        let text = "a = 1\npassword = \"hunter2\"\n\tb = \"x\"\nn = \"postgres://u:p@h\"";
        assert_eq!(excerpt(text, &(21..22)), "\n    |\n  2 | password = ***\n    |                ^");
        assert_eq!(excerpt(text, &(32..35)), "\n    |\n  3 | \tb = \"x\"\n    | \t    ^^^");
        assert!(excerpt(text, &(37..38)).contains("postgres://***@h"));
        assert_eq!(position(text, text.len()).0, 4);
    }
}
