//! What rows a prepared statement returns: what its client was told, and what it is on a server.
//!
//! PostgreSQL holds a prepared statement to the rows it had when it was parsed, and raises 0A000 when the schema makes
//! them others ("cached plan must not change result type", `RevalidateCachedQuery()`). Drivers rely on that: those that ask
//! once would misread other rows, and some that ask with each execution have made room for the old ones all the same
//! (DBD::Pg crashes). So a client that was told, by Describe of the statement or of a portal bound from it, gets these rows
//! or this error, from whichever server; one that was never told does not notice the change.

use std::sync::Arc;

use super::frontend::Turn;
use super::machine::Session;
use super::pipeline::{Described, Entry, Internal, Request};
use super::server::ServerState;
use super::statements::{Named, Statement};
use crate::pg::SqlState;
use crate::sql::{Classified, NeedsPrimary};
use crate::wire::backend::{self, TransactionStatus};
use crate::wire::error_response::PgError;
use crate::wire::frame::Malformed;
use crate::wire::frontend::{self, Target, tag};
use crate::wire::write;

/// Stands for names and types of the columns; 0 for a description too long to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(u64);

impl Shape {
    /// Hashes the body of a RowDescription; an empty one stands for NoData (FNV-1a).
    fn of(body: &[u8]) -> Result<Self, Malformed> {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        if !body.is_empty() {
            backend::row_description(body, |column| {
                add(column.name);
                add(&[0]);
                add(&column.type_oid.to_be_bytes());
                add(&column.type_modifier.to_be_bytes());
            })?;
        }
        Ok(Shape(hash | 1))
    }

    fn differs(self, other: Shape) -> bool {
        self != other && self.0 != 0 && other.0 != 0
    }
}

impl Session {
    /// Asks the server what the statement of this Bind or Describe takes and returns, if the client was told and the
    /// server's copy is not known to agree; tells whether it was asked, so that the message must wait. Once for each
    /// statement and server.
    pub(super) fn must_ask(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        if !self.was_told || self.status == TransactionStatus::Failed {
            return false;
        }
        let (name, rows) = match turn.head.tag {
            tag::BIND => (frontend::bind(turn.body()).map(|bind| bind.statement), true),
            tag::DESCRIBE => match frontend::target(turn.body()) {
                Ok(Target::Statement(name)) => (Ok(name), false),
                _ => return false,
            },
            _ => return false,
        };
        let Ok(name) = name else { return false };
        let types_known = self.keep_types(turn, name);
        let Some(named) = self.statements.get(name).filter(|_| !name.is_empty()) else { return false };
        let shape = || turn.server.prepared.shape(&named.statement, named.generation);
        if types_known && (!rows || named.told.is_none() || shape().is_some()) {
            return false;
        }
        let (statement, generation) = (named.statement.clone(), named.generation);
        self.describe_first(turn, name, &statement, generation);
        true
    }

    fn describe_first(
        &mut self,
        turn: &mut Turn<'_, '_>,
        name: &[u8],
        statement: &Arc<Statement>,
        generation: u64,
    ) {
        self.ensure_prepared(turn, name, statement, generation);
        write::describe_statement(turn.out(), &statement.server_name);
        write::flush(turn.out());
        let copy = turn.server.prepared.copy(statement.id);
        let described = Described { statement: statement.clone(), copy, name: None, rows: true };
        let describes = Some(Box::new(described));
        self.pipeline.push(Entry { describes, ..Entry::internal(Request::Describe, Internal::Helper) });
        self.busy = true;
    }

    /// Tells whether the client was told of other rows than the server returns.
    pub(super) fn shape_differs(&self, turn: &Turn<'_, '_>, named: &Named) -> bool {
        let known = turn.server.prepared.shape(&named.statement, named.generation);
        named.told.zip(known).is_some_and(|(told, known)| told.differs(known))
    }

