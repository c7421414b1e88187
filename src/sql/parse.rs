//! Reads SQL with PostgreSQL's own grammar: text in, [`Findings`] of each statement out.
//!
//! This file and the folder beside it are the one home of the parser crate. Its typed views of the C tree are
//! walked by hand (`tree`), because the crate's own walk panics on utility statements and recurses as deep as
//! the input; ours asks the kind of every node, keeps its own stack, and takes what it does not know for code
//! which cannot be seen.

mod read_only;
mod setting;
mod tree;
mod utility;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::{ConstValue, Node, nodes};

use super::findings::Findings;

/// A list of names.
type Strings = CastNodeList<nodes::String>;

/// Longest text that is parsed, in bytes. The grammar needs some 20 ms for this much, on a thread which other
/// sessions wait for; longer texts are bulk loads, which go to the primary in any case.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// Longest run of characters that operators are made of. The scanner takes such a run as a whole, finds the beginning of
/// a comment in it, and starts again two characters further on: a text of nothing but `/*` would take it minutes.
const LONGEST_RUN: usize = 1024;

/// Returns the findings of each statement in order, or `None` if the text cannot be read: refused by the grammar,
/// too long, not UTF-8, or (with `standard_conforming_strings` off) holding a backslash.
pub(super) fn parse(text: &[u8], standard_conforming_strings: bool) -> Option<Vec<Findings>> {
    let text = readable(text, standard_conforming_strings)?;
    // Nothing is known to panic. But the typed views assert what the C tree holds, and one session's statement
    // must not end a thread that serves many.
    catch_unwind(AssertUnwindSafe(|| read(text))).ok().flatten()
}

/// The same, with the place of each statement.
pub(super) fn parse_placed(
    text: &[u8],
    standard_conforming_strings: bool,
) -> Option<Vec<(Range<usize>, Findings)>> {
    let found = parse(text, standard_conforming_strings)?;
    let tree = pg_raw_parse::parse(str::from_utf8(text).ok()?).ok()?;
    let places: Vec<Range<usize>> = tree.iter().map(|raw| place(raw, text.len())).collect();
    Some(places.into_iter().zip(found).collect())
}

/// Returns the text if the grammar may be shown it.
pub(super) fn readable(text: &[u8], standard_conforming_strings: bool) -> Option<&str> {
    if text.len() > LONGEST_TEXT || longest_run(text) > LONGEST_RUN {
        return None;
    }
    // The crate always reads with the setting on. Without a backslash both readings are the same.
    if !standard_conforming_strings && memchr::memchr(b'\\', text).is_some() {
        return None;
    }
    str::from_utf8(text).ok()
}

/// Reads a text without the net: a panic in here is a fault of ours, and tests shall see it.
pub(super) fn read(text: &str) -> Option<Vec<Findings>> {
    let tree = pg_raw_parse::parse(text).ok()?;
    let statements = tree.iter().map(|raw| {
        let mut findings = Findings::default();
        statement(raw.stmt(), &mut findings);
        if let Some(own) = &mut findings.effects.own {
            own.place = place(raw, text.len());
        }
        findings
    });
    Some(statements.collect())
}

fn longest_run(text: &[u8]) -> usize {
    if text.len() <= LONGEST_RUN {
        return 0;
    }
    let operators = |byte: &u8| b"~!@#^&|`?+-*/%<>=".contains(byte);
    text.split(|byte| !operators(byte)).map(<[u8]>::len).max().unwrap_or(0)
}

/// Returns where a statement stands in a text of `length` bytes.
fn place(raw: &nodes::RawStmt, length: usize) -> Range<usize> {
    let from = usize::try_from(raw.stmt_location).unwrap_or(0).min(length);
    match usize::try_from(raw.stmt_len) {
        // The rest of the text.
        Ok(0) | Err(_) => from..length,
        Ok(own) => from..length.min(from + own),
    }
}

fn statement(node: Node<'_>, findings: &mut Findings) {
    match node {
        Node::SelectStmt(select) => {
            let tracked = setting::set_config_calls(select, findings);
            tree::walk(node, &tracked, findings);
        }
        Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
            tree::walk(node, &[], findings);
        }
        _ => utility::statement(node, findings),
    }
}

/// Returns schema and name of a possibly qualified name; a database in front of them is left out, since only
/// the current one may stand there.
fn qualified_name(names: &NodeList) -> (Option<&str>, &str) {
    let mut parts = names.iter().rev().map(|part| part.as_str().unwrap_or(""));
    let name = parts.next().unwrap_or("");
    (parts.next(), name)
}

/// Returns the text of a constant, as the settings code of PostgreSQL prints it; `None` for NULL and for
/// anything which is no constant.
fn constant(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(constant) => constant.val().map(|value| value.to_string()),
        Node::Integer(value) => Some(value.ival.to_string()),
        Node::String(value) => value.sval().map(str::to_owned),
        _ => None,
    }
}

/// Returns a constant as a boolean, as the options of SET TRANSACTION carry it.
fn truth(node: Node<'_>) -> Option<bool> {
    match node {
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::Integer(value) => Some(value != 0),
            ConstValue::Boolean(value) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the constant string or NULL in an expression: `Some(None)` is NULL. A cast to text is looked through.
fn literal(node: Node<'_>) -> Option<Option<&str>> {
    match uncast(node) {
        Node::A_Const(constant) if constant.isnull => Some(None),
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::String(text) => Some(Some(text)),
            _ => None,
        },
        _ => None,
    }
}

/// Looks through a cast to `text` or `varchar`.
fn uncast(node: Node<'_>) -> Node<'_> {
    match node {
        Node::TypeCast(cast) if cast.type_name().is_some_and(is_text) => cast.arg(),
        _ => node,
    }
}

fn is_text(type_name: &nodes::TypeName) -> bool {
    let name = type_name.names().iter().next_back().and_then(|name| name.sval());
    matches!(name, Some("text" | "varchar"))
        && type_name.typmods().is_empty()
        && type_name.array_bounds().is_empty()
}
