//! One value as it was written, of the kind its key asks for: from TOML, or from text.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Kind;
use super::problem::nearest;
use super::units::{display_duration, display_size, parse_duration, parse_size};

/// A text that no output shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// Returns the text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One entry of a list, and where it stands in its file.
#[derive(Clone, Debug)]
pub struct Item {
    /// The entry.
    pub text: String,
    pub(super) span: Option<Range<usize>>,
}

impl PartialEq for Item {
    /// The place does not count: moving a line changes no setting.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A value of one of the kinds of [`Kind`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named after the kinds, which say it")]
pub enum Value {
    Text(String),
    Secret(Secret),
    Path(PathBuf),
    List(Vec<Item>),
    Bool(bool),
    Count(u64),
    Duration(Duration),
    Size(u64),
}

impl fmt::Display for Value {
    /// Writes TOML, a secret as `"***"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::Secret(_) => f.write_str("\"***\""),
            Value::Path(path) => f.write_str(&quoted(&path.to_string_lossy())),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(&item.text)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Bool(value) => write!(f, "{value}"),
            Value::Count(value) => write!(f, "{value}"),
            Value::Duration(value) => f.write_str(&quoted(&display_duration(*value))),
            Value::Size(value) => f.write_str(&quoted(&display_size(*value))),
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What secrets and paths are looked up in.
pub(crate) struct Surroundings<'a> {
    /// The environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// Directory that relative paths start at.
    pub(crate) base: &'a Path,
}

/// Why a value does not fit its key. The reader adds which key and where.
#[derive(Debug, PartialEq)]
pub(crate) struct Misfit {
    pub(crate) cause: String,
    pub(crate) hint: Option<String>,
    /// A narrower place than the whole value.
    pub(crate) span: Option<Range<usize>>,
}

impl Misfit {
    fn new(cause: String) -> Self {
        Misfit { cause, hint: None, span: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Reads what a file says.
pub(crate) fn from_toml(
    value: &Spanned<DeValue<'_>>,
    kind: Kind,
    around: &Surroundings<'_>,
) -> Result<Value, Misfit> {
    match (kind, value.get_ref()) {
        (Kind::Bool, DeValue::Boolean(value)) => Ok(Value::Bool(*value)),
        (Kind::Count { min, max }, DeValue::Integer(number)) => {
            let read = u64::from_str_radix(number.as_str(), number.radix()).ok();
            bounded(read, min, max, kind)
        }
        (Kind::Secret, DeValue::Table(table)) => secret_reference(table, around),
        (Kind::List { .. }, DeValue::Array(items)) => {
            let items = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(Item { text: text.to_string(), span: Some(item.span()) }),
                other => Err(Misfit { span: Some(item.span()), ..wrong_type(other, Kind::Text) }),
            });
            items.collect::<Result<_, _>>().map(Value::List)
        }
        (Kind::List { .. }, DeValue::String(text)) => {
            Ok(Value::List(vec![Item { text: text.to_string(), span: Some(value.span()) }]))
        }
        (Kind::Duration { .. }, DeValue::Integer(number)) => {
            Err(Misfit::new("a duration has a unit".to_owned())
                .hint(format!("write \"{}s\"", number.as_str())))
        }
        (Kind::Size, DeValue::Integer(number)) => {
            Err(Misfit::new("a size has a unit".to_owned()).hint(format!("write \"{}MB\"", number.as_str())))
        }
        (Kind::Bool | Kind::Count { .. }, other) => Err(wrong_type(other, kind)),
        (_, DeValue::String(text)) => from_text(text, kind, around),
        (_, other) => Err(wrong_type(other, kind)),
    }
}

/// Reads what an environment variable or an option says.
pub(crate) fn from_text(text: &str, kind: Kind, around: &Surroundings<'_>) -> Result<Value, Misfit> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Secret => Ok(Value::Secret(Secret::new(text))),
        Kind::Path => Ok(Value::Path(around.base.join(text))),
        Kind::List { separator } => {
            let entries = text.split([separator, '\n']).map(str::trim).filter(|entry| !entry.is_empty());
            Ok(Value::List(entries.map(|entry| Item { text: entry.to_owned(), span: None }).collect()))
        }
        Kind::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Misfit::new(format!("\"{text}\" is not {}", kind.expects()))),
        },
        Kind::Count { min, max } => bounded(text.trim().parse().ok(), min, max, kind),
        Kind::Duration { min } => match parse_duration(text) {
            Ok(value) if value >= min => Ok(Value::Duration(value)),
            Ok(_) => Err(Misfit::new(format!("less than {}", display_duration(min)))),
            Err(cause) => Err(Misfit::new(cause).hint("units are ms, s, m, h and d, as in \"250ms\"")),
        },
        Kind::Size => match parse_size(text) {
            Ok(value) => Ok(Value::Size(value)),
            Err(cause) => Err(Misfit::new(cause).hint("units are B, kB, MB, GB and TB, as in \"16MB\"")),
        },
        Kind::Choice(words) => match words.contains(&text) {
            true => Ok(Value::Text(text.to_owned())),
            false => Err(not_a_choice(text, words, kind)),
        },
    }
}

fn bounded(read: Option<u64>, min: u64, max: u64, kind: Kind) -> Result<Value, Misfit> {
    match read {
        Some(number) if (min..=max).contains(&number) => Ok(Value::Count(number)),
        _ => Err(Misfit::new(format!("expected {}", kind.expects()))),
    }
}

fn not_a_choice(text: &str, words: &'static [&'static str], kind: Kind) -> Misfit {
    let misfit = Misfit::new(format!("expected {}", kind.expects()));
    match nearest(text, words.iter().copied()) {
        Some(word) => misfit.hint(format!("did you mean \"{word}\"?")),
        None => misfit,
    }
}

fn wrong_type(found: &DeValue<'_>, kind: Kind) -> Misfit {
    Misfit::new(format!("expected {}, found {}", kind.expects(), found.type_str()))
}

/// Reads `{ env = "NAME" }` or `{ file = "PATH" }`.
fn secret_reference(table: &DeTable<'_>, around: &Surroundings<'_>) -> Result<Value, Misfit> {
    let mut entries = table.iter();
    let (Some((word, target)), None) = (entries.next(), entries.next()) else {
        return Err(Misfit::new(format!("expected {}", Kind::Secret.expects())));
    };
    let DeValue::String(target_text) = target.get_ref() else {
        return Err(Misfit { span: Some(target.span()), ..wrong_type(target.get_ref(), Kind::Text) });
    };
    let read = match word.get_ref().as_ref() {
        "env" => around.env.get(target_text.as_ref()).cloned().ok_or_else(|| {
            Misfit::new(format!("environment variable {target_text} is not set"))
                .hint("set it, or take the secret from a file with { file = \"PATH\" }")
        }),
        "file" => read_secret_file(&around.base.join(target_text.as_ref())),
        _ => Err(Misfit::new(format!("expected {}", Kind::Secret.expects()))),
    };
    match read {
        Ok(text) => Ok(Value::Secret(Secret::new(text))),
        Err(misfit) => Err(Misfit { span: misfit.span.or(Some(target.span())), ..misfit }),
    }
}

/// Reads a file that holds one secret; the line end that editors add is not part of it.
pub(crate) fn read_secret_file(path: &Path) -> Result<String, Misfit> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
        Err(error) => Err(Misfit::new(format!("cannot read {}: {error}", path.display()))),
    }
}
