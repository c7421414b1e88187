//! Holds the classifier against another binding of PostgreSQL's grammar and a walk that shares nothing with ours.
//!
//! `reader.py` says of each statement what is in it; here that is compared with what `sql` found. Compared are the
//! corpus of the routing oracle, the statements of the unit tests, and texts made from their words.

#[path = "../e2e/corpus.rs"]
#[allow(dead_code)]
mod corpus;
mod reader;

use std::collections::BTreeSet;
use std::fmt::Write;

use bellwether::sql::{
    Classified, Classifier, Effects, NeedsPrimary, Prepared, SessionState, SettingChange, Transaction,
};

use reader::{Read, Statement};

/// Tells whether a text may have what the grammar of PostgreSQL 18 takes and the reader's 17 does not: ANALYZE and VACUUM of
/// `t *`, and what else of the news stands in the texts.
fn is_newer(text: &str) -> bool {
    let text = text.to_lowercase();
    let newer = ["with (old as", "with (new as", "virtual", "not enforced"];
    newer.iter().any(|part| text.contains(part))
        || (text.contains('*') && (text.contains("analyze ") || text.contains("vacuum ")))
}

#[test]
fn the_corpus_of_the_oracle_is_read_alike() {
    let texts: Vec<String> = corpus::cases().iter().map(|case| case.text.to_owned()).collect();
    assert!(texts.len() >= 400, "only {} texts", texts.len());
    assert_eq!(disagreements(&texts), "");
}

#[test]
fn the_statements_of_the_unit_tests_are_read_alike() {
    assert_eq!(disagreements(&statements()), "");
}

#[test]
fn texts_made_of_the_words_of_others_are_read_alike() {
    let mut rng = fastrand::Rng::with_seed(17);
    let mut known = statements();
    known.extend(corpus::cases().iter().map(|case| case.text.to_owned()));
    let texts = (0..20_000).map(|_| spliced(&known, &mut rng)).filter(|text| !is_read_apart(text));
    let texts: Vec<String> = texts.collect();
    let taken = texts.iter().filter(|text| classify(text).parsed).count();
    assert!(taken > 2000, "the grammar takes only {taken}");
    assert_eq!(disagreements(&texts), "");
}

