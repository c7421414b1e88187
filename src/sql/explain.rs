//! What each statement of a text is taken for, and which names make it so: for people who ask.

use std::ops::Range;

use super::catalog::{self, Catalog, Culprit, SearchPath};
use super::effects::NeedsPrimary;
use super::findings::Findings;
use super::own;
use super::parse;
use super::uses::Collector;

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands in the text, in bytes.
    pub place: Range<usize>,
    /// Whether it is a plain read, by itself; else the gravest reason why not.
    pub judgement: Result<(), NeedsPrimary>,
    /// The names that speak against it.
    pub culprits: Vec<Culprit>,
}

/// Explains each statement of `text`; `None` if the grammar does not take it. EXPLAIN ROUTE itself counts as read.
pub fn explain(
    text: &[u8],
    standard_conforming_strings: bool,
    catalog: Option<&Catalog>,
    path: &SearchPath,
) -> Option<Vec<Finding>> {
    if own::explain_route(text).is_some() {
        return Some(vec![Finding { place: 0..text.len(), judgement: Ok(()), culprits: Vec::new() }]);
    }
    let found = parse::parse_placed(text, standard_conforming_strings)?;
    Some(found.into_iter().map(|(place, found)| finding(place, found, catalog, path)).collect())
}

fn finding(place: Range<usize>, found: Findings, catalog: Option<&Catalog>, path: &SearchPath) -> Finding {
    let Findings { reason, firm, uses, .. } = found;
    let uses = Collector::finish([uses]);
    let by_names = reason.map_or(Ok(()), Err);
    let judgement = match catalog {
        _ if firm || uses.is_empty() => by_names,
        Some(catalog) => catalog.judge(&uses, path),
        None => by_names.and(Err(NeedsPrimary::NoCatalog)),
    };
    let culprits = match catalog {
        Some(catalog) => catalog.culprits(&uses, path),
        None => catalog::culprits_without(&uses),
    };
    Finding { place, judgement, culprits }
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, Lists};
    use super::*;

    fn explained(sql: &str, catalog: Option<&Catalog>) -> Vec<String> {
        let findings = explain(sql.as_bytes(), true, catalog, &SearchPath::of_server()).unwrap_or_default();
        let line = |it: &Finding| {
            let names: Vec<String> = it.culprits.iter().map(Culprit::to_string).collect();
            format!("{}: {:?} {}", sql[it.place.clone()].trim(), it.judgement, names.join("; "))
        };
        findings.iter().map(line).collect()
    }

    #[test]
    fn each_statement_is_judged_by_itself_and_names_are_named() {
        let catalog = Catalog::new(1, Facts::default().with_table("public", "t"), Lists::default());
        assert_eq!(
            explained("select * from t; select f(), g from u; select nextval('s')", Some(&catalog)),
            [
                "select * from t: Ok(()) ",
                "select f(), g from u: Err(Function) function f() is not known to be harmless; \
                 relation u is not in the catalog",
                "select nextval('s'): Err(Function) function nextval() is not known to be harmless",
            ]
        );
        assert_eq!(explained("select * from t", None), ["select * from t: Err(NoCatalog) "]);
        assert_eq!(explained("insert into t values (1)", None), ["insert into t values (1): Err(Writes) "]);
        assert_eq!(explain(b"selec 1", true, None, &SearchPath::of_server()), None);
    }
}
