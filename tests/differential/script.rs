//! Scripts: what clients say, in plain text, and its reader.
//!
//! A file holds many scripts. `== NAME` begins one; each line below is a step, and indented lines continue it. `#` begins a
//! comment. `B: ` in front of a step has client B do it; without such a mark it is client A.
//!
//! | Step | |
//! |---|---|
//! | `Q SQL` | Query, and its answer is read |
//! | `Q& SQL`, `S&` | the same, Sync; the answer is left for `answer` |
//! | `P NAME [(OID, ...)]: SQL` | Parse; `-` is the name of what has none |
//! | `B PORTAL STATEMENT VALUE ... [=> FORMAT ...]` | Bind; a value is `word`, `'text'`, `'text'*1000`, `null` or `\x00ff` (binary) |
//! | `D S NAME`, `D P NAME`, `C S NAME`, `C P NAME` | Describe, Close |
//! | `E PORTAL [ROWS]` | Execute |
//! | `S`, `H` | Sync, Flush: whatever stands before is sent with it, and the answers are read |
//! | `F OID VALUE ... [=> FORMAT]` | FunctionCall |
//! | `copy data TEXT` | CopyData, a line; `"..."` says bytes with `\n \t \\ \" \x00` |
//! | `copy done`, `copy fail WHY` | CopyDone, CopyFail |
//! | `pipeline` ... `end [N]` | all of it in one packet, then all answers, or up to the Nth ReadyForQuery |
//! | `blocked`, `cancel`, `answer` | wait until a server waits in a text with `{key}`; CancelRequest; read what is to come |
//! | `notified N` | wait until N notifications have come in all |
//! | `reconnect`, `goodbye` | end, and begin anew; end |
//!
//! `{key}` is a number that this run of the script alone has, `{n}` that of its schemas `work_{n}` and `home_{n}`.

use crate::message::{Frontend, Value};

/// What is run as a whole, in sessions of its own.
#[derive(Clone, Debug)]
pub struct Script {
    /// The file's and its own.
    pub name: String,
    /// The file it stands in, without folder and ending.
    pub file: String,
    pub steps: Vec<Step>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Step {
    /// As written.
    pub text: String,
    /// 0 is A.
    pub client: usize,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// Sends these at once; reads what is owed then, or leaves it.
    Say(Vec<Frontend>, Reading),
    Answer,
    Blocked,
    Cancel,
    Notified(usize),
    Reconnect,
    Goodbye,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Answers,
    /// Up to so many ReadyForQuery, where a request is skipped or swallowed.
    Ready(usize),
    Nothing,
}

impl Script {
    /// How many clients take part.
    pub fn clients(&self) -> usize {
        self.steps.iter().map(|step| step.client + 1).max().unwrap_or(1)
    }

    /// Whether it looks like that. Who is wrong about it loads the catalog once more.
    pub fn changes_schema(&self) -> bool {
        const WORDS: [&str; 7] = ["CREATE ", "DROP ", "ALTER ", "GRANT ", "REVOKE ", "DO $", "REFRESH "];
        let says_one = |sql: &str| WORDS.iter().any(|word| sql.contains(word));
        self.steps.iter().any(|step| match &step.act {
            Act::Say(messages, _) => messages.iter().filter_map(Frontend::sql).any(says_one),
            _ => false,
        })
    }
}

impl Step {
    /// A step of client A that is written nowhere.
    pub fn made(text: &str, messages: Vec<Frontend>, reading: Reading) -> Step {
        Step { text: text.to_owned(), client: 0, act: Act::Say(messages, reading) }
    }
}

/// Reads a file of scripts; an error names the file and the line.
pub fn read(file: &str, text: &str) -> Result<Vec<Script>, String> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut open = Open::default();
    for (number, line) in joined(text) {
        let failed = |what: String| format!("{file}:{number}: {what}");
        if let Some(name) = line.strip_prefix("== ") {
            open.closed().map_err(failed)?;
            let name = format!("{}: {}", stem(file), name.trim());
            if scripts.iter().any(|script| script.name == name) {
                return Err(failed(format!("a second script {name:?}")));
            }
            scripts.push(Script { name, file: stem(file), steps: Vec::new() });
            continue;
        }
        let script = scripts.last_mut().ok_or_else(|| failed("a step before the first `== NAME`".into()))?;
        if let Some(step) = open.take(&line).map_err(failed)? {
            script.steps.push(step);
        }
    }
    open.closed().map_err(|what| format!("{file}: at the end: {what}"))?;
    match scripts.iter().find(|script| script.steps.is_empty()) {
        Some(empty) => Err(format!("{file}: script {:?} has no steps", empty.name)),
        None => Ok(scripts),
    }
}

