//! What is read from a database's catalog, row by row, to make a [`Catalog`](super::Catalog) of.

use crate::sql::NeedsPrimary;

/// Everything read from one database in one snapshot. Names are as the catalog has them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Functions, aggregates and window functions that are not the system's own.
    pub functions: Vec<Function>,
    /// Tables, views, materialized views, sequences and foreign tables that are not the system's own or temporary.
    pub relations: Vec<Relation>,
    /// What runs when an object is used.
    pub parts: Vec<Part>,
    /// Operators whose function is volatile: schema and name.
    pub operators: Vec<(Box<str>, Box<str>)>,
    /// Types whose input, explicit casts or domain checks run volatile functions: schema and name. Those that do so
    /// without being named, by a literal or an argument, are parts of the tables and functions that have them.
    pub types: Vec<(Box<str>, Box<str>)>,
    /// Every `search_path` a session may start with; `None` when that cannot be told.
    pub default_paths: Option<Vec<Box<str>>>,
    /// Schemas that are named like a role.
    pub role_schemas: Vec<Box<str>>,
    /// Volatile functions run without any text naming them (implicit casts, output of types, operator classes).
    pub distrust: Option<NeedsPrimary>,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// Schema.
    pub schema: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Least number of arguments a call may have.
    pub least_arguments: u16,
    /// Most; `u16::MAX` when VARIADIC.
    pub most_arguments: u16,
    /// VOLATILE; of an aggregate, whether one of its support functions is.
    pub volatile: bool,
}

/// A relation.
#[derive(Clone, Debug)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Schema.
    pub schema: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What it is.
    pub kind: Kind,
}

/// What a relation is, as far as reading it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary table, a partitioned one, a view or a materialized view.
    Ordinary,
    /// An unlogged table.
    Unlogged,
    /// A sequence.
    Sequence,
    /// A foreign table.
    Foreign,
}

/// One thing that runs or is read when a view, a table with policies or children, or a function's default is used.
#[derive(Clone, Debug)]
pub struct Part {
    /// `pg_class.oid` of the relation; for a default, `pg_proc.oid` of the function.
    pub owner: u32,
    /// How it is a part.
    pub of: Of,
    /// What it is.
    pub what: What,
}

/// How something is a part of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The query of a view.
    View,
    /// The expression of a row-level policy for reading.
    Policy,
    /// A child of an inheritance parent or a partition.
    Child,
    /// The default of an argument.
    Default,
    /// The type of a column: what is compared with the column becomes one of these.
    Column,
    /// The type of an argument or of the result, likewise.
    Argument,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum What {
    /// One of [`Facts::functions`], by `oid`.
    Function(u32),
    /// A function of the system.
    SystemFunction {
        /// Name.
        name: Box<str>,
        /// VOLATILE.
        volatile: bool,
    },
    /// One of [`Facts::relations`], by `oid`.
    Relation(u32),
    /// A relation of the system.
    SystemRelation {
        /// Schema.
        schema: Box<str>,
        /// Name.
        name: Box<str>,
    },
    /// Something that needs the primary for this reason: an operator or type of those below, or a locking clause.
    Needs(NeedsPrimary),
}
