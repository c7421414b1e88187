//! What the catalog of one database says of the names a text uses: may it run on a standby?
//!
//! Every object a name may stand for under the session's `search_path` must be harmless, not only the one PostgreSQL
//! would take: which one that is depends on types and privileges that are not known here. What is unknown needs the
//! primary.

mod build;
mod culprits;
pub mod facts;
mod judged;
mod learned;
mod lists;
mod path;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::effects::NeedsPrimary;
use super::uses::{FunctionUse, Name, RelationUse, Uses};
use super::{builtins, names};

pub(super) use culprits::culprits_without;
pub use culprits::{Culprit, Kind};
pub use facts::Facts;
pub(super) use judged::Judged;
pub use learned::Shape;
pub use lists::{BadName, Lists};
pub use path::{SearchPath, SearchPaths};

/// The catalog of one database at one time, reduced to what routing asks of it.
#[derive(Debug, Default)]
pub struct Catalog {
    generation: u32,
    schemas: Vec<Schema>,
    /// Functions of users and extensions.
    functions: Names<Function>,
    /// Every relation that can be read, but those of the system.
    relations: Names<Object>,
    /// Only the operators that need the primary.
    operators: Names<Object>,
    /// Only the types that need the primary.
    types: Names<Object>,
    /// Something runs volatile functions that no text names, so that nothing is a plain read.
    distrust: Option<NeedsPrimary>,
    lists: Lists,
    learned: learned::Learned,
}

type Names<T> = HashMap<Box<str>, Vec<T>, RandomState>;

#[derive(Debug)]
struct Schema {
    name: Box<str>,
    /// May be in the path of a session that has not set one.
    by_default: bool,
    /// A role has the same name, so `"$user"` may mean it.
    of_role: bool,
}

/// An object of some name: its schema, by place, and why it needs the primary if it does.
#[derive(Clone, Copy, Debug)]
struct Object {
    schema: usize,
    reason: Option<NeedsPrimary>,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    object: Object,
    least_arguments: u16,
    most_arguments: u16,
}

impl Catalog {
    /// Returns the number that tells this catalog from all others of this process.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns how many functions and relations are known.
    pub fn size(&self) -> (usize, usize) {
        (self.functions.values().map(Vec::len).sum(), self.relations.values().map(Vec::len).sum())
    }

    /// Returns the reason why no statement is a plain read here, if there is one.
    pub fn distrust(&self) -> Option<NeedsPrimary> {
        self.distrust
    }

    /// Notes that a standby refused a statement of this shape: from now on they need the primary, until the next
    /// catalog.
    pub fn learn(&self, shape: Shape) {
        self.learned.add(shape);
    }

    /// Tells whether a standby has refused a statement of this shape.
    pub(super) fn has_learned(&self, shape: Option<Shape>) -> bool {
        shape.is_some_and(|shape| self.learned.has(shape))
    }

    /// Judges the names a text uses: `Ok` when none of them needs the primary, else the gravest reason.
    pub(super) fn judge(&self, uses: &Uses, path: &SearchPath) -> Result<(), NeedsPrimary> {
        let functions = uses.functions.iter().filter_map(|it| self.function(it, path));
        let relations = uses.relations.iter().filter_map(|it| self.relation(it, path));
        let operators = uses.operators.iter().filter_map(|it| self.object(&self.operators, it, path));
        let types = uses.types.iter().filter_map(|it| self.object(&self.types, it, path));
        let fields = uses.fields.iter().filter_map(|it| self.field(it, path));
        let reasons = functions.chain(relations).chain(operators).chain(types).chain(fields);
        reasons.chain(self.distrust).min().map_or(Ok(()), Err)
    }

    fn function(&self, it: &FunctionUse, path: &SearchPath) -> Option<NeedsPrimary> {
        let (schema, name) = (it.name.schema.as_deref(), &*it.name.name);
        let builtin = schema.is_none_or(|schema| schema == "pg_catalog");
        let fits = |known: &&Function| {
            it.arguments.is_none_or(|given| (known.least_arguments..=known.most_arguments).contains(&given))
                && self.may_mean(known.object.schema, schema, path)
        };
        let mut found = false;
        let mut reason = None;
        for known in self.functions.get(name).into_iter().flatten().filter(fits) {
            found = true;
            reason = reason.or(known.object.reason);
        }
        let plain = builtin && builtins::is_plain(name);
        match reason {
            Some(NeedsPrimary::Function) if plain => return Some(NeedsPrimary::ShadowedBuiltin),
            Some(reason) => return Some(reason),
            None => {}
        }
        let own_schema = if builtin { Some("pg_catalog") } else { schema };
        if self.lists.primary_functions.has(own_schema, name) {
            return Some(NeedsPrimary::Listed);
        }
        let known = plain || (found && !(builtin && builtins::is_other(name)));
        (!known && !self.lists.standby_functions.has(own_schema, name)).then_some(NeedsPrimary::Function)
    }

    fn field(&self, name: &str, path: &SearchPath) -> Option<NeedsPrimary> {
        if names::is_other_field(name) && !self.lists.standby_functions.has(Some("pg_catalog"), name) {
            return Some(NeedsPrimary::Function);
        }
        let calls = |known: &&Function| {
            known.least_arguments <= 1
                && known.most_arguments >= 1
                && self.may_mean(known.object.schema, None, path)
        };
        let mut functions = self.functions.get(name).into_iter().flatten().filter(calls);
        functions.find_map(|known| known.object.reason).or_else(|| {
            let types = self.types.get(name)?;
            types.iter().find(|known| self.may_mean(known.schema, None, path))?.reason
        })
    }

    fn relation(&self, it: &RelationUse, path: &SearchPath) -> Option<NeedsPrimary> {
        let (schema, name) = (it.name.schema.as_deref(), &*it.name.name);
        let mut found = false;
        for known in self.relations.get(name).into_iter().flatten() {
            if self.may_mean(known.schema, schema, path) {
                found = true;
                if known.reason.is_some() {
                    return known.reason;
                }
            }
        }
        let of_system = schema.is_none_or(|schema| schema == "pg_catalog");
        let own_schema = if of_system && name.starts_with("pg_") { Some("pg_catalog") } else { schema };
        if self.lists.primary_relations.has(own_schema, name) {
            return Some(NeedsPrimary::Listed);
        }
        if self.lists.standby_relations.has(own_schema, name) {
            return None;
        }
        if of_system && let Some(reason) = names::relation(schema, name).reason {
            return Some(reason);
        }
        let known = found || it.may_be_cte || (of_system && names::is_catalog_relation(name));
        (!known).then_some(NeedsPrimary::UnknownRelation)
    }

    fn object(&self, all: &Names<Object>, it: &Name, path: &SearchPath) -> Option<NeedsPrimary> {
        let known = all.get(&it.name)?;
        known.iter().find(|known| self.may_mean(known.schema, it.schema.as_deref(), path))?.reason
    }

    /// Tells whether a name written with `schema` may mean an object of the schema at `place`.
    fn may_mean(&self, place: usize, schema: Option<&str>, path: &SearchPath) -> bool {
        let Some(of) = self.schemas.get(place) else { return true };
        match (schema, path.names()) {
            (Some(schema), _) => *of.name == *schema,
            // Always in the path, whatever it says.
            (None, _) if &*of.name == "pg_catalog" => true,
            (None, None) => of.by_default,
            (None, Some(names)) => {
                (of.of_role && path.has_user()) || names.iter().any(|name| **name == *of.name)
            }
        }
    }
}