fn statements() -> Vec<String> {
    let lines = include_str!("../../src/sql/statements.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once("  =>  ").expect("each line has an arrow").0.to_owned()).collect()
}

/// What the two walks read differently to no effect, as PostgreSQL refuses both forms once it looks at them: SELECT INTO
/// in PREPARE, and a typed constant whose type has a call's arguments, `f('x'::t) 'y'`.
fn is_read_apart(text: &str) -> bool {
    (text.contains("prepare ") && text.contains(" into ")) || text.contains(") '")
}

/// Exchanges a run of words in one text for a run of words of another.
fn spliced(known: &[String], rng: &mut fastrand::Rng) -> String {
    let mut words = |from_start: bool| -> Vec<String> {
        let words: Vec<&str> = known[rng.usize(..known.len())].split(' ').collect();
        let from = if from_start { 0 } else { rng.usize(..words.len()) };
        let upto = rng.usize(from..words.len()) + 1;
        words[from..upto].iter().map(ToString::to_string).collect()
    };
    let mut text = words(true);
    text.extend(words(false));
    let tail = words(false);
    if tail.len() > 2 {
        text.extend(tail);
    }
    text.join(" ")
}

fn classify(text: &str) -> Classified {
    Classifier::default().classify(text.as_bytes(), true).as_ref().clone()
}

/// Reads all texts both ways; says where the two do not agree.
fn disagreements(texts: &[String]) -> String {
    let mut complaints = String::new();
    for (text, read) in texts.iter().zip(reader::read(texts)) {
        for complaint in compared(text, &read) {
            let _ = writeln!(complaints, "{text}\n    {complaint}");
        }
    }
    complaints
}

fn compared(text: &str, read: &Read) -> Vec<String> {
    let ours = classify(text);
    let statements = match read {
        // What the proxy answers by itself need be nobody else's SQL.
        Read::Refused(_) if ours.has_own() => return Vec::new(),
        Read::Refused(_) if is_newer(text) => return Vec::new(),
        Read::Refused(error) if ours.parsed => return vec![format!("taken here, refused there: {error}")],
        Read::Refused(_) => return Vec::new(),
        Read::Statements(_) if !ours.parsed => return vec!["refused here, taken there".to_owned()],
        Read::Statements(statements) => statements,
    };
    if ours.statements.len() != statements.len() {
        return vec![format!("{} statements here, {} there", ours.statements.len(), statements.len())];
    }
    let mut complaints = Vec::new();
    let mut plain = true;
    for (statement, effects) in statements.iter().zip(&ours.statements) {
        let alone = classify(&text[statement.place.clone()]);
        plain &= alone.plain_read.is_ok();
        if effects.own.is_some() {
            continue;
        }
        complaints.extend(reason(&alone, statement));
        complaints.extend(names(&alone, statement));
        complaints.extend(followed(effects, statement));
    }
    if plain != ours.plain_read.is_ok() {
        complaints.push("one by one the statements are judged otherwise than together".to_owned());
    }
    complaints
}

/// Compares why a statement needs the primary, as far as the tree alone tells.
fn reason(ours: &Classified, theirs: &Statement) -> Option<String> {
    use NeedsPrimary::{Function, Into, Locks, NodeSpecific, SessionState, Utility, Writes};
    let marked = |mark: &str| theirs.marks.contains(mark);
    let is_query = theirs.root == "SelectStmt" || marked("copies to the client");
    let agree = match ours.plain_read {
        // Nothing else is said of what writes, and so on down.
        _ if marked("writes") => ours.plain_read == Err(Writes) && ours.firm,
        _ if marked("locks") => ours.plain_read == Err(Locks) && ours.firm,
        _ if marked("into") => ours.plain_read == Err(Into) && ours.firm,
        Ok(()) => is_query && !ours.firm,
        // By the name of a function or relation, which the tree does not tell.
        Err(Function | NodeSpecific) => is_query || ours.firm,
        Err(SessionState | Utility) => !is_query && ours.firm,
        Err(_) => false,
    };
    let (reason, firm, root, marks) = (ours.plain_read, ours.firm, &theirs.root, &theirs.marks);
    (!agree).then(|| format!("{reason:?}, firm: {firm}, here; {root} with {marks:?} there"))
}

/// Compares the names that are left to the catalog: none may be missing but those of the system.
fn names(ours: &Classified, theirs: &Statement) -> Option<String> {
    if ours.firm {
        return None;
    }
    let found: BTreeSet<String> = ours.uses.names().into_iter().collect();
    let of_system = |name: &String| {
        let name = name.split_once(' ').map_or("", |(_, name)| name);
        name.starts_with("pg_catalog.") || name.starts_with("information_schema.")
    };
    let missing: Vec<_> = theirs.names.difference(&found).filter(|name| !of_system(name)).collect();
    let added: Vec<_> = found.difference(&theirs.names).collect();
    (!missing.is_empty() || !added.is_empty())
        .then(|| format!("missing here: {missing:?}; only here: {added:?}"))
}

/// Compares what a session must follow.
fn followed(ours: &Effects, theirs: &Statement) -> Option<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    found.extend(ours.transaction.as_ref().map(|it| transaction(it).to_owned()));
    let untracked = ours.may_leave.intersects(SessionState::UNTRACKED_SETTING);
    if theirs.root == "VariableSetStmt" {
        found.extend(ours.settings.iter().map(setting));
    }
    found.extend(ours.prepared.as_ref().map(prepared));
    found.extend(ours.discard.map(|it| format!("discard {it:?}").to_lowercase()));
    found.extend(ours.ddl.then(|| "ddl".to_owned()));
    // What cannot be followed keeps the session on its server, and need not be followed.
    let settings_aside = |all: &BTreeSet<String>| -> BTreeSet<String> {
        all.iter().filter(|effect| !(untracked && effect.starts_with("set "))).cloned().collect()
    };
    (settings_aside(&found) != settings_aside(&theirs.effects))
        .then(|| format!("followed here: {found:?}; there: {:?}", theirs.effects))
}

fn transaction(it: &Transaction) -> &'static str {
    match it {
        Transaction::Begin { .. } => "begin",
        Transaction::Commit { .. } => "commit",
        Transaction::Rollback { .. } => "rollback",
        Transaction::Savepoint(_) => "savepoint",
        Transaction::Release(_) => "release",
        Transaction::RollbackTo(_) => "rollback to",
        Transaction::PrepareTransaction => "prepare",
        Transaction::FinishPrepared => "finish prepared",
    }
}

fn setting(change: &SettingChange) -> String {
    match change {
        SettingChange::Set { name, .. } | SettingChange::Reset { name, .. } => format!("set {name}"),
        SettingChange::ResetAll => "reset all".to_owned(),
        SettingChange::SetFromBind { .. } => "set from a bind parameter".to_owned(),
    }
}

fn prepared(it: &Prepared) -> String {
    match it {
        Prepared::Prepare(name) => format!("prepare {name}"),
        Prepared::Execute(name) => format!("execute {name}"),
        Prepared::Deallocate(name) => format!("deallocate {name}"),
        Prepared::DeallocateAll => "deallocate all".to_owned(),
    }
}
