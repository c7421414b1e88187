//! Reads Prometheus' text form.

use std::collections::{BTreeMap, BTreeSet};

/// One metric family.
#[derive(Debug, Default)]
pub struct Family {
    pub help: String,
    pub kind: String,
    /// Names of its labels, `le` left out, and their values, in the order they are written.
    pub labels: Vec<(String, Vec<String>)>,
    /// Names its samples have.
    pub samples: BTreeSet<String>,
    pub series: usize,
}

/// Returns the families by name.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let sample = line.split(['{', ' ']).next().unwrap_or_default();
            let ends = ["_bucket", "_sum", "_count"];
            let without = ends.iter().find_map(|end| sample.strip_suffix(end));
            let name = without.filter(|name| families.contains_key(*name)).unwrap_or(sample);
            let family = families.get_mut(name).unwrap_or_else(|| panic!("{line} has no family"));
            family.samples.insert(sample.to_owned());
            family.series += 1;
            for (label, value) in labels(line).into_iter().filter(|(label, _)| label != "le") {
                match family.labels.iter_mut().find(|(known, _)| *known == label) {
                    Some((_, values)) if values.contains(&value) => {}
                    Some((_, values)) => values.push(value),
                    None => family.labels.push((label, vec![value])),
                }
            }
        }
    }
    families
}

fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let pairs = rest.rsplit_once('}').map_or(rest, |(pairs, _)| pairs);
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    pairs.split("\",").filter_map(pair).collect()
}
