//! Puts the findings of all statements of a text together.

use super::effects::{Classified, Effects};
use super::findings::Findings;
use super::parse;

/// Classifies a Query text or the text of a prepared statement.
pub(super) fn classify(text: &[u8], standard_conforming_strings: bool) -> Classified {
    let Some(statements) = parse::parse(text, standard_conforming_strings) else {
        return Classified::unparsed();
    };
    // Several statements in one Query message are one transaction: one that needs the primary takes all there.
    let plain_read = statements.iter().find_map(|found| found.reason).map_or(Ok(()), Err);
    let effects = statements.into_iter().map(|Findings { effects, .. }| effects);
    Classified { statements: effects.collect::<Box<[Effects]>>(), plain_read, parsed: true }
}
