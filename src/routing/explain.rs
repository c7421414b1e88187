//! Says in words where a text would go, and which rule says so.

use super::{Need, Reason, Target};
use crate::sql::{self, Catalog, Finding, NeedsPrimary, SearchPath};

/// Where a text would go now, outside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Where to, and why.
    pub need: Need,
    /// Each statement by itself, with its text; empty when the text cannot be read.
    pub statements: Vec<(String, Finding)>,
    /// Whether the catalog of the database is loaded.
    pub catalog_loaded: bool,
}

impl Explanation {
    /// Explains why `text` goes where `need` says.
    pub fn new(
        text: &[u8],
        standard_conforming_strings: bool,
        need: Need,
        catalog: Option<&Catalog>,
        path: &SearchPath,
    ) -> Explanation {
        let findings = sql::explain(text, standard_conforming_strings, catalog, path).unwrap_or_default();
        let statements = findings.into_iter().map(|finding| {
            let own = text.get(finding.place.clone()).unwrap_or_default();
            (one_line(&String::from_utf8_lossy(own)), finding)
        });
        Explanation { need, statements: statements.collect(), catalog_loaded: catalog.is_some() }
    }

    /// Returns each statement with its text and the rule for it by itself.
    pub fn rules(&self) -> impl Iterator<Item = (&str, Reason, &Finding)> {
        self.statements.iter().map(|(text, finding)| (text.as_str(), reason_of(finding), finding))
    }

    /// Returns what is to be said, as names of what is told and lines of text. `node` is the node that would be
    /// chosen, if there is one.
    pub fn lines(&self, node: Option<&str>) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("target", self.need.target.name().to_owned()),
            ("node", node.unwrap_or("none").to_owned()),
            ("reason", self.need.reason.name().to_owned()),
            ("because", self.need.reason.sentence().to_owned()),
        ];
        let several = self.statements.len() > 1;
        for (text, reason, finding) in self.rules() {
            if several {
                lines.push(("statement", text.to_owned()));
                lines.push(("by itself", format!("{}: {}", reason.name(), reason.sentence())));
            }
            lines.extend(finding.culprits.iter().map(|culprit| ("name", culprit.to_string())));
        }
        let catalog = if self.catalog_loaded {
            "loaded"
        } else {
            "not loaded: what only it could tell needs the primary"
        };
        lines.push(("catalog", catalog.to_owned()));
        lines
    }
}

fn reason_of(finding: &Finding) -> Reason {
    finding.judgement.map_or_else(Reason::Statement, |()| Reason::PlainRead)
}

/// Longest text of a statement that is repeated, in characters.
const LONGEST: usize = 120;

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

impl Target {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Target::Primary => "primary",
            Target::Standby => "standby",
        }
    }
}

impl Reason {
    /// Returns one sentence that says what the rule is.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::PlainRead => {
                "It is proven to be a plain read, so any node that is fresh enough may run it."
            }
            Reason::Statement(needs) => sentence(needs),
            Reason::OpenGroup => "The end of the group has not arrived, so what it will do is not known.",
            Reason::FunctionCall => "It is a function call by the fast path, which may do anything.",
            Reason::SessionMode => "The session keeps one server by its pool mode.",
            Reason::SplitOff => "Splitting is switched off (routing.split).",
            Reason::RecoveryConflict => "A standby cancelled it because what it replays was in its way.",
            Reason::OwnAnswer => "The proxy answers it itself.",
            Reason::AskedRead => {
                "It is proven to be a plain read, and a standby was asked for by bellwether.route or a hint."
            }
            Reason::Hint => "A comment in it asks for the node (/* bellwether: ... */).",
            Reason::Setting => "bellwether.route asks for the node.",
            Reason::Held => {
                "It begins a transaction, whose node is chosen for the first statement that needs one."
            }
            Reason::ReadOnly => {
                "It is a READ ONLY transaction, and a standby answers it as the primary does."
            }
            Reason::Endpoint => "The client came by the read-only endpoint (listen_read_only).",
            Reason::ReadWrite => "Its transaction may write.",
        }
    }
}

fn sentence(needs: NeedsPrimary) -> &'static str {
    match needs {
        NeedsPrimary::Unparsed => "PostgreSQL's grammar does not take it, so nothing is known of it.",
        NeedsPrimary::Writes => "It writes: INSERT, UPDATE, DELETE, MERGE or COPY FROM, somewhere in it.",
        NeedsPrimary::Locks => "It locks rows or tables, which a standby cannot.",
        NeedsPrimary::Into => "It creates a table (SELECT INTO).",
        NeedsPrimary::Function => "It calls a function that is not known to be harmless.",
        NeedsPrimary::NodeSpecific => "It reads what differs from node to node.",
        NeedsPrimary::SessionState => "It is about the session or its transaction.",
        NeedsPrimary::Utility => "It is a utility statement, not a query.",
        NeedsPrimary::Listed => {
            "The configuration lists a name in it ([routing] primary_functions, primary_relations)."
        }
        NeedsPrimary::ShadowedBuiltin => {
            "A name of a built-in function may mean a user's, which is VOLATILE."
        }
        NeedsPrimary::Sequence => "It reads a sequence, whose page is written ahead of use.",
        NeedsPrimary::Unlogged => "It reads a table that standbys do not have.",
        NeedsPrimary::ForeignTable => {
            "It reads a foreign table, and what is behind that is not the primary's to tell."
        }
        NeedsPrimary::ViewFunction => "A view it reads calls a function that is not known to be harmless.",
        NeedsPrimary::Policy => "A row-level policy on what it reads calls such a function.",
        NeedsPrimary::Operator => "An operator in it runs a VOLATILE function.",
        NeedsPrimary::Type => "A type in it has casts, checks, input or output that run VOLATILE functions.",
        NeedsPrimary::UnknownRelation => "It reads a relation that the catalog does not know.",
        NeedsPrimary::NoCatalog => "The catalog is not loaded, or the schema has changed since.",
        NeedsPrimary::Learned => "A standby has refused a statement of this shape.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_sentence_of_its_own() {
        let statements = NeedsPrimary::ALL.into_iter().map(Reason::Statement);
        let sentences: std::collections::BTreeSet<&str> = statements.map(Reason::sentence).collect();
        assert_eq!(sentences.len(), NeedsPrimary::ALL.len());
        assert!(sentences.iter().all(|sentence| sentence.ends_with('.') && sentence.len() > 20));
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_unparsed() {
        let need = Need::primary(Reason::Statement(NeedsPrimary::Unparsed));
        let lines = Explanation::new(b"selec 1", true, need, None, &SearchPath::of_server()).lines(Some("a"));
        let told: Vec<&str> = lines.iter().map(|(about, _)| *about).collect();
        assert_eq!(told, ["target", "node", "reason", "because", "catalog"]);
        assert_eq!((&*lines[0].1, &*lines[1].1, &*lines[2].1), ("primary", "a", "unparsed"));
    }
}