/// Number and text of each line that says something, with those that continue it.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line.trim());
            }
            _ => lines.push((index + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

/// Messages that are not sent yet: those of a group without its Sync, or of a pipeline without its end.
#[derive(Default)]
struct Open {
    pipeline: bool,
    client: usize,
    text: Vec<String>,
    messages: Vec<Frontend>,
}

impl Open {
    fn closed(&self) -> Result<(), String> {
        match (self.pipeline, self.messages.is_empty()) {
            (true, _) => Err("the pipeline before this has no `end`".into()),
            (_, false) => {
                Err(format!("`{}` is never sent: a Sync or Flush is missing", self.text.join("; ")))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, line: &str) -> Result<Option<Step>, String> {
        let (client, said) = by_whom(line);
        if !self.text.is_empty() && client != self.client {
            return Err("another client before the last one has sent what it began".into());
        }
        self.client = client;
        let (verb, rest) = said.split_once([' ', '\n']).unwrap_or((said, ""));
        let alone = |act| Ok(Some(Step { text: line.to_owned(), client, act }));
        match verb {
            "pipeline" if self.text.is_empty() => {
                self.pipeline = true;
                self.text.push(line.to_owned());
                Ok(None)
            }
            "end" if self.pipeline && rest.is_empty() => Ok(Some(self.sent(Reading::Answers))),
            "end" if self.pipeline => number(rest).map(|count| Some(self.sent(Reading::Ready(count)))),
            "blocked" | "cancel" | "answer" | "notified" | "reconnect" | "goodbye" => {
                self.closed()?;
                alone(match verb {
                    "blocked" => Act::Blocked,
                    "cancel" => Act::Cancel,
                    "answer" => Act::Answer,
                    "notified" => Act::Notified(number(rest)?),
                    "reconnect" => Act::Reconnect,
                    _ => Act::Goodbye,
                })
            }
            _ => {
                let (message, reading) = message(verb, rest)?;
                let whole = matches!(verb, "Q" | "Q&" | "S" | "S&" | "H" | "F" | "copy");
                self.text.push(line.to_owned());
                self.messages.push(message);
                Ok((whole && !self.pipeline).then(|| self.sent(reading)))
            }
        }
    }

    fn sent(&mut self, reading: Reading) -> Step {
        let open = std::mem::take(self);
        Step { text: open.text.join("; "), client: open.client, act: Act::Say(open.messages, reading) }
    }
}

fn by_whom(line: &str) -> (usize, &str) {
    let marks = ["A: ", "B: ", "C: "];
    let marked = marks.iter().enumerate().find_map(|(client, mark)| Some((client, line.strip_prefix(mark)?)));
    marked.unwrap_or((0, line))
}

fn message(verb: &str, rest: &str) -> Result<(Frontend, Reading), String> {
    let message = match verb {
        "Q" | "Q&" => Frontend::Query(rest.to_owned()),
        "P" => parse(rest)?,
        "B" => bind(rest)?,
        "D" | "C" => {
            let (kind, name) = rest.split_once(' ').ok_or("needs S or P, and a name")?;
            let kind = match kind {
                "S" | "P" => kind.as_bytes()[0],
                _ => return Err(format!("{kind:?} is neither S nor P")),
            };
            let name = name_of(name);
            if verb == "D" { Frontend::Describe(kind, name) } else { Frontend::Close(kind, name) }
        }
        "E" => {
            let (portal, rows) = rest.split_once(' ').unwrap_or((rest, "0"));
            Frontend::Execute(name_of(portal), number(rows)? as u32)
        }
        "S" | "S&" => Frontend::Sync,
        "H" => Frontend::Flush,
        "F" => {
            let (values, formats) = values_and_formats(rest)?;
            let (function, values) = values.split_first().ok_or("needs the OID of a function")?;
            let result = formats.first().copied().unwrap_or(0);
            Frontend::Function { oid: number(&function.text)? as u32, values: values.to_vec(), result }
        }
        "copy" => copy(rest)?,
        _ => return Err(format!("{verb:?} is no step")),
    };
    let reading = if verb.ends_with('&') { Reading::Nothing } else { Reading::Answers };
    Ok((message, reading))
}

fn parse(rest: &str) -> Result<Frontend, String> {
    let (head, sql) = rest.split_once(':').ok_or("a colon between the name and the SQL is missing")?;
    let (name, types) = match head.split_once('(') {
        Some((name, types)) => (name, types.strip_suffix(')').ok_or("a `)` is missing")?),
        None => (head, ""),
    };
    let types = types.split(',').filter(|oid| !oid.is_empty());
    let types = types.map(|oid| number(oid).map(|oid| oid as u32)).collect::<Result<_, _>>()?;
    Ok(Frontend::Parse { name: name_of(name), types, sql: sql.trim_start().to_owned() })
}

fn bind(rest: &str) -> Result<Frontend, String> {
    let mut words = rest.splitn(3, ' ');
    let portal = words.next().filter(|word| !word.is_empty()).ok_or("needs a portal (`-`)")?;
    let statement = words.next().ok_or("needs a statement (`-`)")?;
    let (values, formats) = values_and_formats(words.next().unwrap_or_default())?;
    Ok(Frontend::Bind { portal: name_of(portal), statement: name_of(statement), values, formats })
}

fn copy(rest: &str) -> Result<Frontend, String> {
    let (what, rest) = rest.split_once([' ', '\n']).unwrap_or((rest, ""));
    match what {
        "data" => match rest.strip_prefix('"') {
            Some(quoted) => Ok(Frontend::CopyData(unquoted(quoted)?)),
            None => Ok(Frontend::CopyData(format!("{rest}\n").into_bytes())),
        },
        "done" => Ok(Frontend::CopyDone),
        "fail" => Ok(Frontend::CopyFail(rest.to_owned())),
        _ => Err(format!("copy data, done or fail, not {what:?}")),
    }
}

/// Up to the closing quotation mark, which must be the last.
fn unquoted(text: &str) -> Result<Vec<u8>, String> {
    let inside = text.strip_suffix('"').ok_or("the closing \" is missing")?;
    let mut bytes = Vec::new();
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.extend(letter.to_string().bytes());
            continue;
        }
        match letters.next() {
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('x') => bytes.extend(hex(&letters.by_ref().take(2).collect::<String>())?),
            Some(other @ ('\\' | '"')) => bytes.push(other as u8),
            other => return Err(format!("\\{} means nothing", other.map(String::from).unwrap_or_default())),
        }
    }
    Ok(bytes)
}

/// Values, and behind `=>` the formats of the results.
fn values_and_formats(text: &str) -> Result<(Vec<Value>, Vec<u16>), String> {
    let (mut values, mut formats, mut behind) = (Vec::new(), Vec::new(), false);
    for word in words(text)? {
        match (behind, &*word) {
            (false, "=>") => behind = true,
            (true, "text") => formats.push(0),
            (true, "binary") => formats.push(1),
            (true, other) => return Err(format!("{other:?} is no format")),
            (false, word) => values.push(value(word)?),
        }
    }
    Ok((values, formats))
}

/// Words between blanks; a quoted one keeps its marks.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        quoted ^= letter == '\'';
        if letter == ' ' && !quoted {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        } else {
            word.push(letter);
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    if quoted { Err("a closing ' is missing".into()) } else { Ok(words) }
}

fn value(word: &str) -> Result<Value, String> {
    if word == "null" {
        return Ok(Value { text: String::new(), bytes: None, binary: false, times: 1 });
    }
    if let Some(digits) = word.strip_prefix("\\x") {
        return Ok(Value { text: String::new(), bytes: Some(hex(digits)?), binary: true, times: 1 });
    }
    let (word, times) = match word.rsplit_once("'*") {
        Some((quoted, times)) => (format!("{quoted}'"), number(times)?),
        None => (word.to_owned(), 1),
    };
    let inside = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let text = inside.map_or(word.clone(), |inside| inside.replace("''", "'"));
    Ok(Value { bytes: Some(text.clone().into_bytes()), text, binary: false, times })
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{digits:?} is not hexadecimal");
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    pairs.collect::<Result<_, _>>().map_err(|_| wrong())
}

fn name_of(word: &str) -> String {
    let word = word.trim();
    if word == "-" { String::new() } else { word.to_owned() }
}

fn number(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number"))
}

fn stem(file: &str) -> String {
    file.trim_end_matches(".txt").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_is_named_by_file_and_line() {
        let wrong = [
            ("Q SELECT 1", "f.txt:1: a step before the first `== NAME`"),
            ("== a\n\n# no\nX 1", "f.txt:4: \"X\" is no step"),
            ("== a\nQ SELECT 1\n== a\nQ SELECT 1", "f.txt:3: a second script \"f: a\""),
            ("== a\nP s SELECT 1", "f.txt:2: a colon between the name and the SQL is missing"),
            (
                "== a\nP s: SELECT 1\n== b",
                "f.txt:3: `P s: SELECT 1` is never sent: a Sync or Flush is missing",
            ),
            ("== a\npipeline\nS\n", "f.txt: at the end: the pipeline before this has no `end`"),
            (
                "== a\nP s: SELECT 1\nB: S",
                "f.txt:3: another client before the last one has sent what it began",
            ),
            ("== a\nB - s 'x", "f.txt:2: a closing ' is missing"),
            ("== a\nB - s \\x0", "f.txt:2: \"0\" is not hexadecimal"),
            ("== a\nB - s => wide", "f.txt:2: \"wide\" is no format"),
            ("== a\nD X s", "f.txt:2: \"X\" is neither S nor P"),
            ("== a\nE - many", "f.txt:2: \"many\" is no number"),
            ("== a\ncopy \"1", "f.txt:2: copy data, done or fail, not \"\\\"1\""),
            ("== a\ncopy data \"1", "f.txt:2: the closing \" is missing"),
            ("== a\ncopy data \"\\q\"", "f.txt:2: \\q means nothing"),
            ("== a", "f.txt: script \"f: a\" has no steps"),
        ];
        for (text, expected) in wrong {
            assert_eq!(read("f.txt", text).expect_err(text), expected);
        }
    }

    #[test]
    fn lines_become_messages() {
        let text = "== a b\n# why\nQ SELECT 1,\n  2\nP s(23): SELECT $1\nB - s 'it''s' null \\x00ff 'ab'*2 => binary\nB: S\n";
        assert!(read("f.txt", text).is_err());
        let text = text.replace("B: S", "S");
        let scripts = read("f.txt", &text).expect("it is well-formed");
        assert_eq!((scripts.len(), &*scripts[0].name, &*scripts[0].file), (1, "f: a b", "f"));
        let Act::Say(first, Reading::Answers) = &scripts[0].steps[0].act else { panic!("{scripts:?}") };
        assert!(matches!(&first[0], Frontend::Query(sql) if sql == "SELECT 1,\n2"));
        let Act::Say(group, _) = &scripts[0].steps[1].act else { panic!("{scripts:?}") };
        let Frontend::Bind { values, formats, .. } = &group[1] else { panic!("{group:?}") };
        assert_eq!(
            (values.len(), &formats[..], values[0].bytes.as_deref()),
            (4, &[1][..], Some(&b"it's"[..]))
        );
        assert_eq!((values[1].bytes.as_deref(), values[2].binary, values[3].times), (None, true, 2));
    }
}
