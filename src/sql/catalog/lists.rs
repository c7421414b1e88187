//! What the configuration says of single functions and relations, against the catalog.

use std::collections::BTreeSet;

/// Names that go to one side whatever the catalog says. Where both sides list a name, the primary wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    pub(super) primary_functions: List,
    pub(super) standby_functions: List,
    pub(super) primary_relations: List,
    pub(super) standby_relations: List,
}

/// A name in the configuration cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a name: write name or schema.name, with double quotes where PostgreSQL needs them")]
pub struct BadName(pub String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// Names of objects in any schema.
    anywhere: BTreeSet<Box<str>>,
    qualified: BTreeSet<(Box<str>, Box<str>)>,
}

impl Lists {
    /// Reads the lists: `name` stands for the objects of this name in every schema, `schema.name` for those in one.
    pub fn parse(
        primary_functions: impl IntoIterator<Item = impl AsRef<str>>,
        standby_functions: impl IntoIterator<Item = impl AsRef<str>>,
        primary_relations: impl IntoIterator<Item = impl AsRef<str>>,
        standby_relations: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Lists, BadName> {
        Ok(Lists {
            primary_functions: List::parse(primary_functions)?,
            standby_functions: List::parse(standby_functions)?,
            primary_relations: List::parse(primary_relations)?,
            standby_relations: List::parse(standby_relations)?,
        })
    }
}

impl List {
    fn parse(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<List, BadName> {
        let mut list = List::default();
        for text in names {
            let text = text.as_ref();
            let bad = || BadName(text.to_owned());
            let parts = super::path::identifiers(text, '.').ok_or_else(bad)?;
            match <[Box<str>; 2]>::try_from(parts) {
                Ok([schema, name]) => list.qualified.insert((schema, name)),
                Err(parts) => {
                    let [name] = <[Box<str>; 1]>::try_from(parts).map_err(|_| bad())?;
                    list.anywhere.insert(name)
                }
            };
        }
        Ok(list)
    }

    /// Tells whether the object is listed. Without a schema only names that stand for every schema count.
    pub fn has(&self, schema: Option<&str>, name: &str) -> bool {
        self.anywhere.contains(name)
            || schema
                .is_some_and(|schema| self.qualified.iter().any(|(of, it)| **of == *schema && **it == *name))
    }
}
