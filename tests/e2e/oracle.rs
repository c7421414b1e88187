//! The routing oracle: a corpus of statements with the node and the reason expected of each, held against real servers.

use std::collections::BTreeMap;
use std::fmt::Write;

use bellwether::lab::Options;

use crate::corpus::{self, Case, Expected};
use crate::raw::{self, Answer, Raw};
use crate::story::Story;
use crate::support::eventually;

fn story() -> Story {
    let story = Story::on(Options { nodes: 2, ..Options::default() }, &["routing.catalog_refresh = \"1h\""]);
    story.bench.cluster.sql("a", include_str!("oracle/superuser.sql")).expect("extensions are installed");
    assert_eq!(story.client().query(include_str!("oracle/schema.sql")).failure, None);
    story.bench.cluster.wait_replayed().expect("the standby replays");
    let mut client = story.client();
    eventually("the catalog is loaded", || {
        client.sql("SELECT current_setting('cluster_name') FROM only tree LIMIT 1") == "b"
    });
    story
}

#[test]
fn the_corpus_goes_where_it_says_and_standbys_answer_as_the_primary() {
    let story = story();
    let cases = corpus::cases();
    assert!(cases.len() >= 400, "only {} statements", cases.len());
    let mut complaints = misrouted(&story, &cases);
    // Binding plans, and a standby refuses some of what it should not have got already then.
    let healed = story.metrics();
    let healed = healed.lines().filter(|line| line.contains("reads_healed_total{") && !line.ends_with(" 0"));
    complaints.extend(healed);
    complaints.push_str(&differing(&story, &cases));
    assert!(complaints.is_empty(), "\n{complaints}");
}

/// Prepares and binds each text through the proxy, which routes it and runs nothing; says what went elsewhere.
fn misrouted(story: &Story, cases: &[Case]) -> String {
    let mut complaints = String::new();
    let mut client = story.client();
    let mut path = None;
    let mut before = routed(story);
    for case in cases {
        if path != case.path {
            set_path(&mut client, case.path);
            path = case.path;
            before = routed(story);
        }
        let mut after = route(&mut client, story, case.text);
        if after == before {
            // What was asked before it keeps the session on its server.
            client = story.client();
            set_path(&mut client, path);
            before = routed(story);
            after = route(&mut client, story, case.text);
        }
        let moved = after.iter().find(|(series, count)| before.get(*series) != Some(*count));
        let found = moved.map_or("nowhere".to_owned(), |(series, _)| series.clone());
        let expected = match case.expected {
            Expected::Standby { .. } => "standby: plain_read".to_owned(),
            Expected::Asked(reason) => format!("standby: {reason}"),
            Expected::Primary(reason) => format!("primary: {reason}"),
        };
        if found != expected {
            let _ = writeln!(complaints, "line {}: {}\n    {found}, not {expected}", case.line, case.text);
        }
        before = after;
    }
    complaints
}

fn route(client: &mut Raw, story: &Story, text: &str) -> BTreeMap<String, String> {
    client.send(&[raw::parse("", text), raw::bind("", "", &[]), raw::sync()].concat());
    assert!(client.answer().status.is_some(), "{text}: the connection ended");
    routed(story)
}

/// How many requests went to each kind of node for each reason.
fn routed(story: &Story) -> BTreeMap<String, String> {
    let text = story.metrics();
    let series = text.lines().filter_map(|line| {
        let (labels, count) = line.strip_prefix("bellwether_routed_total{route=\"")?.split_once("\"} ")?;
        let (route, rule) = labels.split_once("\",rule=\"")?;
        Some((format!("{route}: {rule}"), count.to_owned()))
    });
    series.collect()
}

/// Runs what may go to a standby on both servers; says what the standby does otherwise.
fn differing(story: &Story, cases: &[Case]) -> String {
    let mut complaints = String::new();
    let (mut primary, mut standby) = (story.direct("a", "demo"), story.direct("b", "demo"));
    let mut path = None;
    for case in cases {
        if path != case.path {
            set_path(&mut primary, case.path);
            set_path(&mut standby, case.path);
            path = case.path;
        }
        let Expected::Standby { varies } = case.expected else { continue };
        let (there, here) = (run(&mut standby, case.text), run(&mut primary, case.text));
        let code = |answer: &Answer| answer.failure.as_ref().map(|failure| failure.code.clone());
        let same = code(&there) == code(&here)
            && there.complete == here.complete
            && there.rows.len() == here.rows.len()
            && (varies || there.rows == here.rows);
        if !same {
            let (line, text) = (case.line, case.text);
            let _ = writeln!(
                complaints,
                "line {line}: {text}\n    the standby: {there:?}\n    the primary: {here:?}"
            );
        }
    }
    complaints
}

fn run(server: &mut Raw, text: &str) -> Answer {
    let parameters = (1..=9).take_while(|n| text.contains(&format!("${n}"))).count();
    if parameters == 0 {
        return server.query(text);
    }
    let values = vec!["1"; parameters];
    server
        .send(&[raw::parse("", text), raw::bind("", "", &values), raw::execute("", 0), raw::sync()].concat());
    server.answer()
}

fn set_path(server: &mut Raw, path: Option<&str>) {
    match path {
        Some(path) => server.sql(&format!("SET search_path = {path}")),
        None => server.sql("RESET search_path"),
    };
}
