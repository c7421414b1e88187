//! The names in a text that speak against a plain read, for people who ask why.

use std::fmt;

use super::{Catalog, SearchPath};
use crate::sql::effects::NeedsPrimary;
use crate::sql::names;
use crate::sql::uses::{FunctionUse, Name, Uses};

/// A name that speaks against a plain read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// What it is the name of.
    pub kind: Kind,
    /// The name as it was written, folded.
    pub name: String,
    /// What is wrong with it.
    pub reason: NeedsPrimary,
    /// Whether the catalog has something of this name.
    pub known: bool,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Kind {
    Function,
    Relation,
    Operator,
    Type,
    /// `b` of `a.b`, which is a column or a call.
    Field,
}

impl fmt::Display for Culprit {
    /// Writes what it is and what is wrong with it: `function f() is VOLATILE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
            Kind::Function => write!(f, "function {name}() ")?,
            Kind::Relation => write!(f, "relation {name} ")?,
            Kind::Operator => write!(f, "operator {name} ")?,
            Kind::Type => write!(f, "type {name} ")?,
            Kind::Field => write!(f, "field {name}, if it is a call, ")?,
        }
        f.write_str(match self.reason {
            NeedsPrimary::Function if self.known => "is VOLATILE",
            NeedsPrimary::Function => "is not known to be harmless",
            NeedsPrimary::ShadowedBuiltin => "may be a user's function, which is VOLATILE",
            NeedsPrimary::Listed => "is listed in the configuration",
            NeedsPrimary::NodeSpecific => "differs from node to node",
            NeedsPrimary::Sequence => "is a sequence",
            NeedsPrimary::Unlogged => "is unlogged or temporary, or reads what is",
            NeedsPrimary::ForeignTable => "is a foreign table, or reads one",
            NeedsPrimary::ViewFunction => "calls a function that is VOLATILE",
            NeedsPrimary::Policy => "has a row-level policy that calls a function that is VOLATILE",
            NeedsPrimary::Operator => "calls a function that is VOLATILE",
            NeedsPrimary::Type => "has casts, checks, input or output that are VOLATILE",
            NeedsPrimary::UnknownRelation => "is not in the catalog",
            _ => "needs the primary",
        })
    }
}

/// What the names alone tell, without a catalog.
pub(in crate::sql) fn culprits_without(uses: &Uses) -> Vec<Culprit> {
    let functions = uses.functions.iter().filter_map(|it| {
        let reason = names::function(it.name.schema.as_deref(), &it.name.name).reason?;
        Some(culprit(Kind::Function, &it.name, reason, false))
    });
    let relations = uses.relations.iter().filter_map(|it| {
        let reason = names::relation(it.name.schema.as_deref(), &it.name.name).reason?;
        Some(culprit(Kind::Relation, &it.name, reason, false))
    });
    functions.chain(relations).collect()
}

impl Catalog {
    /// Returns the names in `uses` that speak against a plain read.
    pub(in crate::sql) fn culprits(&self, uses: &Uses, path: &SearchPath) -> Vec<Culprit> {
        let functions = uses.functions.iter().filter_map(|it| {
            let known = self.knows_function(it);
            Some(culprit(Kind::Function, &it.name, self.function(it, path)?, known))
        });
        let relations = uses
            .relations
            .iter()
            .filter_map(|it| Some(culprit(Kind::Relation, &it.name, self.relation(it, path)?, true)));
        let operators = uses.operators.iter().filter_map(|it| {
            Some(culprit(Kind::Operator, it, self.object(&self.operators, it, path)?, true))
        });
        let types = uses
            .types
            .iter()
            .filter_map(|it| Some(culprit(Kind::Type, it, self.object(&self.types, it, path)?, true)));
        let fields = uses.fields.iter().filter_map(|it| {
            let reason = self.field(it, path)?;
            Some(Culprit { kind: Kind::Field, name: it.to_string(), reason, known: true })
        });
        functions.chain(relations).chain(operators).chain(types).chain(fields).collect()
    }

    fn knows_function(&self, it: &FunctionUse) -> bool {
        self.functions.contains_key(&it.name.name)
    }
}

fn culprit(kind: Kind, name: &Name, reason: NeedsPrimary, known: bool) -> Culprit {
    Culprit { kind, name: name.to_string(), reason, known }
}
