//! Runs statements, in either protocol.

use std::collections::VecDeque;

use bellwether::wire::write;

use super::extended::{column, duplicate, leaves_transaction};
use super::sql::{self, Statement};
use super::{Failure, Fake, Leftovers, Prepared, Status, aborted};

impl Fake {
    pub(super) fn query(&mut self, text: &str) {
        self.unnamed = None;
        self.portals.remove("");
        match sql::parse(text) {
            Err(part) => {
                self.fail(&syntax(&part));
                self.ready();
            }
            Ok(statements) if statements.is_empty() => {
                self.emit(b'I', |_| {});
                if self.status == Status::Idle {
                    self.end(true);
                }
                self.ready();
            }
            Ok(statements) => self.run_all(statements.into()),
        }
    }

    /// Runs the statements of a Query, up to a COPY or the end.
    pub(super) fn run_all(&mut self, mut statements: VecDeque<(String, Statement)>) {
        while let Some((_, statement)) = statements.pop_front() {
            self.open = true;
            if let Err(failure) = self.run_one(&statement, &mut statements) {
                self.fail(&failure);
                break;
            }
            if self.copying.is_some() {
                return;
            }
        }
        if self.status == Status::Idle {
            self.end(true);
        }
        self.ready();
    }

    fn run_one(
        &mut self,
        statement: &Statement,
        rest: &mut VecDeque<(String, Statement)>,
    ) -> Result<(), Failure> {
        if self.status == Status::Failed && !leaves_transaction(statement) {
            return Err(aborted());
        }
        match statement {
            Statement::CopyIn => self.begin_copy(false, std::mem::take(rest)),
            Statement::Execute(name) => {
                let prepared = self.by_sql(name)?;
                if let Some(statement) = prepared {
                    return self.run_one(&statement, rest);
                }
            }
            _ if column(statement).is_some() => {
                let rows = self.rows(statement, &[])?;
                self.row_description(column(statement).unwrap_or("?"));
                rows.iter().for_each(|row| self.row(row));
                self.refuse(statement)?;
                self.complete(&format!("SELECT {}", rows.len()));
            }
            _ => {
                let tag = self.run(statement, &[])?;
                self.complete(&tag);
            }
        }
        Ok(())
    }

    /// Fails where told to.
    pub(super) fn refuse(&self, statement: &Statement) -> Result<(), Failure> {
        match self.refuses {
            Some((code, routine, _)) if *statement == Statement::Table => {
                Err(Failure(code, "refused here".into(), routine))
            }
            _ => Ok(()),
        }
    }

    fn by_sql(&self, name: &str) -> Result<Option<Statement>, Failure> {
        let missing = || Failure::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.prepared.get(name).map(|prepared| prepared.statement.clone()).ok_or_else(missing)
    }

    pub(super) fn row(&mut self, values: &[String]) {
        write::text_row(&mut self.buffered, values.iter().map(|value| Some(value.as_str())));
        self.noise();
    }