    /// Sends the client's Describe of a named statement.
    pub(super) fn describe_named(&mut self, turn: &mut Turn<'_, '_>, name: &[u8], statement: Arc<Statement>) {
        write::describe_statement(turn.out(), &statement.server_name);
        if let Some(named) = self.statements.get_mut(name) {
            named.told = None;
        }
        let copy = turn.server.prepared.copy(statement.id);
        let own = self.own_portal(&statement.class, turn);
        let rows = has_one_shape(&statement.class);
        let described = Described { statement, copy, name: Some(name.into()), rows };
        let describes = Some(Box::new(described));
        self.pipeline.push(Entry { describes, own, ..Entry::forward(Request::Describe, self.copies_ended) });
    }

    /// Tells which named statement the client is told of by its Describe of `portal`; `None` when it learns nothing new,
    /// as a driver that asks with each execution does not most of the time.
    pub(super) fn describes_statement(&self, turn: &Turn<'_, '_>, portal: &[u8]) -> Option<Box<Described>> {
        let (name, id) = self.portals.last_bound(portal, self.round)?;
        let named = self.statements.get(name).filter(|named| named.statement.id == id)?;
        if !has_one_shape(&named.statement.class) {
            return None;
        }
        let known = turn.server.prepared.shape(&named.statement, named.generation);
        if known.is_some() && known == named.told {
            return None;
        }
        let (statement, copy) = (named.statement.clone(), turn.server.prepared.copy(id));
        Some(Box::new(Described { statement, copy, name: Some(name.into()), rows: true }))
    }

    /// Takes the answer to a Describe of a named statement: its body, unless that is too long; empty for NoData.
    pub(super) fn learn_shape(
        &mut self,
        described: Described,
        body: Option<&[u8]>,
        server: &mut ServerState,
    ) {
        let shape = body.map_or(Ok(Shape(0)), Shape::of).unwrap_or(Shape(0));
        let Described { statement, copy, name, rows } = described;
        if rows {
            server.prepared.set_shape(statement.id, copy, shape);
        }
        match name {
            None => {
                if server.prepared.types(&statement, 0) == Some(None) {
                    // It did not say, so they are what they are given as.
                    server.prepared.set_types(statement.id, copy, &statement.share_types(&statement.types));
                }
                self.busy = false;
            }
            Some(name) => {
                let named = self.statements.get_mut(&name).filter(|_| rows);
                if let Some(named) = named.filter(|named| Arc::ptr_eq(&named.statement, &statement)) {
                    named.told = Some(shape);
                    self.was_told = true;
                }
            }
        }
    }
}

/// What PostgreSQL says of a statement whose rows have changed; drivers go by the routine.
pub(super) fn outdated_plan() -> PgError {
    let message = "cached plan must not change result type";
    PgError {
        routine: Some("RevalidateCachedQuery"),
        ..PgError::error(SqlState::FEATURE_NOT_SUPPORTED, message)
    }
}

/// Tells whether PostgreSQL holds it to the rows it had; FETCH and EXECUTE return what another statement does.
fn has_one_shape(class: &Classified) -> bool {
    !matches!(class.plain_read, Err(NeedsPrimary::Utility | NeedsPrimary::SessionState))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(columns: &[(&str, i32)]) -> Vec<u8> {
        let mut body = i16::try_from(columns.len()).expect("few").to_be_bytes().to_vec();
        for (name, oid) in columns {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(&[0, 0, 0, 9, 9, 0, 1]);
            body.extend_from_slice(&oid.to_be_bytes());
            body.extend_from_slice(&[0, 4, 255, 255, 255, 255, 0, 1]);
        }
        body
    }

    #[test]
    fn names_types_and_their_number_make_the_shape() {
        let shape = |columns: &[(&str, i32)]| Shape::of(&body(columns)).expect("a sound body");
        assert!(!shape(&[("a", 23)]).differs(shape(&[("a", 23)])));
        for other in [&[("a", 25)][..], &[("b", 23)], &[("a", 23), ("b", 23)], &[]] {
            assert!(shape(&[("a", 23)]).differs(shape(other)), "{other:?}");
        }
        assert!(Shape::of(&[]).expect("NoData").differs(shape(&[("a", 23)])));
        assert!(!Shape(0).differs(shape(&[("a", 23)])));
        assert!(Shape::of(&[0, 1, b'a']).is_err());
    }
}
