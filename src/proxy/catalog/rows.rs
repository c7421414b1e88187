//! Reads the rows that `facts.sql` returns.

use std::collections::BTreeSet;

use crate::sql::facts::{Function, Kind, Of, Part, Relation, What};
use crate::sql::{Facts, NeedsPrimary};

/// A row that is not as it should be, for the log.
#[derive(Debug, thiserror::Error)]
#[error("the catalog returned a row that makes no sense: {0:?}")]
pub struct BadRow(Row);

/// A row as it comes from the server.
pub type Row = Vec<Option<String>>;

/// Takes the row that tells whether the catalog has changed out of the rows.
pub fn fingerprint(rows: &mut Vec<Row>) -> Option<String> {
    let place =
        rows.iter().position(|row| row.first().is_some_and(|tag| tag.as_deref() == Some("fingerprint")))?;
    rows.swap_remove(place).pop()?
}

/// Makes facts of the rows.
pub fn facts(rows: Vec<Row>) -> Result<Facts, BadRow> {
    let mut reading = Reading::default();
    for row in rows {
        if reading.row(&row).is_none() {
            return Err(BadRow(row));
        }
    }
    Ok(reading.finish())
}

#[derive(Default)]
struct Reading {
    facts: Facts,
    default_paths: Vec<Option<Box<str>>>,
    bad_types: BTreeSet<u32>,
    /// Relations and functions whose parts cast to a type: which one is bad is known only at the end.
    casts: Vec<(u32, Of, u32)>,
}

impl Reading {
    /// Takes one row; `None` when it cannot be read.
    fn row(&mut self, row: &[Option<String>]) -> Option<()> {
        let text = |at: usize| row.get(at)?.as_deref();
        let named = |at: usize| Some((Box::from(text(at)?), Box::from(text(at + 1)?)));
        match text(0)? {
            "function" => {
                let (given, defaults): (u16, u16) = (text(4)?.parse().ok()?, text(5)?.parse().ok()?);
                let variadic = text(6)? == "t";
                let (schema, name) = named(2)?;
                self.facts.functions.push(Function {
                    oid: text(1)?.parse().ok()?,
                    schema,
                    name,
                    least_arguments: given.saturating_sub(defaults).saturating_sub(u16::from(variadic)),
                    most_arguments: if variadic { u16::MAX } else { given },
                    volatile: text(7)? != "f",
                });
            }
            "relation" => {
                let (schema, name) = named(2)?;
                let kind = kind(text(4)?, text(5)?);
                self.facts.relations.push(Relation { oid: text(1)?.parse().ok()?, schema, name, kind });
            }
            "part" => {
                let owner = text(1)?.parse().ok()?;
                let what = match text(3)? {
                    "function" => What::Function(text(4)?.parse().ok()?),
                    "system_function" => {
                        What::SystemFunction { name: text(4)?.into(), volatile: text(5)? != "f" }
                    }
                    "relation" => What::Relation(text(4)?.parse().ok()?),
                    "lock" => What::Needs(NeedsPrimary::Locks),
                    "type" => What::Needs(NeedsPrimary::Type),
                    "command_id" => What::Needs(NeedsPrimary::NodeSpecific),
                    _ => {
                        let (schema, name) = text(4)?.split_once('.')?;
                        What::SystemRelation { schema: schema.into(), name: name.into() }
                    }
                };
                self.facts.parts.push(Part { owner, of: of(text(2)?)?, what });
            }
            "type_part" => {
                self.casts.push((text(1)?.parse().ok()?, of(text(2)?)?, text(4)?.parse().ok()?));
            }
            "operator" => self.facts.operators.push(named(1)?),
            "type" => {
                self.facts.types.push(named(1)?);
                self.bad_types.insert(text(3)?.parse().ok()?);
            }
            "distrust" => {
                let operator = text(1)? == "operator";
                self.facts.distrust =
                    Some(if operator { NeedsPrimary::Operator } else { NeedsPrimary::Type });
            }
            "default_path" => self.default_paths.push(text(1).map(Box::from)),
            "role_schema" => self.facts.role_schemas.push(text(1)?.into()),
            _ => return None,
        }
        Some(())
    }

    fn finish(mut self) -> Facts {
        let bad = self.casts.into_iter().filter(|(_, _, cast_to)| self.bad_types.contains(cast_to));
        let parts = bad.map(|(owner, of, _)| Part { owner, of, what: What::Needs(NeedsPrimary::Type) });
        self.facts.parts.extend(parts);
        self.facts.default_paths = self.default_paths.into_iter().collect();
        self.facts
    }
}

fn kind(kind: &str, persistence: &str) -> Kind {
    match (kind, persistence) {
        ("S", _) => Kind::Sequence,
        ("f", _) => Kind::Foreign,
        (_, "p") => Kind::Ordinary,
        _ => Kind::Unlogged,
    }
}

fn of(text: &str) -> Option<Of> {
    Some(match text {
        "view" => Of::View,
        "policy" => Of::Policy,
        "child" => Of::Child,
        "default" => Of::Default,
        "column" => Of::Column,
        "argument" => Of::Argument,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Row> {
        let cell = |text: &&str| (*text != "NULL").then(|| text.to_string());
        rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    #[test]
    fn rows_are_read() {
        let facts = facts(rows(&[
            &["function", "20000", "app", "f", "3", "1", "t", "f"],
            &["relation", "20001", "app", "t", "r", "u"],
            &["part", "20001", "policy", "system_function", "random", "t"],
            &["part", "20001", "view", "system_relation", "pg_catalog.pg_locks", "NULL"],
            &["part", "20001", "view", "lock", "NULL", "NULL"],
            &["part", "20000", "argument", "type", "NULL", "NULL"],
            &["type_part", "20001", "view", "type", "20009", "NULL"],
            &["type_part", "20001", "view", "type", "20010", "NULL"],
            &["type", "app", "d", "20009"],
            &["default_path", "public"],
        ]))
        .unwrap();
        assert_eq!((facts.functions[0].least_arguments, facts.functions[0].most_arguments), (1, u16::MAX));
        assert_eq!(facts.relations[0].kind, Kind::Unlogged);
        assert_eq!(facts.parts.len(), 5);
        assert_eq!(facts.default_paths.as_deref(), Some(&["public".into()][..]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for row in [&["function", "1"][..], &["what", "1"], &["part", "x", "view", "function", "1"], &[]] {
            assert!(facts(rows(&[row])).is_err(), "{row:?}");
        }
        assert_eq!(facts(rows(&[&["default_path", "NULL"]])).unwrap().default_paths, None);
    }
}
