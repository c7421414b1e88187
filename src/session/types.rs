//! What types the parameters of a prepared statement have: what its client was told, and what they are on a server.
//!
//! PostgreSQL finds the types that a Parse does not give, and keeps them whatever becomes of the schema (`param_types` in
//! plancache.h): a client that asked once sends its values as what it was told. So a statement that is parsed again is
//! given these types. It goes over to the shared statement of its text that has them; whoever prepares the text anew
//! shares what is found then.

use std::sync::Arc;

use super::frontend::Turn;
use super::machine::Session;
use super::server::ServerState;
use super::statements::Named;
use crate::wire::backend;
use crate::wire::frame::Malformed;

impl Session {
    /// Gives the client's statement `name` the types it was told of, where the server has or would find others; tells
    /// whether the server is known to have them then.
    ///
    /// A copy that the server must make is given them only if the schema has changed: else it finds the same, and
    /// all clients can share it.
    pub(super) fn keep_types(&mut self, turn: &mut Turn<'_, '_>, name: &[u8]) -> bool {
        let Some(named) = self.statements.get(name) else { return true };
        let Some(told) = named.types_found() else { return true };
        let known = if name.is_empty() {
            // One parsed later may have other types, and nobody has asked.
            let parsed = self.unnamed_parsed(turn, &named.statement);
            parsed.filter(|parsed| *parsed == named.generation).map(|_| None)
        } else {
            turn.server.prepared.types(&named.statement, named.generation)
        };
        match known {
            None if named.generation >= turn.context.schema_generation => return false,
            Some(None) => return false,
            Some(Some(known)) if *known == **told => return true,
            _ => {}
        }
        let statement = turn.context.statements.intern_with_types(&named.statement, told);
        let named = Named { statement, ..named.clone() };
        self.statements.replace(name, Some(named));
        true
    }

    /// Takes the answer to a Describe of a statement: ParameterDescription.
    pub(super) fn learn_types(&mut self, body: &[u8], server: &mut ServerState) -> Result<(), Malformed> {
        let types = backend::parameter_description(body)?;
        let described = self.pipeline.head().and_then(|head| head.describes.as_ref());
        let Some(described) = described else { return Ok(()) };
        let statement = &described.statement;
        let types = statement.share_types(types);
        server.prepared.set_types(statement.id, described.copy, &types);
        let named = described.name.as_ref().and_then(|name| self.statements.get_mut(name));
        if let Some(named) = named.filter(|named| Arc::ptr_eq(&named.statement, statement)) {
            named.types.get_or_insert(types);
            self.was_told |= named.types_found().is_some();
        }
        Ok(())
    }
}
