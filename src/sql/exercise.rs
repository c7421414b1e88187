//! Feeds arbitrary text to everything in this group that reads hostile ones. For fuzz targets and their replay.

use super::cache::Classifier;
use super::catalog::{SearchPath, SearchPaths};
use super::explain;
use super::parse;

/// Takes `data` for the text of a Query, and for a value of `search_path`.
///
/// Panics when the walk does (in service it runs above a net), when a statement is placed outside of the text, when
/// the answers of classifying and explaining contradict each other, or when a semicolon at the end changes one.
pub fn text(data: &[u8]) {
    if let Some(text) = parse::readable(data, true) {
        let _ = parse::read(text);
    }
    let mut classifier = Classifier::new(2, 64 << 10);
    let found = classifier.classify(data, true);
    if found.plain_read.is_ok() {
        assert!(found.within.0.is_ok(), "READ ONLY takes nothing away from what is read anyway");
    }
    for own in found.statements.iter().filter_map(|effects| effects.own.as_deref()) {
        assert!(data.get(own.place.clone()).is_some());
    }
    let other = classifier.classify(data, false);
    assert!(!other.parsed || other == found, "a text that reads in one way only was read in two");
    let ended = [data, b"\n;"].concat();
    if found.parsed && found.hint.is_none() && !found.has_own() {
        let ended = classifier.classify(&ended, true);
        assert_eq!(ended.plain_read, found.plain_read);
        assert_eq!(ended.statements, found.statements);
    }
    explained(data, found.parsed.then_some(found.statements.len()));
    let setting = str::from_utf8(data).ok();
    let _ = SearchPaths::default().get(setting);
}

/// `count` is how many statements there are, if the text could be read.
fn explained(data: &[u8], count: Option<usize>) {
    let Some(findings) = explain(data, true, None, &SearchPath::of_server()) else { return };
    assert!(count.is_none_or(|count| count == findings.len()));
    let mut end = 0;
    for finding in findings {
        assert!(finding.place.start >= end && finding.place.end <= data.len());
        end = finding.place.end;
    }
}
