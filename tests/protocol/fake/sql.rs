//! The little SQL that the fake server understands. All of it is SQL that PostgreSQL's grammar takes too.

use bellwether::session::pins::PROBE;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `select 'a', 'b'`, `select 1`: one row of constants.
    Constants(Vec<String>),
    /// `select $1`.
    Parameter,
    /// `select generate_series(1, N)`.
    Series(usize),
    /// `select * from t`: the rows that were inserted; its plan goes out of date when the table changes.
    Table,
    /// `select 1/0`.
    Divide,
    /// `show x` or `select current_setting('x')`.
    Show(String),
    /// `insert into t values (N)`.
    Insert(String),
    /// Spelled START TRANSACTION, and what it says of writing.
    Begin {
        start: bool,
        read_only: Option<bool>,
    },
    /// `set transaction ...`.
    Modes {
        read_only: Option<bool>,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    Set {
        name: String,
        value: String,
        local: bool,
    },
    /// `select set_config(name, value, local), ...`; `None` for a parameter, in order.
    SetConfig(Vec<(Option<String>, Option<String>, bool)>),
    Reset(String),
    /// `set local x to default`.
    ResetLocal(String),
    ResetAll,
    CreateTemp(String),
    DropTable(String),
    /// Takes an advisory lock, then fails if told to.
    Lock {
        fails: bool,
    },
    Unlock,
    Listen,
    Unlisten,
    Hold(String),
    CloseCursor(String),
    Prepare(String, String),
    Execute(String),
    Deallocate(String),
    DeallocateAll,
    DiscardAll,
    /// `select f()`: code that the proxy cannot see; here it makes a temporary table.
    Opaque,
    /// `select nothing()`: such code that leaves nothing.
    Harmless,
    /// `alter table t ...`: plans are out of date.
    Alter,
    CopyIn,
    CopyOut,
    /// What the proxy asks for state.
    Probe,
    /// `notify c`.
    Notify,
    /// Anything that PostgreSQL answers with a tag only.
    Other(&'static str),
}

/// Reads a text; `Err` when a statement in it is not understood.
pub fn parse(text: &str) -> Result<Vec<(String, Statement)>, String> {
    if text == PROBE {
        return Ok(vec![(text.into(), Statement::Probe)]);
    }
    text.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| one(part).map(|statement| (part.to_string(), statement)).ok_or_else(|| part.to_string()))
        .collect()
}

fn one(text: &str) -> Option<Statement> {
    let text = &uncommented(text);
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let last = || words.last().map(|word| word.to_string());
    Some(match words.as_slice() {
        ["begin", modes @ ..] => Statement::Begin { start: false, read_only: read_only(modes) },
        ["start", "transaction", modes @ ..] => Statement::Begin { start: true, read_only: read_only(modes) },
        ["set", "transaction", modes @ ..] => Statement::Modes { read_only: read_only(modes) },
        ["commit", rest @ ..] => Statement::Commit { chain: !rest.is_empty() },
        ["rollback", "to", ..] => Statement::RollbackTo(last()?),
        ["rollback", rest @ ..] => Statement::Rollback { chain: !rest.is_empty() },
        ["savepoint", name] => Statement::Savepoint(name.to_string()),
        ["release", ..] => Statement::Release(last()?),
        ["set", rest @ ..] => set(rest, text)?,
        ["reset", "all"] => Statement::ResetAll,
        ["reset", "session", "authorization"] => Statement::Reset("session_authorization".into()),
        ["reset", name] => Statement::Reset(name.replace('"', "")),
        ["show", name] => Statement::Show(name.to_string()),
        ["insert", ..] => Statement::Insert(text[text.find('(')? + 1..text.find(')')?].to_string()),
        ["create", "temp", "table", name, ..] => Statement::CreateTemp(name.to_string()),
        ["create", ..] => Statement::Other("CREATE TABLE"),
        ["drop", "table", name] => Statement::DropTable(name.to_string()),
        ["alter", ..] => Statement::Alter,
        ["listen", _] => Statement::Listen,
        ["unlisten", _] => Statement::Unlisten,
        ["notify", _] => Statement::Notify,
        ["declare", name, ..] => Statement::Hold(name.to_string()),
        ["close", name] => Statement::CloseCursor(name.to_string()),
        ["prepare", name, "as", ..] => {
            Statement::Prepare(name.to_string(), text[lower.find(" as ")? + 4..].to_string())
        }
        ["execute", name] => Statement::Execute(name.to_string()),
        ["deallocate", "all"] => Statement::DeallocateAll,
        ["deallocate", name] => Statement::Deallocate(name.to_string()),
        ["discard", "all"] => Statement::DiscardAll,
        ["copy", "nowhere"] => return None,
        ["copy", _, "from", ..] => Statement::CopyIn,
        ["copy", _, "to", ..] => Statement::CopyOut,
        ["select", ..] => select(text, &lower)?,
        _ => return None,
    })
}

