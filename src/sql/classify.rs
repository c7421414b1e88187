//! Puts the findings of all statements of a text together.

use super::catalog::Judged;
use super::effects::{Classified, Effects};
use super::findings::Findings;
use super::hint;
use super::own::{self, Own, OwnAct};
use super::parse;
use super::uses::{Collector, Uses};

/// Classifies a Query text or the text of a prepared statement.
pub(super) fn classify(text: &[u8], standard_conforming_strings: bool) -> Classified {
    Classified {
        hint: hint::find(text, standard_conforming_strings),
        ..read(text, standard_conforming_strings)
    }
}

fn read(text: &[u8], standard_conforming_strings: bool) -> Classified {
    let Some(statements) = parse::parse(text, standard_conforming_strings) else {
        return own::explain_route(text).map_or_else(Classified::unparsed, |from| explains(text, from));
    };
    // Several statements in one Query message are one transaction: one that needs the primary takes all there.
    let plain_read = statements.iter().find_map(|found| found.reason).map_or(Ok(()), Err);
    let firm = statements.iter().any(|found| found.firm);
    let within = statements.iter().find_map(|found| found.within.reason).map_or(Ok(()), Err);
    let within = (within, statements.iter().any(|found| found.within.firm));
    let (effects, uses): (Vec<Effects>, Vec<Collector>) =
        statements.into_iter().map(|Findings { effects, uses, .. }| (effects, uses)).unzip();
    // Where the answer is settled the names are of no more use.
    let uses = if firm && within.1 { Uses::default() } else { Collector::finish(uses) };
    Classified {
        statements: effects.into(),
        plain_read,
        firm,
        within,
        uses,
        parsed: true,
        hint: None,
        judged: Judged::default(),
    }
}

/// Returns what EXPLAIN ROUTE is, of the SQL from `from` on.
fn explains(text: &[u8], from: usize) -> Classified {
    let own = Own { place: 0..text.len(), act: OwnAct::ExplainRoute(text[from..].into()) };
    let effects = Effects { own: Some(Box::new(own)), ..Effects::default() };
    let statements = Box::new([effects]);
    Classified {
        statements,
        plain_read: Ok(()),
        firm: false,
        within: (Ok(()), false),
        parsed: true,
        ..Classified::unparsed()
    }
}
