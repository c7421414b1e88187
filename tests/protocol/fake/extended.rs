//! Parse, Bind, Describe, Execute and Close.

use std::collections::VecDeque;
use std::collections::btree_map::Entry;

use bellwether::wire::frame::Body;

use super::sql::{self, Statement};
use super::{Failure, Fake, Portal, Prepared, Status, aborted, string, strings, types};

impl Fake {
    pub(super) fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Failure> {
        match tag {
            b'P' => self.parse(body),
            b'B' => self.bind(body),
            b'D' => self.describe(body[0], &string(&body[1..])),
            b'E' => {
                let mut reader = Body::new(body);
                let [portal] = strings(&mut reader);
                self.execute(&portal, reader.i32().expect("a limit"))
            }
            b'C' => {
                let name = string(&body[1..]);
                match (body[0], name.as_str()) {
                    (b'S', "") => self.unnamed = None,
                    (b'S', _) => drop(self.prepared.remove(&name)),
                    _ => drop(self.portals.remove(&name)),
                }
                self.emit(b'3', |_| {});
                Ok(())
            }
            _ => panic!("the proxy sent message {:?}", tag as char),
        }
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), Failure> {
        let mut reader = Body::new(body);
        let [name, text] = strings(&mut reader);
        let mut types = types(&mut reader);
        if name.is_empty() {
            self.unnamed = None;
        }
        let statement = single(&text)?;
        if self.status == Status::Failed && !statement.as_ref().is_some_and(leaves_transaction) {
            return Err(aborted());
        }
        if types.contains(&self.lacks) {
            return Err(Failure::new("42883", "operator does not exist"));
        }
        if types.is_empty() && statement == Some(Statement::Parameter) {
            types.push(self.finds);
        }
        let prepared = Prepared { text, statement, by_sql: false, outdated: false, types };
        if name.is_empty() {
            self.unnamed = Some(prepared);
        } else {
            match self.prepared.entry(name) {
                Entry::Occupied(taken) => return Err(duplicate(taken.key())),
                Entry::Vacant(free) => drop(free.insert(prepared)),
            }
        }
        self.emit(b'1', |_| {});
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Prepared, Failure> {
        let missing = || {
            let what = if name.is_empty() {
                "unnamed prepared statement does not exist".to_string()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Failure::new("26000", what)
        };
        if name.is_empty() { self.unnamed.as_ref() } else { self.prepared.get(name) }.ok_or_else(missing)
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Failure> {
        let mut reader = Body::new(body);
        let [portal, name] = strings(&mut reader);
        let found = self.find(&name)?;
        if self.status == Status::Failed && !found.statement.as_ref().is_some_and(leaves_transaction) {
            return Err(aborted());
        }
        let (statement, outdated) = (found.statement.clone(), found.outdated);
        if outdated {
            return Err(changed());
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(Failure::new("42P03", format!("cursor \"{portal}\" already exists")));
        }
        let values = values(&mut reader);
        self.portals.insert(portal, Portal { statement, values, given: 0, done: false });
        self.emit(b'2', |_| {});
        Ok(())
    }

    fn describe(&mut self, kind: u8, name: &str) -> Result<(), Failure> {
        let statement = if kind == b'S' {
            let found = self.find(name)?;
            if self.status == Status::Failed {
                return Err(aborted());
            }
            if found.outdated {
                return Err(changed());
            }
            let (statement, types) = (found.statement.clone(), found.types.clone());
            self.emit(b't', |body| {
                body.extend_from_slice(&(types.len() as u16).to_be_bytes());
                types.iter().for_each(|oid| body.extend_from_slice(&oid.to_be_bytes()));
            });
            statement
        } else {
            self.portal(name)?.statement.clone()
        };
        match statement.as_ref().and_then(column) {
            Some(column) => self.row_description(column),
            None => self.emit(b'n', |_| {}),
        }
        Ok(())
    }

    pub(super) fn row_description(&mut self, column: &str) {
        bellwether::wire::write::text_row_description(&mut self.buffered, &[column]);
    }

    fn portal(&mut self, name: &str) -> Result<&mut Portal, Failure> {
        let missing = || Failure::new("34000", format!("portal \"{name}\" does not exist"));
        self.portals.get_mut(name).ok_or_else(missing)
    }

    fn execute(&mut self, name: &str, limit: i32) -> Result<(), Failure> {
        let failed = self.status == Status::Failed;
        let portal = self.portal(name)?;
        let Some(statement) = portal.statement.clone() else {
            self.emit(b'I', |_| {});
            return Ok(());
        };
        if failed && !leaves_transaction(&statement) {
            return Err(aborted());
        }
        let (values, given, done) = (portal.values.clone(), portal.given, portal.done);
        if column(&statement).is_none() {
            if done {
                return Err(Failure::new("55000", format!("portal \"{name}\" cannot be run")));
            }
            portal.done = true;
            if statement == Statement::CopyIn {
                self.begin_copy(true, VecDeque::new());
                return Ok(());
            }
            let tag = self.run(&statement, &values)?;
            self.complete(&tag);
            return Ok(());
        }
        let rows = self.rows(&statement, &values)?;
        let left = &rows[given.min(rows.len())..];
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let now = limit.unwrap_or(usize::MAX).min(left.len());
        for row in &left[..now] {
            self.row(row);
        }
        self.refuse(&statement)?;
        if let Some(portal) = self.portals.get_mut(name) {
            portal.given += now;
        }
        if limit == Some(now) {
            self.emit(b's', |_| {});
        } else {
            self.complete(&format!("SELECT {now}"));
        }
        Ok(())
    }
}

/// Returns the column a statement returns rows of.
pub(super) fn column(statement: &Statement) -> Option<&'static str> {
    Some(match statement {
        Statement::Constants(_) | Statement::Parameter | Statement::Divide => "c",
        Statement::Series(_) => "n",
        Statement::Table => "a",
        Statement::Show(_) => "v",
        Statement::SetConfig(_) => "set_config",
        Statement::Lock { .. } | Statement::Unlock | Statement::Opaque | Statement::Harmless => "f",
        Statement::Probe => "count",
        _ => return None,
    })
}

fn single(text: &str) -> Result<Option<Statement>, Failure> {
    let mut statements = sql::parse(text).map_err(|part| super::run::syntax(&part))?;
    if statements.len() > 1 {
        let what = "cannot insert multiple commands into a prepared statement";
        return Err(Failure::new("42601", what));
    }
    Ok(statements.pop().map(|(_, statement)| statement))
}

pub(super) fn leaves_transaction(statement: &Statement) -> bool {
    matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackTo(_))
}

pub(super) fn duplicate(name: &str) -> Failure {
    Failure::new("42P05", format!("prepared statement \"{name}\" already exists"))
}

fn changed() -> Failure {
    Failure("0A000", "cached plan must not change result type".into(), "RevalidateCachedQuery")
}

fn values(reader: &mut Body<'_>) -> Vec<String> {
    let formats = reader.i16().expect("a count");
    reader.bytes(formats as usize * 2).expect("formats");
    let count = reader.i16().expect("a count");
    let mut value = || {
        let length = reader.i32().expect("a length");
        String::from_utf8_lossy(reader.bytes(length as usize).expect("a value")).into_owned()
    };
    (0..count).map(|_| value()).collect()
}
