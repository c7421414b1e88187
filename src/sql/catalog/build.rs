//! Makes a [`Catalog`] of the facts: looks through views, policies, children and defaults.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{self, Kind, Of, What};
use super::lists::{List, Lists};
use super::{Catalog, Facts, Function, Names, Object, Schema, SearchPath};
use crate::sql::{NeedsPrimary, builtins, names};

impl Catalog {
    /// Makes the catalog of these facts; `generation` must be another number for each one the process makes.
    pub fn new(generation: u32, facts: Facts, lists: Lists) -> Catalog {
        let functions = functions(&facts, &lists);
        let relations = relations(&facts, &functions, &lists);
        let mut schemas = Schemas::default();
        let mut catalog = Catalog { generation, distrust: facts.distrust, ..Catalog::default() };
        for it in &facts.functions {
            let reason = functions.get(&it.oid).copied().flatten();
            let object = Object { schema: schemas.place(&it.schema), reason };
            let (least_arguments, most_arguments) = (it.least_arguments, it.most_arguments);
            add(&mut catalog.functions, &it.name, Function { object, least_arguments, most_arguments });
        }
        for it in &facts.relations {
            let reason = relations.get(&it.oid).copied().flatten();
            add(&mut catalog.relations, &it.name, Object { schema: schemas.place(&it.schema), reason });
        }
        for (all, found, reason) in [
            (&mut catalog.operators, &facts.operators, NeedsPrimary::Operator),
            (&mut catalog.types, &facts.types, NeedsPrimary::Type),
        ] {
            for (schema, name) in found {
                add(all, name, Object { schema: schemas.place(schema), reason: Some(reason) });
            }
        }
        catalog.schemas = schemas.finish(&facts);
        catalog.lists = lists;
        catalog
    }
}

/// Why an object needs the primary, by `oid`; `None` inside for one that does not.
type Reasons = BTreeMap<u32, Option<NeedsPrimary>>;

/// What the configuration says of an object: `None` when nothing.
fn listed(primary: &List, standby: &List, schema: &str, name: &str) -> Option<Option<NeedsPrimary>> {
    match (primary.has(Some(schema), name), standby.has(Some(schema), name)) {
        (true, _) => Some(Some(NeedsPrimary::Listed)),
        (false, true) => Some(None),
        (false, false) => None,
    }
}

fn functions(facts: &Facts, lists: &Lists) -> Reasons {
    let mut settled = BTreeSet::new();
    let mut reasons = Reasons::new();
    for it in &facts.functions {
        let reason = listed(&lists.primary_functions, &lists.standby_functions, &it.schema, &it.name);
        if reason.is_some() {
            settled.insert(it.oid);
        }
        reasons.insert(it.oid, reason.unwrap_or(it.volatile.then_some(NeedsPrimary::Function)));
    }
    // A call without an argument runs its default, which may again be such a call.
    let defaults: Vec<_> = facts.parts.iter().filter(|part| is_of_function(part.of)).collect();
    let mut changed = true;
    while changed {
        changed = false;
        for part in &defaults {
            let fine = reasons.get(&part.owner) == Some(&None) && !settled.contains(&part.owner);
            if fine && function_part(&part.what, &reasons, lists).is_some() {
                reasons.insert(part.owner, Some(NeedsPrimary::Function));
                changed = true;
            }
        }
    }
    reasons
}

fn is_of_function(of: Of) -> bool {
    matches!(of, Of::Default | Of::Argument)
}

/// Returns why a part that is no relation needs the primary.
fn function_part(what: &What, functions: &Reasons, lists: &Lists) -> Option<NeedsPrimary> {
    match what {
        What::Function(oid) => functions.get(oid).copied().unwrap_or(Some(NeedsPrimary::Function)),
        What::SystemFunction { name, volatile } => {
            let schema = Some("pg_catalog");
            let sampling = matches!(&**name, "bernoulli" | "system");
            let plain = (!volatile && builtins::is_plain(name)) || sampling || name.starts_with("_pg_");
            if lists.primary_functions.has(schema, name) {
                Some(NeedsPrimary::Listed)
            } else if plain || lists.standby_functions.has(schema, name) {
                None
            } else {
                Some(NeedsPrimary::Function)
            }
        }
        What::Needs(reason) => Some(*reason),
        What::Relation(_) | What::SystemRelation { .. } => None,
    }
}

