//! What a server is sent in place of a statement that is the proxy's own: something that takes as long, changes
//! nothing, and is refused where that would be refused.

use std::fmt::Write as _;

use super::parameters::quote_literal;
use crate::pg::SqlState;
use crate::routing::{OwnSetting, Wishes};
use crate::sql::{Classified, OwnAct};
use crate::wire::error_response::PgError;

/// The columns of EXPLAIN ROUTE.
pub(super) const EXPLAIN_COLUMNS: [&str; 2] = ["about", "route"];

/// The SQLSTATE with which a server refuses what it is sent for a statement that we refuse.
pub(super) const REFUSED: SqlState = SqlState::INVALID_PARAMETER_VALUE;

/// What a statement of the proxy's own does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work<'a> {
    /// Changes a setting. With `column` it is a `set_config()` and returns the value.
    Change { setting: OwnSetting, value: Option<&'a str>, local: bool, reset: bool, column: Option<&'a str> },
    /// Shows one.
    Show(OwnSetting),
    /// Explains this SQL.
    ExplainRoute(&'a [u8]),
}

impl Work<'_> {
    /// Returns the tag of CommandComplete.
    pub fn tag(&self) -> &'static str {
        match self {
            Work::Change { column: Some(_), .. } => "SELECT 1",
            Work::Change { reset: true, .. } => "RESET",
            Work::Change { .. } => "SET",
            Work::Show(_) => "SHOW",
            Work::ExplainRoute(_) => "EXPLAIN",
        }
    }
}

/// Tells whether the answer has rows.
pub(super) fn has_rows(work: &Work<'_>) -> bool {
    !matches!(work, Work::Change { column: None, .. })
}

/// Reads what a statement does; the error is what PostgreSQL would say of a setting of its own.
pub(super) fn work(act: &OwnAct) -> Result<Work<'_>, PgError> {
    Ok(match act {
        OwnAct::Set { name, value, local, reset } => {
            let setting = settable(name, value.as_deref())?;
            Work::Change { setting, value: value.as_deref(), local: *local, reset: *reset, column: None }
        }
        OwnAct::SetConfig { name, value, local, column } => {
            let setting = settable(name, value.as_deref())?;
            let column = Some(&**column);
            Work::Change { setting, value: value.as_deref(), local: *local, reset: false, column }
        }
        OwnAct::Show(name) => Work::Show(OwnSetting::named(name).ok_or_else(|| {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            PgError::error(SqlState::UNDEFINED_OBJECT, message)
        })?),
        OwnAct::Unclear(name) => return Err(unclear(name)),
        OwnAct::ExplainRoute(sql) => Work::ExplainRoute(sql),
    })
}

/// What is said of a change of one of our settings that only a server could carry out.
pub(super) fn unclear(name: &str) -> PgError {
    let message = format!("parameter \"{name}\" cannot be set in this way");
    let hint =
        "It is a setting of the proxy: use SET, or set_config() with literals as all there is in a SELECT.";
    PgError::error(SqlState::FEATURE_NOT_SUPPORTED, message).hint(hint)
}

fn settable(name: &str, value: Option<&str>) -> Result<OwnSetting, PgError> {
    let setting = OwnSetting::named(name).ok_or_else(|| {
        let message = format!("invalid configuration parameter name \"{name}\"");
        let detail = "\"bellwether\" is a reserved prefix.";
        PgError::error(SqlState::INVALID_NAME, message).detail(detail)
    })?;
    if let Some(value) = value {
        Wishes::default().set(setting, value).map_err(|bad| {
            PgError::error(SqlState::INVALID_PARAMETER_VALUE, bad.to_string()).hint(bad.hint)
        })?;
    }
    Ok(setting)
}

/// Returns `text` with the statements of our own exchanged for what servers are to see.
pub(super) fn sql(text: &[u8], class: &Classified) -> Vec<u8> {
    let mut sent = Vec::with_capacity(text.len());
    let mut at = 0;
    for own in class.statements.iter().filter_map(|effects| effects.own.as_ref()) {
        sent.extend_from_slice(text.get(at..own.place.start).unwrap_or_default());
        sent.extend_from_slice(stand_in(&own.act).as_bytes());
        at = own.place.end;
    }
    sent.extend_from_slice(text.get(at..).unwrap_or_default());
    sent
}

fn stand_in(act: &OwnAct) -> String {
    match work(act) {
        Err(_) => "SET client_min_messages TO 'bellwether'".into(),
        Ok(Work::Change { column: Some(column), value, .. }) => {
            let value = quote_literal(value.unwrap_or_default());
            let mut sql = format!("SELECT pg_catalog.set_config('bellwether.void',{value},true) AS ");
            let _ = write!(sql, "\"{}\"", column.replace('"', "\"\""));
            sql
        }
        // A placeholder that never has a value.
        Ok(Work::Change { reset: true, .. }) => "RESET \"bellwether.void\"".into(),
        Ok(Work::Change { local: true, .. }) => "SET LOCAL \"bellwether.void\" TO DEFAULT".into(),
        Ok(Work::Change { .. }) => "SET \"bellwether.void\" TO DEFAULT".into(),
        // Takes no snapshot, as SHOW does not.
        Ok(Work::Show(_)) => "SHOW server_encoding".into(),
        Ok(Work::ExplainRoute(_)) => {
            let [one, two] = EXPLAIN_COLUMNS;
            format!("SELECT ''::pg_catalog.text AS {one},''::pg_catalog.text AS {two}")
        }
    }
}
