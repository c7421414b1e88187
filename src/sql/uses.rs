//! The names a text uses whose meaning only the catalog knows.

use std::fmt;

use super::catalog::Shape;

/// What a text calls and reads by name: functions, relations, operators, types. Names that are qualified with
/// `pg_catalog` and harmless are left out: no catalog is needed for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uses {
    pub(super) functions: Box<[FunctionUse]>,
    pub(super) relations: Box<[RelationUse]>,
    pub(super) operators: Box<[Name]>,
    pub(super) types: Box<[Name]>,
    /// `b` of every `a.b`, which calls `b(a)` when `a` has no such column.
    pub(super) fields: Box<[Box<str>]>,
    shape: Option<Shape>,
}

impl Uses {
    /// Tells whether nothing is used that a catalog must be asked about.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
            && self.relations.is_empty()
            && self.operators.is_empty()
            && self.types.is_empty()
            && self.fields.is_empty()
    }

    /// Returns what stands for these names; `None` when there are none.
    pub fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Returns every name as it was written: `function s.f(2)`, with `?` where the number of arguments does not tell which
    /// function it is; `relation t`, `relation t or WITH`; `operator +`; `type t`; `field b`. For those who compare.
    pub fn names(&self) -> Vec<String> {
        let functions = self.functions.iter().map(|it| {
            let arguments = it.arguments.map_or("?".to_owned(), |count| count.to_string());
            format!("function {}({arguments})", it.name)
        });
        let relations = self.relations.iter().map(|it| {
            let or_cte = if it.may_be_cte { " or WITH" } else { "" };
            format!("relation {}{or_cte}", it.name)
        });
        let operators = self.operators.iter().map(|name| format!("operator {name}"));
        let types = self.types.iter().map(|name| format!("type {name}"));
        let fields = self.fields.iter().map(|name| format!("field {name}"));
        functions.chain(relations).chain(operators).chain(types).chain(fields).collect()
    }

    /// Returns about how much memory the names take, in bytes.
    pub(super) fn footprint(&self) -> usize {
        let names = self.functions.iter().map(|it| &it.name).chain(self.relations.iter().map(|it| &it.name));
        let names = names.chain(self.operators.iter()).chain(self.types.iter()).map(Name::footprint);
        let fields = self.fields.iter().map(|name| name.len() + ALLOCATION);
        names.chain(fields).sum()
    }
}

/// A possibly qualified name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub schema: Option<Box<str>>,
    pub name: Box<str>,
}

impl Name {
    fn new(schema: Option<&str>, name: &str) -> Name {
        Name { schema: schema.map(Box::from), name: name.into() }
    }

    fn footprint(&self) -> usize {
        self.name.len()
            + self.schema.as_ref().map_or(0, |schema| schema.len())
            + size_of::<Name>()
            + ALLOCATION
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FunctionUse {
    pub name: Name,
    /// How many arguments are given; `None` when that does not tell which functions fit.
    pub arguments: Option<u16>,
}

/// A relation in FROM.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RelationUse {
    pub name: Name,
    /// WITH defines this name somewhere in the text, so there need be no relation of the name.
    pub may_be_cte: bool,
}

/// Collects the names of one statement or several.
#[derive(Debug, Default)]
pub(super) struct Collector {
    functions: Vec<FunctionUse>,
    relations: Vec<Name>,
    operators: Vec<Name>,
    types: Vec<Name>,
    fields: Vec<Box<str>>,
    ctes: Vec<Box<str>>,
}

impl Collector {
    pub fn function(&mut self, schema: Option<&str>, name: &str, arguments: Option<u16>) {
        self.functions.push(FunctionUse { name: Name::new(schema, name), arguments });
    }

    pub fn relation(&mut self, schema: Option<&str>, name: &str) {
        self.relations.push(Name::new(schema, name));
    }

    pub fn operator(&mut self, schema: Option<&str>, name: &str) {
        self.operators.push(Name::new(schema, name));
    }

    pub fn type_name(&mut self, schema: Option<&str>, name: &str) {
        self.types.push(Name::new(schema, name));
    }

    pub fn field(&mut self, name: &str) {
        self.fields.push(name.into());
    }

    /// Notes a name that WITH defines. Where it holds is not looked at.
    pub fn cte(&mut self, name: &str) {
        self.ctes.push(name.into());
    }

    /// Puts the names of all statements of a text together, each once.
    pub fn finish(statements: impl IntoIterator<Item = Collector>) -> Uses {
        let mut all = Collector::default();
        for mut one in statements {
            all.functions.append(&mut one.functions);
            all.relations.append(&mut one.relations);
            all.operators.append(&mut one.operators);
            all.types.append(&mut one.types);
            all.fields.append(&mut one.fields);
            all.ctes.append(&mut one.ctes);
        }
        let ctes = once(all.ctes);
        let relation = |name: Name| {
            let may_be_cte = name.schema.is_none() && ctes.binary_search(&name.name).is_ok();
            RelationUse { name, may_be_cte }
        };
        let mut uses = Uses {
            functions: once(all.functions),
            relations: once(all.relations).into_vec().into_iter().map(relation).collect(),
            operators: once(all.operators),
            types: once(all.types),
            fields: once(all.fields),
            shape: None,
        };
        uses.shape = (!uses.is_empty()).then(|| Shape::of(&uses));
        uses
    }
}

fn once<T: Ord>(mut names: Vec<T>) -> Box<[T]> {
    names.sort_unstable();
    names.dedup();
    names.into_boxed_slice()
}

/// What the allocator takes for a short text, about.
const ALLOCATION: usize = 24;