/// A reason travels from what is below to whatever is above, until nothing changes.
fn relations(facts: &Facts, functions: &Reasons, lists: &Lists) -> Reasons {
    let mut settled = BTreeSet::new();
    let mut reasons = Reasons::new();
    for it in &facts.relations {
        let reason = listed(&lists.primary_relations, &lists.standby_relations, &it.schema, &it.name);
        if reason.is_some() {
            settled.insert(it.oid);
        }
        reasons.insert(it.oid, reason.unwrap_or(by_kind(it.kind)));
    }
    let mut above: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut pending = Vec::new();
    for part in facts.parts.iter().filter(|part| !is_of_function(part.of)) {
        match &part.what {
            What::Relation(below) if *below == part.owner => {}
            What::Relation(below) => {
                above.entry(*below).or_default().push(part.owner);
                if !reasons.contains_key(below) {
                    pending.push((part.owner, NeedsPrimary::UnknownRelation));
                }
            }
            What::SystemRelation { schema, name } => {
                let reason = system_relation(schema, name, lists);
                pending.extend(reason.map(|reason| (part.owner, reason)));
            }
            _ => {
                let reason = function_part(&part.what, functions, lists).map(|reason| match part.of {
                    Of::Policy => NeedsPrimary::Policy,
                    _ if reason == NeedsPrimary::Function => NeedsPrimary::ViewFunction,
                    _ => reason,
                });
                pending.extend(reason.map(|reason| (part.owner, reason)));
            }
        }
    }
    let spread = |oid: u32, reason, pending: &mut Vec<_>| {
        pending.extend(above.get(&oid).into_iter().flatten().map(|owner| (*owner, reason)));
    };
    for (oid, reason) in &reasons {
        if let Some(reason) = reason {
            spread(*oid, *reason, &mut pending);
        }
    }
    while let Some((oid, reason)) = pending.pop() {
        if reasons.get(&oid) == Some(&None) && !settled.contains(&oid) {
            reasons.insert(oid, Some(reason));
            spread(oid, reason, &mut pending);
        }
    }
    reasons
}

fn by_kind(kind: Kind) -> Option<NeedsPrimary> {
    match kind {
        Kind::Ordinary => None,
        Kind::Unlogged => Some(NeedsPrimary::Unlogged),
        Kind::Sequence => Some(NeedsPrimary::Sequence),
        Kind::Foreign => Some(NeedsPrimary::ForeignTable),
    }
}

fn system_relation(schema: &str, name: &str, lists: &Lists) -> Option<NeedsPrimary> {
    match listed(&lists.primary_relations, &lists.standby_relations, schema, name) {
        Some(listed) => listed,
        None => names::relation(Some(schema), name).reason,
    }
}

fn add<T>(names: &mut Names<T>, name: &str, value: T) {
    match names.get_mut(name) {
        Some(known) => known.push(value),
        None => {
            names.insert(name.into(), vec![value]);
        }
    }
}

#[derive(Default)]
struct Schemas {
    places: BTreeMap<Box<str>, usize>,
}

impl Schemas {
    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.places.len();
        self.places.insert(name.into(), place);
        place
    }

    fn finish(self, facts: &Facts) -> Vec<Schema> {
        let defaults: Option<Vec<SearchPath>> = facts
            .default_paths
            .as_ref()
            .map(|paths| paths.iter().map(|it| SearchPath::unnumbered(it)).collect());
        let mut schemas: Vec<(usize, Schema)> = self
            .places
            .into_iter()
            .map(|(name, place)| {
                let of_role = facts.role_schemas.contains(&name);
                let holds = |path: &SearchPath| match path.names() {
                    Some(names) => names.contains(&name) || (of_role && path.has_user()),
                    None => true,
                };
                let by_default = defaults.as_ref().is_none_or(|paths| paths.iter().any(holds));
                (place, Schema { name, by_default, of_role })
            })
            .collect();
        schemas.sort_by_key(|(place, _)| *place);
        schemas.into_iter().map(|(_, schema)| schema).collect()
    }
}

impl facts::Facts {
    /// Adds a permanent table, for tests and for whoever has no catalog to ask.
    pub fn with_table(mut self, schema: &str, name: &str) -> Facts {
        let oid = u32::MAX - u32::try_from(self.relations.len()).unwrap_or(0);
        let kind = Kind::Ordinary;
        self.relations.push(facts::Relation { oid, schema: schema.into(), name: name.into(), kind });
        self
    }
}