    /// Returns the rows of a statement that has some.
    pub(super) fn rows(
        &mut self,
        statement: &Statement,
        values: &[String],
    ) -> Result<Vec<Vec<String>>, Failure> {
        let one = |text: &str| Ok(vec![vec![text.to_string()]]);
        match statement {
            Statement::Constants(values) => Ok(vec![values.clone()]),
            Statement::Parameter => one(values.first().map_or("?", |value| value)),
            Statement::Divide => Err(Failure::new("22012", "division by zero")),
            Statement::Series(count) => Ok((1..=*count).map(|n| vec![n.to_string()]).collect()),
            Statement::Table => {
                if let Some((_, _, rows)) = self.refuses {
                    return if rows == 0 {
                        self.refuse(statement).map(|()| Vec::new())
                    } else {
                        Ok(vec![vec!["x".into()]; rows])
                    };
                }
                let rows = self.database.borrow();
                Ok(rows.iter().chain(&self.inserted).map(|row| vec![row.clone()]).collect())
            }
            Statement::Show(name) => one(&self.settings.get(name)),
            Statement::SetConfig(calls) => Ok(vec![self.set_config(calls, values)?]),
            Statement::Lock { fails } => {
                self.leftovers.locks += 1;
                if *fails { Err(Failure::new("22012", "division by zero")) } else { one("") }
            }
            Statement::Unlock => {
                self.leftovers.locks = self.leftovers.locks.saturating_sub(1);
                one("t")
            }
            Statement::Opaque => {
                self.leftovers.temp.push("hidden".into());
                one("")
            }
            Statement::Harmless => one(""),
            Statement::Probe => {
                let left = &self.leftovers;
                let by_sql = self.prepared.values().filter(|prepared| prepared.by_sql).count();
                let counts =
                    [left.temp.len(), left.locks, usize::from(left.listening), left.cursors.len(), by_sql];
                Ok(vec![counts.map(|count| count.to_string()).into()])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn set_config(
        &mut self,
        calls: &[(Option<String>, Option<String>, bool)],
        values: &[String],
    ) -> Result<Vec<String>, Failure> {
        let mut values = values.iter().cloned();
        let mut argument = |given: &Option<String>| {
            let missing = || Failure::new("42P02", "there is no parameter $1");
            given.clone().or_else(|| values.next()).ok_or_else(missing)
        };
        let mut row = Vec::new();
        for (name, value, local) in calls {
            let (name, value) = (argument(name)?, argument(value)?);
            self.check_value(&name, &value)?;
            self.settings.set(&name, &value, *local);
            row.push(value);
        }
        Ok(row)
    }

    fn check_value(&self, name: &str, value: &str) -> Result<(), Failure> {
        if value == "invalid" || (name == "client_min_messages" && value == "bellwether") {
            let what = format!("invalid value for parameter \"{name}\": \"{value}\"");
            return Err(Failure::new("22023", what));
        }
        Ok(())
    }

    /// Runs a statement that returns no rows; returns its tag.
    pub(super) fn run(&mut self, statement: &Statement, _values: &[String]) -> Result<String, Failure> {
        let read_only = self.read_only || self.settings.get("in_hot_standby") == "on";
        if matches!(statement, Statement::Insert(_)) && read_only {
            let what = "cannot execute INSERT in a read-only transaction";
            return Err(Failure("25006", what.into(), "PreventCommandIfReadOnly"));
        }
        Ok(match statement {
            Statement::Insert(row) => {
                self.inserted.push(row.clone());
                "INSERT 0 1".into()
            }
            Statement::Modes { read_only } => {
                self.read_only = read_only.unwrap_or(self.read_only) && self.status == Status::Block;
                "SET".into()
            }
            Statement::Begin { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint(_)
            | Statement::Release(_)
            | Statement::RollbackTo(_) => self.transaction(statement)?.into(),
            Statement::Set { name, value, local } => {
                self.check_value(name, value)?;
                self.settings.set(name, value, *local);
                "SET".into()
            }
            Statement::Reset(name) => {
                self.settings.reset(name);
                "RESET".into()
            }
            Statement::ResetLocal(name) => {
                self.settings.reset_local(name);
                "SET".into()
            }
            Statement::ResetAll => {
                self.settings.reset_all();
                "RESET".into()
            }
            Statement::Prepare(name, text) => {
                if self.prepared.contains_key(name) {
                    return Err(duplicate(name));
                }
                let statement = sql::parse(text).map_err(|part| syntax(&part))?.pop();
                let statement = statement.map(|(_, statement)| statement);
                let text = text.clone();
                self.prepared.insert(
                    name.clone(),
                    Prepared { text, statement, by_sql: true, outdated: false, types: Vec::new() },
                );
                "PREPARE".into()
            }
            Statement::Execute(name) => {
                let inner = self.by_sql(name)?;
                match inner {
                    Some(inner) if column(&inner).is_some() => {
                        let rows = self.rows(&inner, &[])?;
                        rows.iter().for_each(|row| self.row(row));
                        format!("SELECT {}", rows.len())
                    }
                    Some(inner) => self.run(&inner, &[])?,
                    None => "EXECUTE".into(),
                }
            }
            Statement::Deallocate(name) => {
                if self.prepared.remove(name).is_none() {
                    let what = format!("prepared statement \"{name}\" does not exist");
                    return Err(Failure::new("26000", what));
                }
                "DEALLOCATE".into()
            }
            Statement::DeallocateAll => {
                self.prepared.clear();
                "DEALLOCATE ALL".into()
            }
            Statement::DiscardAll => {
                if self.status != Status::Idle || self.refuses_discard {
                    return Err(Failure::new("25001", "DISCARD ALL cannot run inside a transaction block"));
                }
                self.settings.discard();
                // It is no part of a transaction.
                self.settings.end(true);
                self.prepared.clear();
                self.leftovers = Leftovers::default();
                "DISCARD ALL".into()
            }
            Statement::Alter => {
                self.outdate();
                "ALTER TABLE".into()
            }
            Statement::CopyOut => {
                self.emit(b'H', |body| body.extend_from_slice(&[0, 0, 1, 0, 0]));
                for row in ["a\n", "b\n"] {
                    self.emit(b'd', |body| body.extend_from_slice(row.as_bytes()));
                }
                self.emit(b'c', |_| {});
                "COPY 2".into()
            }
            Statement::Notify => {
                if self.leftovers.listening {
                    self.buffered.extend_from_slice(&super::notification("c"));
                }
                "NOTIFY".into()
            }
            Statement::Other(tag) => (*tag).into(),
            _ => self.leave(statement)?.into(),
        })
    }

    /// Runs a statement that leaves or removes state.
    fn leave(&mut self, statement: &Statement) -> Result<&'static str, Failure> {
        let left = &mut self.leftovers;
        Ok(match statement {
            Statement::CreateTemp(name) => {
                left.temp.push(name.clone());
                "CREATE TABLE"
            }
            Statement::DropTable(name) => {
                if !left.temp.contains(name) {
                    return Err(Failure::new("42P01", format!("table \"{name}\" does not exist")));
                }
                left.temp.retain(|known| known != name);
                "DROP TABLE"
            }
            Statement::Listen => {
                left.listening = true;
                "LISTEN"
            }
            Statement::Unlisten => {
                left.listening = false;
                "UNLISTEN"
            }
            Statement::Hold(name) => {
                left.cursors.push(name.clone());
                "DECLARE CURSOR"
            }
            Statement::CloseCursor(name) => {
                left.cursors.retain(|known| known != name);
                "CLOSE CURSOR"
            }
            other => panic!("not handled: {other:?}"),
        })
    }

    fn transaction(&mut self, statement: &Statement) -> Result<&'static str, Failure> {
        let again = |fake: &mut Fake, chain: &bool| {
            if *chain {
                (fake.status, fake.open) = (Status::Block, true);
            }
        };
        let read_only = self.read_only;
        Ok(match statement {
            Statement::Begin { start, read_only } => {
                if self.status == Status::Idle {
                    self.status = Status::Block;
                }
                self.read_only = read_only.unwrap_or(self.read_only);
                if *start { "START TRANSACTION" } else { "BEGIN" }
            }
            Statement::Commit { chain: true } | Statement::Rollback { chain: true }
                if self.status == Status::Idle =>
            {
                return Err(Failure::new("25P01", "AND CHAIN can only be used in transaction blocks"));
            }
            Statement::Commit { chain } => {
                let failed = self.status == Status::Failed;
                self.end(!failed);
                again(self, chain);
                self.read_only = read_only && *chain;
                if failed { "ROLLBACK" } else { "COMMIT" }
            }
            Statement::Rollback { chain } => {
                self.end(false);
                again(self, chain);
                self.read_only = read_only && *chain;
                "ROLLBACK"
            }
            Statement::Savepoint(name) if self.status == Status::Block => {
                self.settings.savepoint(name);
                self.savepoints.push((name.clone(), self.inserted.len()));
                "SAVEPOINT"
            }
            Statement::Release(name) if self.settings.release(name) => {
                let at = self.savepoints.iter().rposition(|(known, _)| known == name);
                self.savepoints.truncate(at.unwrap_or(0));
                "RELEASE"
            }
            Statement::RollbackTo(name) if self.settings.rollback_to(name) => {
                let at = self.savepoints.iter().rposition(|(known, _)| known == name).unwrap_or(0);
                self.inserted.truncate(self.savepoints[at].1);
                self.savepoints.truncate(at + 1);
                self.status = Status::Block;
                "ROLLBACK"
            }
            Statement::Savepoint(_) => {
                return Err(Failure::new("25P01", "SAVEPOINT can only be used in transaction blocks"));
            }
            _ => return Err(Failure::new("3B001", "savepoint does not exist")),
        })
    }
}

pub(super) fn syntax(part: &str) -> Failure {
    Failure::new("42601", format!("syntax error at or near \"{}\"", part.split(' ').next().unwrap_or("")))
}
