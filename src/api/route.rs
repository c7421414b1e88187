//! `/api/v1/route`: where a statement would go, and which rule says so.

use std::borrow::Cow;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::answers::{Answer, Asked, SCHEMA, error, json_answer};
use super::operations::{End, Later};

/// A statement that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuestion {
    /// The text; several statements may stand in it.
    pub sql: String,
    /// The database it would run in; `None` for that of the probes.
    pub database: Option<String>,
    /// The user it would run as; `None` for that of the probes.
    pub user: Option<String>,
}

/// Where it would go now, in a session that has set nothing and is in no transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteAnswer {
    /// The database it was judged in.
    pub database: String,
    /// The user it was judged for.
    pub user: String,
    /// `primary` or `standby`.
    pub target: &'static str,
    /// The node that would get it; `None` while there is none.
    pub node: Option<String>,
    /// Name of the rule, as it is counted in `bellwether_routed_total`.
    pub rule: &'static str,
    /// The rule in a sentence.
    pub because: &'static str,
    /// Each statement by itself; empty when the text cannot be read.
    pub statements: Vec<RouteStatement>,
    /// Whether the catalog of the database is loaded.
    pub catalog_loaded: bool,
}

/// One statement of the text, by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStatement {
    /// Its text, shortened.
    pub sql: String,
    /// Name of the rule.
    pub rule: &'static str,
    /// The rule in a sentence.
    pub because: &'static str,
    /// The names in it that speak against a standby.
    pub names: Vec<String>,
}

/// Who knows where statements go.
pub type RouteSource = Box<dyn Fn(RouteQuestion) -> Later<RouteAnswer> + Send + Sync>;

/// Reads `sql`, and `database` and `user` where they are given.
pub(super) fn question(asked: &Asked) -> Result<RouteQuestion, Box<Answer>> {
    let value = |name: &str| match asked.parameter(name).map(decoded) {
        None => Ok(None),
        Some(Some(text)) => Ok(Some(text.into_owned())),
        Some(None) => {
            let wrong = format!("the parameter {name} is no percent-encoded text");
            Err(Box::new(error(StatusCode::BAD_REQUEST, &wrong)))
        }
    };
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let Some(sql) = some(value("sql")?) else {
        return Err(Box::new(error(StatusCode::BAD_REQUEST, "the parameter sql is missing: a statement")));
    };
    Ok(RouteQuestion { sql, database: some(value("database")?), user: some(value("user")?) })
}

/// Writes what was found out.
pub(super) fn answer(found: Result<RouteAnswer, End>) -> Answer {
    match found {
        Ok(found) => {
            let mut body = serde_json::to_value(found).unwrap_or_default();
            body["schema"] = json!(SCHEMA);
            json_answer(StatusCode::OK, &body)
        }
        Err(end) => {
            let body = json!({"schema": SCHEMA, "error": end.message, "cause": end.cause, "hint": end.hint});
            json_answer(end.outcome.status(), &body)
        }
    }
}

/// Undoes the encoding of a parameter; `None` when it is none, or no text.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<RouteQuestion, StatusCode> {
        let asked = Asked { query: query.to_owned(), ..Asked::default() };
        question(&asked).map_err(|answer| answer.status)
    }

    #[test]
    fn statements_are_decoded_or_refused() {
        let asked = read("sql=select+%27%C3%A9%26%2B%27&user=&database=d").expect("it is good");
        assert_eq!((asked.sql.as_str(), asked.database.as_deref()), ("select 'é&+'", Some("d")));
        assert_eq!(asked.user, None);
        for query in ["", "sql", "sql=", "sql=%", "sql=%4", "sql=%zz", "sql=%ff", "sql=a&user=%+1"] {
            assert_eq!(read(query), Err(StatusCode::BAD_REQUEST), "{query}");
        }
    }
}