fn read_only(modes: &[&str]) -> Option<bool> {
    modes
        .windows(2)
        .find(|words| words[0] == "read" && matches!(words[1], "only" | "write"))
        .map(|words| words[1] == "only")
}

/// Takes away comments around a statement; none of those that tests write holds another.
fn uncommented(text: &str) -> String {
    let mut text = text.trim();
    while let Some((_, rest)) = text.strip_prefix("/*").and_then(|text| text.split_once("*/")) {
        text = rest.trim();
    }
    let behind = text.strip_suffix("*/").and_then(|text| text.rsplit_once("/*"));
    let text = behind.map_or(text, |(text, _)| text);
    text.split("--").next().unwrap_or_default().trim().to_string()
}

fn set(words: &[&str], text: &str) -> Option<Statement> {
    let (local, words) = match words {
        ["local", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let value = || Some(unquote(text.split_whitespace().last()?));
    Some(match words {
        ["session", "characteristics", "as", "transaction", "read", "only"] => {
            Statement::Set { name: "default_transaction_read_only".into(), value: "on".into(), local: false }
        }
        ["session", "authorization", _] => {
            Statement::Set { name: "session_authorization".into(), value: value()?, local }
        }
        ["role", "none"] => Statement::Reset("role".into()),
        ["role", _] => Statement::Set { name: "role".into(), value: value()?, local },
        // A placeholder of the proxy's: nothing to follow, but the tag.
        ["\"bellwether.void\"", "to", "default"] => Statement::Other("SET"),
        [name, "=" | "to", "default"] if local => Statement::ResetLocal(name.to_string()),
        [name, "=" | "to", "default"] => Statement::Reset(name.to_string()),
        [name, "=" | "to", _] => Statement::Set { name: name.to_string(), value: value()?, local },
        _ => return None,
    })
}

fn unquote(text: &str) -> String {
    text.trim_start_matches('E').trim_matches('\'').replace("''", "'").replace("\\\\", "\\")
}

fn select(text: &str, lower: &str) -> Option<Statement> {
    let inside = |prefix: &str| Some(lower.split_once(prefix)?.1.split_once(')')?.0.to_string());
    if lower.contains("set_config(") {
        return Some(Statement::SetConfig(
            text.split("set_config(").skip(1).map(config).collect::<Option<_>>()?,
        ));
    }
    Some(match lower {
        "select $1" => Statement::Parameter,
        "select 1/0" => Statement::Divide,
        "select * from t" => Statement::Table,
        "select f()" => Statement::Opaque,
        "select nothing()" => Statement::Harmless,
        "select pg_advisory_lock(1)" => Statement::Lock { fails: false },
        "select pg_advisory_lock(1), 1/0" => Statement::Lock { fails: true },
        "select pg_advisory_unlock(1)" => Statement::Unlock,
        _ if lower.contains("generate_series(1,") => {
            Statement::Series(inside("generate_series(1,")?.trim().parse().ok()?)
        }
        _ if lower.contains("current_setting(") => {
            Statement::Show(inside("current_setting(")?.replace('\'', ""))
        }
        _ => Statement::Constants(text.get(7..)?.split(',').map(|value| unquote(value.trim())).collect()),
    })
}

fn config(call: &str) -> Option<(Option<String>, Option<String>, bool)> {
    let arguments: Vec<&str> = call.split(')').next()?.split(',').map(str::trim).collect();
    let [name, value, local] = arguments.as_slice() else { return None };
    let argument = |text: &str| (!text.starts_with('$')).then(|| unquote(text));
    Some((argument(name), argument(value), *local == "true"))
}
